"""What is asked of a calibrator beyond the report: more measures, and a diagram, on the samples it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits
from c2i_fast.calibration.error import per_sample
from c2i_fast.calibration.measures import MEASURES, MeasuredValue, measure
from c2i_fast.calibration.split import split_samples
from c2i_fast.errors import UsageError
from c2i_fast.types import Calibrator

ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """The samples that `fit_report` holds out, for the same fraction and seed.

    Attributes:
        logits: (n, K), raw.
        labels: int (n,).
    """

    logits: NDArray[Any]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, logits: ArrayLike, labels: ArrayLike, fit_fraction: float, seed: int) -> HeldOut:
        """Returns the test part of the split.

        Raises:
            UsageError: Everything is fitted on.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        test = split_samples(classes, fit_fraction, seed).test
        if not len(test):
            raise UsageError("measures and diagrams need samples that were not fitted on: --fit-fraction below 1")
        return cls(logits=rows[test], labels=classes[test])

    def measures(self, names: Sequence[str], calibrator: Calibrator, seed: int) -> dict[str, dict[str, Any]]:
        """Returns `before` and `after` of every named measure (`all`: whatever is defined here), with intervals.

        Example:
            >>> from c2i_fast.calibration.identity import Identity
            >>> part = HeldOut.of([[2.0, 0.0]] * 40, [0, 0, 0, 1] * 10, 0.5, seed=0)
            >>> found = part.measures(["brier"], Identity().fit([[2.0, 0.0]] * 2, [0, 1]), 0)
            >>> round(found["brier"]["before"]["value"], 3)
            0.409
        """
        chosen = None if ALL in names else list(dict.fromkeys(names))
        before = measure(self.logits, self.labels, chosen, seed=seed)
        after = measure(self.logits, self.labels, chosen, calibrator=calibrator, seed=seed)
        return {a.measure: {"before": _side(a), "after": _side(b)} for a, b in zip(before, after, strict=True)}

    def draw(self, path: Path, calibrator: Calibrator, name: str) -> tuple[Path, Path]:
        """Draws the reliability diagram of the calibrated samples into `path`, of the raw ones into `STEM-raw`.

        Raises:
            InputError: The ending is neither .png nor .svg.
            MissingDependencyError: matplotlib is not installed.
        """
        from c2i_fast.report.reliability_diagram import reliability_diagram

        raw = path.with_name(f"{path.stem}-raw{path.suffix}")
        for file, title, fitted in ((raw, "as the network says", None), (path, f"calibrated: {name}", calibrator)):
            found = per_sample(self.logits, self.labels, fitted)
            sure = np.minimum(found.confidence, 1)
            reliability_diagram(file, confidence=sure, correct=found.correct, title=title)
        return raw, path


def check_measures(names: Sequence[str]) -> None:
    """Raises an `InputError` where one of the names is unknown; `all` is every measure."""
    for name in names:
        if name != ALL:
            MEASURES[name]


def _side(found: MeasuredValue) -> dict[str, Any]:
    content = asdict(found)
    del content["measure"]
    return content
