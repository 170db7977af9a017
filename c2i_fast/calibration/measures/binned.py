"""Expected and maximum calibration error: bins of confidence, and how far accuracy is from confidence in each."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.measures.binning import Binning, bin_outcomes


def ece(confidence: ArrayLike, correct: ArrayLike, binning: Binning = "gpleiss", bins: int | None = None) -> float:
    """Returns the expected calibration error Σ_b (n_b/N)·|accuracy_b − confidence_b|, in [0, 1], lower is better.

    Top-label (Naeini et al. 2015, Guo et al. 2017; equal mass: Nixon et al. 2019). Biased upwards: a calibrated model
    has about Σ_b √(2·accuracy_b·(1−accuracy_b)·n_b/π)/N.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.
        binning: `gpleiss`, `torchmetrics`, `netcal` or `equal-mass`, see `binning`.
        bins: B; None takes the convention's own, 15, 15, 10 or 15.

    Raises:
        InputError: as `bin_outcomes`.

    Example:
        >>> round(ece([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1], "netcal"), 6)
        0.325
    """
    outcomes = bin_outcomes(confidence, correct, binning, bins)
    return float((outcomes.weights * np.abs(outcomes.gaps)).sum())


def mce(confidence: ArrayLike, correct: ArrayLike, binning: Binning = "gpleiss", bins: int | None = None) -> float:
    """Returns the maximum calibration error max_b |accuracy_b − confidence_b| over bins with samples, in [0, 1].

    Top-label (Naeini et al. 2015). One sample can make it: read it with the counts. Arguments and errors are those of
    `ece`.

    Example:
        >>> mce([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1], "netcal")
        0.75
    """
    return float(np.abs(bin_outcomes(confidence, correct, binning, bins).gaps).max())
