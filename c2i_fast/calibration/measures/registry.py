"""Every calibration measure under its name, with an interval that suits it if there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_matrix
from c2i_fast.calibration.error import SampleMeasures, log_probabilities, per_sample
from c2i_fast.calibration.measures.binned import ece, mce
from c2i_fast.calibration.measures.classwise import ece_classwise
from c2i_fast.calibration.measures.convex_allocation import ece_ac_farther_centre, ece_ac_linear
from c2i_fast.calibration.measures.debiased import ece_debiased_l1, ece_debiased_l2, ece_l2
from c2i_fast.calibration.measures.kernel_kl import (
    MOST_CLASSES,
    kernel_bandwidth,
    kernel_kl_canonical,
    kernel_kl_top_label,
    kernel_kl_top_label_sets,
    kl_top_label,
)
from c2i_fast.calibration.measures.ks import ks_ascending
from c2i_fast.calibration.measures.redraw import SMALLEST, Error, redraw_interval
from c2i_fast.calibration.measures.smooth import smooth_ece
from c2i_fast.registry import Registry
from c2i_fast.reliability.intervals import mean_interval
from c2i_fast.reliability.jackknife import jackknife_interval
from c2i_fast.types import Calibrator, Doubles

Interval = tuple[float, float] | None


class Predictions:
    """Logits with their labels, as they are or as a calibrator maps them; what every measure is a function of.

    Args:
        logits: (N, K), raw.
        labels: int (N,).
        calibrator: fitted, or None.

    Raises:
        InputError: logits or labels that cannot be used.

    Example:
        >>> Predictions([[2.0, 0.0], [0.0, 1.0]], [0, 0]).samples.correct
        array([ True, False])
    """

    def __init__(self, logits: ArrayLike, labels: ArrayLike, calibrator: Calibrator | None = None) -> None:
        self.logits: NDArray[Any] = check_matrix(logits)
        self.labels = check_labels(labels, self.logits)
        self.calibrator = calibrator

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def samples(self) -> SampleMeasures:
        """What `per_sample` returns, computed once."""
        return per_sample(self.logits, self.labels, self.calibrator)

    @property
    def confidence(self) -> Doubles:
        """Probability of the predicted class, float64 (N,), at most 1."""
        return np.minimum(self.samples.confidence, 1.0)

    def take(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Returns the logits, mapped, and labels of some rows."""
        raw = self.logits[rows]
        return (raw if self.calibrator is None else self.calibrator.transform(raw)), self.labels[rows]


