"""Linear interpolation along one axis, written as a matrix, so that it can be handed to any engine."""

from __future__ import annotations

from typing import Literal

import numpy as np

from c2i_fast.types import Doubles

Edge = Literal["clamp", "mirror"]


def linear_axis(out: int, source: int, edge: Edge) -> Doubles:
    """Returns the float64 matrix (out, source) that resamples `source` cells to `out`; its rows sum to 1.

    Half-pixel centres: element j looks at position u = (j + ½)·source/out − ½. Beyond the outermost centres `clamp`
    repeats them, as image libraries do; `mirror` reflects u about the outermost centre, as scikit-image's
    `resize(order=1, mode="reflect")` does, so that a border element again mixes two cells.

    Example:
        >>> linear_axis(4, 2, "clamp")[:, 1]
        array([0.  , 0.25, 0.75, 1.  ])
        >>> linear_axis(4, 2, "mirror")[:, 1]
        array([0.25, 0.25, 0.75, 0.75])
    """
    last = source - 1
    position = (np.arange(out) + 0.5) * source / out - 0.5
    if edge == "mirror":
        position = last - np.abs(last - np.abs(position))
    position = np.clip(position, 0, last)
    left = np.minimum(position.astype(np.intp), max(last - 1, 0))
    matrix = np.zeros((out, source))
    rows = np.arange(out)
    matrix[rows, np.minimum(left + 1, last)] = position - left
    matrix[rows, left] += 1 - (position - left)
    return matrix
