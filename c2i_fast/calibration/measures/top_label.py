"""The Brier score of the predicted class alone."""

from __future__ import annotations

from numpy.typing import ArrayLike

from c2i_fast.calibration.error import check_outcomes


def brier_top_label(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Returns the top-label Brier score (1/N) Σ_i (c_i − a_i)², in [0, 1], lower is better.

    It judges the predicted class only; `error.brier` judges all K and lies in [0, 2].

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, or bool.

    Raises:
        InputError: as `check_outcomes`.

    Example:
        >>> round(brier_top_label([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1]), 6)
        0.1775
    """
    sure, right = check_outcomes(confidence, correct)
    return float(((sure - right) ** 2).mean())
