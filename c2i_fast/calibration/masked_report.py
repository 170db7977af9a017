"""How well calibrated masked images are, level by level, under several calibrators, with intervals over images.

Masked versions of one image are no independent samples. So the kernel estimate of each leaves all versions of its
image out, and intervals reweigh images and never masks: the Bayesian bootstrap (Rubin 1981), whose weights are never
zero and never repeat a sample, which plain resampling would do and kernels do not survive. The interval is the value
± 1.96 standard deviations over the reweighings, since binned and kernel errors are biased in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.error import per_sample
from c2i_fast.calibration.masked_samples import MaskedSamples
from c2i_fast.calibration.measures.kernel_kl import kernel_kl_top_label_groups
from c2i_fast.calibration.recalx import level_of
from c2i_fast.random_numbers import generator
from c2i_fast.types import Calibrator, Doubles

MEASURES = {
    "kl": "KL calibration error of the top label (kernel estimate, nats)",
    "ece": "ECE (15 equal-width bins)",
    "nll": "NLL",
}
BINS = 15
FEWEST_IMAGES = 2
DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskedReport:
    """Measures of masked samples by level.

    Attributes:
        levels: the levels that had samples of at least two images.
        samples: how many masked samples each of them had.
        values: by calibrator and measure, float64 (L, 1 + D): the value at each level, then at each reweighing.
    """

    levels: tuple[int, ...]
    samples: tuple[int, ...]
    values: Mapping[str, Mapping[str, Doubles]]

    def to_dict(self, against: Sequence[str], subject: str = "recalx") -> dict[str, Any]:
        """Returns every value with its interval, and the paired differences of `subject` to each of `against`."""
        names = tuple(self.values)
        levels = [
            {"level": level, "samples": count} | {name: self._valued(name, partial(_at_level, row)) for name in names}
            for row, (level, count) in enumerate(zip(self.levels, self.samples, strict=True))
        ]
        content: dict[str, Any] = {"levels": levels, "measures": dict(MEASURES), "differences": {}}
        for kind, summed in (("mean", _mean_level), ("worst", _worst_level)):
            content[kind] = {name: self._valued(name, summed) for name in names}
            content["differences"][kind] = {other: self._valued(subject, summed, minus=other) for other in against}
        return content

    def _valued(self, name: str, of: Callable[[Doubles], Doubles], minus: str | None = None) -> dict[str, Any]:
        """Returns each measure with its interval, of one calibrator's values or of the difference to another's."""
        found = {}
        for measure, values in self.values[name].items():
            other = 0 if minus is None else of(self.values[minus][measure])
            found[measure] = _with_interval(of(values) - other)
        return found


def judge_masked(
    samples: MaskedSamples,
    calibrators: Mapping[str, Calibrator | None],
    levels: int,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> MaskedReport:
    """Returns the measures of these samples at each level, under each calibrator (None: the network as it is).

    A calibrator that does not depend on λ is handed it all the same. All calibrators see the same reweighings, so
    their differences are paired.

    Args:
        samples: of images that none of the calibrators was fitted on.
        calibrators: fitted, by name.
        levels: B of equal width; levels with samples of a single image are left out.
        seed: of the reweighings.
        draws: D.
    """
    logits, labels, fractions = samples.flat()
    image = np.repeat(np.arange(len(samples.labels)), samples.logits.shape[1])
    level = level_of(fractions, levels)
    weights = generator(seed, "recalx intervals", None).exponential(size=(draws, len(samples.labels)))
    weights = np.concatenate([np.ones((1, len(samples.labels))), weights])
    places = [np.flatnonzero(level == b) for b in range(levels)]
    used = [b for b, rows in enumerate(places) if len(np.unique(image[rows])) >= FEWEST_IMAGES]
    values: dict[str, dict[str, list[Doubles]]] = {name: {m: [] for m in MEASURES} for name in calibrators}
    for b in used:
        rows = places[b]
        for name, calibrator in calibrators.items():
            shown = logits[rows] if calibrator is None else calibrator.transform(logits[rows], fractions[rows])
            found = per_sample(shown, labels[rows])
            sure = np.minimum(found.confidence, 1)
            kept = values[name]
            kept["kl"].append(kernel_kl_top_label_groups(sure, found.correct, image[rows], weights))
            kept["ece"].append(_weighted_ece(sure, found.correct, image[rows], weights))
            kept["nll"].append(_weighted_mean(found.nll, image[rows], weights))
    return MaskedReport(
        levels=tuple(used),
        samples=tuple(len(places[b]) for b in used),
        values={name: {m: np.array(v) for m, v in kept.items()} for name, kept in values.items()},
    )


def _weighted_ece(sure: Doubles, correct: NDArray[np.bool_], image: NDArray[np.intp], weights: Doubles) -> Doubles:
    """Σ_b |Σ_i w_i (a_i − c_i)| / Σ_i w_i over bins (lo,hi] of equal width, for each weighting (D, N), float64 (D,)."""
    edges = np.linspace(0, 1, BINS + 1)
    bin_of = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, BINS - 1)
    gaps, sizes = np.zeros((weights.shape[1], BINS)), np.bincount(image, minlength=weights.shape[1])
    np.add.at(gaps, (image, bin_of), correct - sure)
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / (weights @ sizes))


def _weighted_mean(values: Doubles, image: NDArray[np.intp], weights: Doubles) -> Doubles:
    sums, sizes = (np.bincount(image, v, weights.shape[1]) for v in (values, None))
    return np.asarray((weights @ sums) / (weights @ sizes))


def _at_level(row: int, values: Doubles) -> Doubles:
    return np.asarray(values[row])


def _mean_level(values: Doubles) -> Doubles:
    return np.asarray(values.mean(axis=0))


def _worst_level(values: Doubles) -> Doubles:
    return np.asarray(values.max(axis=0))


def _with_interval(values: Doubles) -> dict[str, Any]:
    """A value with its 95 % interval, from the value itself and its reweighings (1 + D,)."""
    value, half = float(values[0]), 1.96 * float(values[1:].std(ddof=1))
    return {"value": value, "ci95": [value - half, value + half]}
