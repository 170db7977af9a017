"""Linear interpolation along one axis, written as a matrix, so that it can be handed to any engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

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


def aligned_axis(out: int, source: int) -> Doubles:
    """Returns the matrix (out, source) whose outermost elements are the outermost cells (`align_corners=True`).

    Example:
        >>> aligned_axis(3, 2)[:, 1]
        array([0. , 0.5, 1. ])
    """
    position = np.arange(out) * (source - 1) / max(out - 1, 1)
    left = np.minimum(position.astype(np.intp), max(source - 2, 0))
    matrix, rows = np.zeros((out, source)), np.arange(out)
    matrix[rows, np.minimum(left + 1, source - 1)] = position - left
    matrix[rows, left] += 1 - (position - left)
    return matrix


def cubic_axis(out: int, source: int, sharpness: float = -0.75) -> Doubles:
    """Returns the matrix (out, source) of cubic convolution (Keys, 1981): half-pixel centres, borders clamped.

    Args:
        out: elements.
        source: cells.
        sharpness: Keys's a; −0.75 is OpenCV's and PyTorch's.

    Example:
        >>> cubic_axis(4, 2)[:2, 0].round(4)
        array([1.1055, 0.7734])
    """
    position = (np.arange(out) + 0.5) * source / out - 0.5
    first = np.floor(position).astype(np.intp) - 1
    matrix, rows = np.zeros((out, source)), np.arange(out)
    for tap in range(4):
        far = np.abs(position - (first + tap))
        near = ((sharpness + 2) * far - (sharpness + 3)) * far**2 + 1
        tail = sharpness * (((far - 5) * far + 8) * far - 4)
        np.add.at(matrix, (rows, np.clip(first + tap, 0, source - 1)), np.where(far <= 1, near, tail))
    return matrix


def resized(values: NDArray[np.floating], space: Sequence[int], *, first: int = 0) -> Doubles:
    """Returns values (…, *g) with their axes from `first` on brought to `space` linearly (half-pixel, clamped).

    Example:
        >>> resized(np.array([[0.0, 1.0]]), (4,), first=1)
        array([[0.  , 0.25, 0.75, 1.  ]])
    """
    result: Doubles = np.asarray(values, np.float64)
    for size in space:  # takes axis `first` away and appends it at full size
        result = np.tensordot(result, linear_axis(size, result.shape[first], "clamp"), axes=(first, 1))
    return result
