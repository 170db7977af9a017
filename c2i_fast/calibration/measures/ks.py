"""Kolmogorov–Smirnov calibration error: no bins, only the order of the confidences."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.error import check_outcomes


def ks_ascending(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Returns max_t |(1/N) Σ_{i ≤ t} (c_i − a_i)| over ascending confidence, in [0, 1], lower is better.

    Gupta et al. 2021, "Calibration of Neural Networks using Splines". Ascending is part of the definition: descending
    gives 0.1375 in the example. Samples of equal confidence enter together, so their order does not matter.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.

    Raises:
        InputError: as `check_outcomes`.

    Example:
        >>> round(ks_ascending([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1]), 6)
        0.1
    """
    sure, right = check_outcomes(confidence, correct, shares=True)
    order = np.argsort(sure)
    ascending = sure[order]
    drift = np.cumsum((sure - right)[order])
    ends = np.append(ascending[1:] != ascending[:-1], True)
    return float(np.abs(drift[ends]).max() / len(sure))
