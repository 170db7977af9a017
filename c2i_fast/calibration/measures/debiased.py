"""Calibration error with the bias of binning taken off (Kumar, Liang, Ma 2019, "Verified Uncertainty Calibration").

A bin's accuracy is itself an estimate; its noise looks like error. Both estimators subtract what the noise adds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.measures.binning import Binning, bin_outcomes
from c2i_fast.types import Doubles


def ece_debiased_l2(
    confidence: ArrayLike, correct: ArrayLike, binning: Binning = "equal-mass", bins: int | None = None
) -> float:
    """Returns √max(0, Σ_b (n_b/N)·[(a_b − c_b)² − a_b(1 − a_b)/(n_b − 1)]), in [0, 1], lower is better.

    a_b and c_b are accuracy and mean confidence of a bin; a bin of one sample says nothing about its noise and counts
    as 0. Root mean square, so never smaller than the L1 error it estimates. Arguments and errors are those of `ece`.

    Example:
        >>> round(ece_debiased_l2([0.95] * 4, [1, 1, 0, 0], bins=1), 6)
        0.345205
    """
    outcomes = bin_outcomes(confidence, correct, binning, bins)
    noise = outcomes.accuracy * (1 - outcomes.accuracy) / np.maximum(outcomes.counts - 1, 1)
    squares = np.where(outcomes.counts > 1, outcomes.gaps**2 - noise, 0.0)
    return float(np.sqrt(max(0.0, (outcomes.weights * squares).sum())))


def ece_l2(
    confidence: ArrayLike, correct: ArrayLike, binning: Binning = "equal-mass", bins: int | None = None
) -> float:
    """Returns √Σ_b (n_b/N)·(a_b − c_b)², in [0, 1]: what `ece_debiased_l2` tends to, with the bias of binning still on.

    Arguments and errors are those of `ece`.

    Example:
        >>> round(ece_l2([0.95] * 4, [1, 1, 0, 0], bins=1), 6)
        0.45
    """
    outcomes = bin_outcomes(confidence, correct, binning, bins)
    return float(np.sqrt((outcomes.weights * outcomes.gaps**2).sum()))


def ece_debiased_l1(
    confidence: ArrayLike, correct: ArrayLike, binning: Binning = "equal-mass", bins: int | None = None
) -> float:
    """Returns 2·ECE − E[ECE of accuracies redrawn], in [−1, 1]; below 0 where there is less error than noise.

    Redrawn accuracies are Normal(a_b, a_b(1 − a_b)/n_b). Kumar et al. average 1000 draws; the expectation of |Normal|
    is known, so this takes the limit of infinitely many. It removes part of the bias, not all of it. Arguments and
    errors are those of `ece`.

    Example:
        >>> round(ece_debiased_l1([0.75] * 4, [1, 1, 1, 0], bins=1), 6)
        -0.172747
    """
    outcomes = bin_outcomes(confidence, correct, binning, bins)
    spread = np.sqrt(outcomes.accuracy * (1 - outcomes.accuracy) / outcomes.counts)
    redrawn = mean_absolute_normal(outcomes.gaps, spread)
    return float((outcomes.weights * (2 * np.abs(outcomes.gaps) - redrawn)).sum())


def mean_absolute_normal(mean: Doubles, spread: Doubles) -> Doubles:
    """Returns E|X| of X ~ Normal(µ, s²): s·√(2/π)·exp(−µ²/2s²) + µ·erf(µ/(s√2)), and |µ| where s = 0.

    Example:
        >>> mean_absolute_normal(np.array([0.0, -3.0]), np.array([1.0, 0.0])).round(6)
        array([0.797885, 3.      ])
    """
    from scipy.special import erf

    ratio = mean / np.where(spread > 0, spread, np.inf)
    folded = spread * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))
    return np.where(spread > 0, folded, np.abs(mean))
