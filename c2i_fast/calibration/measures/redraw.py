"""Intervals for calibration errors of the top label, by redrawing labels from models of known error.

A plug-in error is biased upwards, most where the model is calibrated; a bootstrap adds the bias once more and centres
its interval on it. Here the test is inverted (Carpenter 1999): an error θ is in the interval if a model with these
confidences and that error would, by chance, show what was seen. The models are µ_λ(c) = c + λ·g(c), g being the
smoothed gap of the outcomes: λ = 0 is the calibrated model itself, so that 0 is covered as often as promised. Other
errors are covered a little less, 85 to 97 % in simulations of 1000 samples, as the shape of the gap is itself a guess.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.error import check_outcomes
from c2i_fast.calibration.measures.smooth import smooth_accuracy
from c2i_fast.types import Doubles

Error = Callable[[ArrayLike, ArrayLike], float]
"""Of confidence and correctness, or of confidence and the probability of being correct."""

Errors = Callable[[Doubles, NDArray[np.bool_]], Doubles]
"""Of confidences (N,) and sets of outcomes (D, N), the error of each set."""

SMALLEST = 20
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.5, 7.0)


def redraw_interval(
    error: Error,
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    limit: Error | None = None,
    errors: Errors | None = None,
    draws: int = 200,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Returns a 95 % interval of the error that infinitely many outcomes at these confidences would show.

    For each λ, `draws` sets of outcomes a_i ~ Bernoulli(µ_λ(c_i)) give quantiles of the error seen; the interval holds
    the true errors for which what was seen lies between the 2.5 % and 97.5 % quantiles, interpolated between λ. It
    may lie wholly below the error itself, which is biased. The spread of the confidences is not part of it.

    Args:
        error: what was measured.
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, or bool.
        limit: the true error, of confidences and probabilities of being correct; None where it is `error` itself.
        errors: `error` of many sets of outcomes at once; None goes through them.
        draws: sets of outcomes for each λ.
        seed: of the outcomes; each λ has the same uniform numbers.

    Returns:
        The two ends, or None with fewer than 20 samples.

    Raises:
        InputError: as `check_outcomes`.

    Example:
        >>> from c2i_fast.calibration.measures.binned import ece
        >>> sure, right = np.full(100, 0.8), np.arange(100) < 70
        >>> [round(end, 1) for end in redraw_interval(ece, sure, right)]
        [0.0, 0.2]
    """
    sure, right = check_outcomes(confidence, correct)
    if len(sure) < SMALLEST:
        return None
    seen = error(sure, right)
    each = errors or (lambda c, sets: np.array([error(c, outcomes) for outcomes in sets]))
    gap = _smooth_gap(sure, right)
    true, low, high = [], [], []
    for level in LEVELS:
        chance = np.clip(sure + level * gap, 0, 1)
        true.append((limit or error)(sure, chance))
        random = np.random.default_rng([seed])
        sets = np.array([random.random(len(sure)) < chance for _ in range(draws)])  # D·N bytes
        quantiles = np.quantile(each(sure, sets), [0.025, 0.975])
        low.append(quantiles[0])
        high.append(quantiles[1])
        if low[-1] > seen:
            break
    rising, known = np.maximum.accumulate([low, high], axis=1), np.maximum.accumulate(true)
    # Where several λ have the quantile that was seen, `interp` takes the last: the least error here, the largest there.
    least = float(np.interp(-seen, -rising[1, ::-1], known[::-1]))
    largest = float(np.interp(seen, rising[0], known))
    return min(least, largest), max(least, largest)


def _smooth_gap(sure: Doubles, right: Doubles) -> Doubles:
    curve = smooth_accuracy(sure, right, sigma=len(sure) ** (-1 / 3))
    known = np.isfinite(curve.accuracy)
    return np.asarray(np.interp(sure, curve.at[known], (curve.accuracy - curve.at)[known]))
