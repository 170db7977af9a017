"""Measures and diagrams of a sigmoid head on the samples its calibrator never saw; `held_out.py` for softmax heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_applies, check_logits
from c2i_fast.calibration.held_out import ALL
from c2i_fast.calibration.label_error import LabelOutcomes, label_outcomes
from c2i_fast.calibration.label_split import split_labels
from c2i_fast.calibration.measures import MEASURES
from c2i_fast.calibration.measures.redraw import redraw_interval
from c2i_fast.calibration.measures.registry import TopLabelError
from c2i_fast.errors import InputError, UsageError
from c2i_fast.reliability.intervals import mean_interval
from c2i_fast.types import Calibrator, Doubles

MEANS: dict[str, Callable[[LabelOutcomes], Doubles]] = {"nll": lambda o: o.nll, "brier": lambda o: o.brier}
REFUSED = {
    "brier-top-label": "several labels may apply, so there is no predicted class; brier is that of every label",
    "ece-classwise": "every ECE of a sigmoid head is the mean over its labels already; take ece-gpleiss",
    "kernel-kl-top-label": "several labels may apply, so there is no predicted class",
    "kernel-kl-canonical": "labels that apply each by itself are no distribution over classes",
}


def check_label_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names without repeats, `all` being those defined for sigmoid heads.

    Raises:
        InputError: an unknown measure, or one that says nothing about a sigmoid head.

    Example:
        >>> check_label_measures(["nll", "nll"])
        ('nll',)
    """
    if ALL in names:
        return tuple(name for name in MEASURES if defined(name))
    for name in names:
        if not defined(name):
            raise InputError(f"{name} is for softmax heads: {REFUSED.get(name, 'it reads one class a sample')}")
    return tuple(dict.fromkeys(names))


def defined(name: str) -> bool:
    """Returns whether a measure is one of each label by itself: a mean, or a function of p and what was so."""
    measure = MEASURES[name]
    return name in MEANS or (isinstance(measure, TopLabelError) and name not in REFUSED)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelHeldOut:
    """The samples that `fit_label_report` holds out, for the same fraction and seed.

    Attributes:
        logits: (n, K), raw.
        applies: bool (n, K).
    """

    logits: NDArray[Any]
    applies: NDArray[np.bool_]

    @classmethod
    def of(cls, logits: ArrayLike, labels: ArrayLike, fit_fraction: float, seed: int) -> LabelHeldOut:
        """Returns the test part of the split.

        Raises:
            UsageError: Everything is fitted on.
        """
        rows = check_logits(logits, least=1)
        applies = check_applies(labels, rows)
        test = split_labels(applies, fit_fraction, seed).test
        if not len(test):
            raise UsageError("measures and diagrams need samples that were not fitted on: --fit-fraction below 1")
        return cls(logits=rows[test], applies=applies[test])

    def measures(self, names: Sequence[str], calibrator: Calibrator, seed: int) -> dict[str, dict[str, Any]]:
        """Returns `before` and `after` of every named measure: the mean over labels, and the worst of them.

        Means of samples (`nll`, `brier`) have Student's interval over samples; errors of one label that by redrawing;
        the mean of several labels' errors has none that is known to hold, as labels of a sample are not independent.
        """
        sides = {
            "before": label_outcomes(self.logits, self.applies),
            "after": label_outcomes(self.logits, self.applies, calibrator),
        }
        return {
            name: {side: _measured(name, outcomes, seed) for side, outcomes in sides.items()}
            for name in check_label_measures(names)
        }

    def draw(self, path: Path, calibrator: Calibrator, name: str) -> tuple[Path, Path]:
        """Draws diagrams of all labels pooled, calibrated into `path`, raw into `STEM-raw`.

        Raises:
            InputError: The ending is neither .png nor .svg.
            MissingDependencyError: matplotlib is not installed.
        """
        from c2i_fast.report.reliability_diagram import reliability_diagram

        raw = path.with_name(f"{path.stem}-raw{path.suffix}")
        for file, title, fitted in ((raw, "as the network says", None), (path, f"calibrated: {name}", calibrator)):
            found = label_outcomes(self.logits, self.applies, fitted)
            reliability_diagram(
                file,
                confidence=found.probability.ravel(),
                correct=found.applies.ravel(),
                title=f"{title}, all labels pooled",
                axes=("probability that a label applies", "share that applies"),
            )
        return raw, path


def _measured(name: str, outcomes: LabelOutcomes, seed: int) -> dict[str, Any]:
    """Returns value, interval, n, and the largest value of a label."""
    samples, labels = outcomes.applies.shape
    if name in MEANS:
        each = MEANS[name](outcomes)
        by_label, interval = each.mean(axis=0), mean_interval(each.mean(axis=1)).ci95
    else:
        measure = MEASURES[name]
        assert isinstance(measure, TopLabelError)  # `check_label_measures` lets no other through
        pairs = list(zip(outcomes.probability.T, outcomes.applies.T, strict=True))
        by_label = np.array([measure.function(p, y) for p, y in pairs])
        one = labels == 1
        interval = redraw_interval(measure.function, *pairs[0], limit=measure.limit, seed=seed) if one else None
    worst = int(by_label.argmax())
    return {
        "value": float(by_label.mean()),
        "ci95": interval,
        "n": samples,
        "worst": float(by_label[worst]),
        "worst_label": worst,
    }
