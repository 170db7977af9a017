"""Calibration measures: pure functions of arrays, the convention in the name.

All take logits, raw or calibrated, and look at their softmax in float64. Who has probabilities p passes log p, whose
softmax is p; −inf, the logarithm of 0, is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_matrix, row_blocks
from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator, Doubles, Ints, frozen

Edges = Literal["(lo,hi]", "[lo,hi)"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMeasures:
    """What the measures are means of, one number a sample.

    Attributes:
        nll: float64 (N,), −log p_y, ≥ 0.
        brier: float64 (N,), Σ_k (p_k − 1[k = y])², in [0, 2].
        confidence: float64 (N,), the probability of the predicted class.
        correct: bool (N,), whether the predicted class is the label.
    """

    nll: Doubles
    brier: Doubles
    confidence: Doubles
    correct: NDArray[np.bool_]


def log_probabilities(logits: ArrayLike) -> Doubles:
    """Returns log softmax(z) = z − log Σ exp z, float64 (N, K), stable for any finite logits.

    Raises:
        InputError: rows without a softmax: NaN, +inf, or all −inf.

    Example:
        >>> log_probabilities([[2.0, 0.0]]).round(6)
        array([[-0.126928, -2.126928]])
    """
    array = check_matrix(logits).astype(np.float64)
    largest = array.max(axis=1, keepdims=True)
    undefined = int((~np.isfinite(largest)).sum())
    if undefined:
        raise InputError(f"{undefined} of {len(array)} rows of logits hold NaN or +inf, or only −inf: no softmax")
    array -= largest
    array -= np.log(np.exp(array).sum(axis=1, keepdims=True))
    return array


def per_sample(logits: ArrayLike, labels: ArrayLike, calibrator: Calibrator | None = None) -> SampleMeasures:
    """Returns the measures of each sample, of the logits (N, K) as they are or as a fitted `calibrator` maps them.

    The predicted class is read from the raw logits where the calibrator preserves order: rounding and flat pieces of a
    map can tie what it must not reorder. Computed block by block, so a few MiB beside the input suffice.
    """
    array = check_matrix(logits)
    classes = check_labels(labels, array)
    nll, brier, confidence = (np.empty(len(array)) for _ in range(3))
    correct = np.empty(len(array), np.bool_)
    for block in row_blocks(*array.shape):
        raw, label = array[block], classes[block]
        calibrated = raw if calibrator is None else calibrator.transform(raw)
        logp = log_probabilities(calibrated)
        predicted = (raw if calibrator is None or calibrator.preserves_order else calibrated).argmax(axis=1)
        sample = np.arange(len(raw))
        p = np.exp(logp)
        nll[block] = -logp[sample, label]
        brier[block] = (p**2).sum(axis=1) + (1 - p[sample, label]) ** 2 - p[sample, label] ** 2
        confidence[block] = p[sample, predicted]
        correct[block] = predicted == label
    return SampleMeasures(nll=nll, brier=brier, confidence=confidence, correct=correct)


def nll(logits: ArrayLike, labels: ArrayLike) -> float:
    """Returns the mean negative log-likelihood −(1/N) Σ log softmax(z_i)[y_i], natural logarithm, ≥ 0, lower is better.

    Example:
        >>> round(nll([[2.0, 0.0], [2.0, 0.0]], [0, 1]), 6)
        1.126928
    """
    return float(per_sample(logits, labels).nll.mean())


def brier(logits: ArrayLike, labels: ArrayLike) -> float:
    """Returns the multi-class Brier score (1/N) Σ_i Σ_k (p_ik − 1[k = y_i])², in 0..2, lower is better (Brier 1950).

    For two classes it is twice the binary one.

    Example:
        >>> round(brier([[2.0, 0.0]], [0]), 6)
        0.028419
    """
    return float(per_sample(logits, labels).brier.mean())


def accuracy(logits: ArrayLike, labels: ArrayLike) -> float:
    """Returns the share of samples whose largest logit (the first of equal ones) is the label's.

    Example:
        >>> accuracy([[2.0, 0.0], [2.0, 0.0]], [0, 1])
        0.5
    """
    return float(per_sample(logits, labels).correct.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBins:
    """A reliability diagram: B bins of equal width over [0, 1].

    Attributes:
        edges: float64 (B+1,), from 0 to 1.
        counts: int32 (B,), samples in each bin.
        confidence: float64 (B,), mean confidence; NaN where a bin is empty.
        accuracy: float64 (B,), share of correct samples; NaN where a bin is empty.
    """

    edges: Doubles
    counts: Ints
    confidence: Doubles
    accuracy: Doubles

    def __post_init__(self) -> None:
        for name in ("edges", "counts", "confidence", "accuracy"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


def reliability_bins(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15, edges: Edges = "(lo,hi]"
) -> ReliabilityBins:
    """Returns how often predictions of each confidence are right.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, or bool.
        bins: B.
        edges: `(lo,hi]` as in Guo et al.'s code, a confidence of 0 in the first bin; `[lo,hi)` as in netcal, a
            confidence of 1 in the last bin. They differ only for confidences exactly on an edge, as
            np.linspace(0, 1, B + 1) rounds it.

    Raises:
        InputError: no samples, different lengths, confidences outside [0, 1], `correct` other than 0 and 1.

    Example:
        >>> reliability_bins([0.2, 0.9, 0.7], [0, 1, 0], bins=2).accuracy
        array([0. , 0.5])
    """
    sure, right = check_outcomes(confidence, correct)
    if bins < 1 or edges not in ("(lo,hi]", "[lo,hi)"):
        raise InputError(f"expected bins ≥ 1 and edges '(lo,hi]' or '[lo,hi)', got {bins} and {edges!r}")
    limits = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(limits, sure, side="left" if edges == "(lo,hi]" else "right") - 1
    index = np.clip(index, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    divisor = np.where(counts > 0, counts, np.nan)
    return ReliabilityBins(
        edges=limits,
        counts=counts.astype(np.int32),
        confidence=np.bincount(index, sure, bins) / divisor,
        accuracy=np.bincount(index, right, bins) / divisor,
    )


def ece_equal_width(confidence: ArrayLike, correct: ArrayLike, bins: int = 15, edges: Edges = "(lo,hi]") -> float:
    """Returns the expected calibration error Σ_b (n_b/N)·|accuracy_b − confidence_b|, in [0, 1], lower is better.

    Top-label, over bins of equal width (Naeini et al. 2015, Guo et al. 2017). Biased upwards on few samples.
    Arguments and errors are those of `reliability_bins`.

    Example:
        >>> round(ece_equal_width([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1], bins=10), 6)
        0.325
    """
    diagram = reliability_bins(confidence, correct, bins, edges)
    gaps = np.nan_to_num(np.abs(diagram.accuracy - diagram.confidence))
    return float((diagram.counts * gaps).sum() / diagram.counts.sum())


def check_outcomes(confidence: ArrayLike, correct: ArrayLike, *, shares: bool = False) -> tuple[Doubles, Doubles]:
    """Returns confidence and correctness as float64 (N,), N ≥ 1, in [0, 1] and {0, 1}.

    With `shares`, correctness may be a probability of being correct, in [0, 1]: the error of a model whose truth is
    known.

    Raises:
        InputError: no samples, different lengths, confidences outside [0, 1], `correct` other than 0 and 1.

    Example:
        >>> check_outcomes([0.9], [True])[1]
        array([1.])
    """
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if sure.ndim != 1 or sure.shape != right.shape or not sure.size:
        raise InputError(f"expected confidence and correct of one shape (N,), got {sure.shape} and {right.shape}")
    if not ((sure >= 0) & (sure <= 1)).all():
        raise InputError(f"expected confidences in [0, 1], got {sure.min():g}..{sure.max():g}; take the softmax first")
    if shares and not ((right >= 0) & (right <= 1)).all():
        raise InputError(f"expected correct in [0, 1], got {right.min():g}..{right.max():g}")
    if not (shares or ((right == 0) | (right == 1)).all()):
        raise InputError("expected correct to hold only 0 and 1, or False and True")
    return sure, right
