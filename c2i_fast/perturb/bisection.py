"""A heuristic, and called one: points where the curve seems to move most. No interval can be given for its area.

Each point depends on the values before it, so nothing is drawn with a known probability: what is seen nowhere is taken
to be straight, and a bump between two equal values is never found. `perturb.sampled` is the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Curve, Doubles, Ints


def bisect(x: NDArray[Any], evaluate: Callable[[Ints], Doubles], points: int) -> Curve:
    """Returns a curve of `points` points, found by halving where |Δv|·Δx is largest; its area is a guess.

    Args:
        x: (n+1,) of the protocol, non-decreasing.
        evaluate: from point indices to their values; asked for both ends and the middle first, then for one at a time.
        points: how many values may be asked for, 3 or more; at most n+1 are.

    Raises:
        InputError: Fewer than 3 points to spend or to choose from.

    Example:
        >>> x = np.linspace(0, 1, 9)
        >>> bisect(x, lambda k: (x[k] < 0.3).astype(float), 5).fractions.tolist()
        [0.0, 0.25, 0.375, 0.5, 1.0]
    """
    x = np.asarray(x, np.float64)
    if points < 3 or len(x) < 3:
        raise InputError(f"bisection needs 3 points or more, got {points} of a curve of {len(x)}")
    known = np.array([0, (len(x) - 1) // 2, len(x) - 1], np.int32)
    values = np.asarray(evaluate(known), np.float64)
    while len(known) < min(points, len(x)):
        gaps = np.diff(known)
        worth = np.where(gaps > 1, np.abs(np.diff(values)) * np.diff(x[known]), -1.0)
        # Where nothing seems to move, the widest gap is next.
        at = int(np.lexsort((gaps, worth))[-1])
        new = known[at] + gaps[at] // 2
        value = np.asarray(evaluate(np.array([new], np.int32)), np.float64)
        known, values = np.insert(known, at + 1, new), np.insert(values, at + 1, value)
    return Curve(fractions=x[known], values=values)
