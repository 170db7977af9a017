"""Bilinear resizing with half-pixel centres: how a saliency map of any resolution comes to the image's."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Doubles, Floats

F = TypeVar("F", bound=np.floating)


def resize_map(values: NDArray[F], space: tuple[int, ...]) -> NDArray[F]:
    """Returns a map (h, w) or (t,) at the size `space`, in its own float type; at its own size, the map itself.

    Element i of an axis samples the map at (i + ½)·src/out − ½, held inside [0, src − 1]: torch's `interpolate` with
    `align_corners=False`, without antialiasing. Constant maps stay exactly constant.

    Example:
        >>> resize_map(np.array([0.0, 1.0]), (4,))
        array([0.  , 0.25, 0.75, 1.  ])
    """
    if values.ndim != len(space):
        raise ValueError(f"a map of shape {values.shape} cannot be resized to {space}")
    if values.shape == tuple(space):
        return values
    result = values.astype(np.float64)
    for axis, out in enumerate(space):
        low, high, share = _taps(out, values.shape[axis])
        share = share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        below = result.take(low, axis)
        result = below + share * (result.take(high, axis) - below)
    return result.astype(values.dtype)


def bilinear_axis(out: int, src: int) -> Floats:
    """Returns float32 (out, src), rows summing to 1, whose product with a vector is `resize_map` of it.

    Example:
        >>> bilinear_axis(4, 2)[1]
        array([0.75, 0.25], dtype=float32)
    """
    low, high, share = _taps(out, src)
    weights = np.zeros((out, src), np.float32)
    rows, upper = np.arange(out), share.astype(np.float32)
    weights[rows, low] = 1 - upper
    weights[rows, high] += upper
    return weights


def _taps(out: int, src: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Doubles]:
    """Returns, per output element, the two source elements it lies between and the share of the upper one."""
    if out < 1 or src < 1:
        raise ValueError(f"sizes must be at least 1, got {src} → {out}")
    at = np.clip((np.arange(out) + 0.5) * (src / out) - 0.5, 0, src - 1)
    low = np.floor(at).astype(np.intp)
    return low, np.minimum(low + 1, src - 1), at - low