class Measure(Protocol):
    """A number that says how good or how calibrated predictions are, lower being better."""

    def value(self, predictions: Predictions) -> float:
        """Returns the measure of all samples."""
        ...

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns its 95 % interval; None with too few samples, or where no interval is known to hold."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMean:
    """A mean over samples, with Student's t interval; compare two models by `reliability.intervals.paired`."""

    values: Callable[[Predictions], Doubles]

    def value(self, predictions: Predictions) -> float:
        """Returns the mean."""
        return float(self.values(predictions).mean())

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns mean ± t·s/√N; the seed plays no part."""
        return mean_interval(self.values(predictions)).ci95


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLabelError:
    """A function of confidence and correctness, with an interval by redrawing labels.

    Attributes:
        function: the measure.
        limit: what it tends to with many samples, of confidence and the probability of being correct; None for itself.
    """

    function: Error
    limit: Error | None = None

    def value(self, predictions: Predictions) -> float:
        """Returns the function of all samples."""
        return self.function(predictions.confidence, predictions.samples.correct)

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns `redraw_interval`."""
        sure, right = predictions.confidence, predictions.samples.correct
        return redraw_interval(self.function, sure, right, limit=self.limit, seed=seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClasswiseError:
    """Class-wise ECE, without an interval.

    Its bias is that of K·B bins, most of them nearly empty: in simulations of calibrated models subsampling held the
    true 0 in one case of twenty, and no interval is better than one that is wrong.
    """

    binning: str = "gpleiss"

    def value(self, predictions: Predictions) -> float:
        """Returns the class-wise error of all samples."""
        logits, labels = predictions.logits, predictions.labels
        return ece_classwise(logits, labels, self.binning, calibrator=predictions.calibrator)

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns None."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTopLabel:
    """The kernel KL error of the top label, with an interval by redrawing labels."""

    def value(self, predictions: Predictions) -> float:
        """Returns `kernel_kl_top_label`."""
        return kernel_kl_top_label(predictions.confidence, predictions.samples.correct)

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns `redraw_interval` at the bandwidth of these confidences, O(N²) a level."""
        sure, right = predictions.confidence, predictions.samples.correct
        if len(predictions) < SMALLEST:
            return None
        bandwidth = kernel_bandwidth(np.stack([1 - sure, sure], axis=1))
        return redraw_interval(
            partial(kernel_kl_top_label, bandwidth=bandwidth),
            sure,
            right,
            limit=kl_top_label,
            errors=partial(kernel_kl_top_label_sets, bandwidth=bandwidth),
            seed=seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCanonical:
    """The kernel KL error of all probabilities, K ≤ 20, with a jackknife at the bandwidth of all samples.

    The interval is of what the estimator gives on average for this N, which is above the true error.
    """

    def value(self, predictions: Predictions) -> float:
        """Returns `kernel_kl_canonical`."""
        return kernel_kl_canonical(*predictions.take(np.arange(len(predictions))))

    def interval(self, predictions: Predictions, seed: int = 0) -> Interval:
        """Returns `jackknife_interval`."""
        logits, labels = predictions.take(np.arange(len(predictions)))
        if len(predictions) < 3:
            return None
        bandwidth = kernel_bandwidth(np.exp(log_probabilities(logits)))
        return jackknife_interval(
            lambda rows: kernel_kl_canonical(logits[rows], labels[rows], bandwidth), len(predictions), seed=seed
        )


MEASURES: Registry[Measure] = Registry("measure")
MEASURES.add("nll", SampleMean(values=lambda p: p.samples.nll), "mean −log p of the label, natural logarithm")
MEASURES.add("brier", SampleMean(values=lambda p: p.samples.brier), "Brier score of all K probabilities, 0..2")
MEASURES.add(
    "brier-top-label",
    SampleMean(values=lambda p: (p.confidence - p.samples.correct) ** 2),
    "Brier score of the predicted class alone, 0..1",
)
MEASURES.add("ece-gpleiss", TopLabelError(function=ece), "ECE, 15 bins of equal width (lo, hi]")
MEASURES.add(
    "ece-torchmetrics",
    TopLabelError(function=partial(ece, binning="torchmetrics")),
    "ECE, 15 bins of equal width [lo, hi) and one more for a confidence of exactly 1",
)
MEASURES.add(
    "ece-netcal", TopLabelError(function=partial(ece, binning="netcal")), "ECE, 10 bins of equal width [lo, hi)"
)
MEASURES.add("ece-equal-mass", TopLabelError(function=partial(ece, binning="equal-mass")), "ECE, 15 bins of equal mass")
MEASURES.add(
    "ece-debiased-l1",
    TopLabelError(function=ece_debiased_l1, limit=partial(ece, binning="equal-mass")),
    "ECE less the bias of binning (Kumar 2019), 15 bins of equal mass",
)
MEASURES.add(
    "ece-debiased-l2",
    TopLabelError(function=ece_debiased_l2, limit=ece_l2),
    "root mean square error less the bias of binning (Kumar 2019), 15 bins of equal mass",
)
MEASURES.add("ece-classwise", ClasswiseError(), "mean over classes of their ECE, 15 bins of equal width (lo, hi]")
MEASURES.add("mce", TopLabelError(function=mce), "largest gap of a bin, 15 bins of equal width (lo, hi]")
MEASURES.add("ks-ascending", TopLabelError(function=ks_ascending), "largest cumulative gap, ascending confidence")
MEASURES.add("smooth-ece", TopLabelError(function=smooth_ece), "smECE: reflected Gaussian at its fixed point")
MEASURES.add(
    "ece-ac-farther-centre",
    TopLabelError(function=ece_ac_farther_centre),
    "ECE-AC of Calibrate to Interpret, 10 bins: the larger share to the farther centre, as released",
)
MEASURES.add("ece-ac-linear", TopLabelError(function=ece_ac_linear), "ECE-AC, 10 bins, linear interpolation")
MEASURES.add("kernel-kl-top-label", KernelTopLabel(), "KL calibration error of being right, Beta kernel, nats")
MEASURES.add("kernel-kl-canonical", KernelCanonical(), "KL calibration error of all K ≤ 20 probabilities, nats")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredValue:
    """A measure of N samples, with its 95 % interval where one was asked for and there are samples enough."""

    measure: str
    value: float
    ci95: Interval
    n: int


def measure(
    logits: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str] | None = None,
    *,
    calibrator: Calibrator | None = None,
    intervals: bool = True,
    seed: int = 0,
) -> tuple[MeasuredValue, ...]:
    """Returns the named measures of one set of predictions, in that order.

    Args:
        logits: (N, K), raw.
        labels: int (N,).
        names: in `MEASURES`; None takes all that are defined for K.
        calibrator: fitted; maps the logits first.
        intervals: False leaves them out, which is hundreds of times faster for the errors.
        seed: of redrawn labels and of groups.

    Raises:
        InputError: an unknown name; logits or labels that cannot be used; `kernel-kl-canonical` of K > 20.

    Example:
        >>> result, = measure([[2.0, 0.0], [2.0, 0.0]], [0, 1], ["ece-gpleiss"])
        >>> round(result.value, 6), result.ci95
        (0.380797, None)
    """
    predictions = Predictions(logits, labels, calibrator)
    chosen = list(MEASURES) if names is None else names
    if names is None and predictions.logits.shape[1] > MOST_CLASSES:
        chosen = [name for name in chosen if name != "kernel-kl-canonical"]
    return tuple(
        MeasuredValue(
            measure=name,
            value=MEASURES[name].value(predictions),
            ci95=MEASURES[name].interval(predictions, seed) if intervals else None,
            n=len(predictions),
        )
        for name in chosen
    )
