"""From a saliency map to the order in which its elements change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.protocols import Ties


def pixel_order(saliency: NDArray[np.floating], ties: Ties = "index") -> NDArray[np.intp]:
    """Returns the flat indices of `saliency` (*space), most relevant first (MoRF): intp (U,).

    LeRF is this order reversed, ties included, never a second sort. Among equal values `index` lets the smaller flat
    index go first, `reverse-index` the larger (what reversing an ascending stable sort gives). −0 equals +0.

    Ties that move `together` are in the order of `index` among themselves.

    For float32, two stable radix passes over the halves of the float's bits, made order-preserving: three to four times
    faster than NumPy's stable argsort, which ranks the float64 sums of larger units.

    Args:
        saliency: finite floats of any sign.
        ties: who goes first among equals.

    Example:
        >>> pixel_order(np.array([0.1, 0.9, 0.9], np.float32)).tolist()
        [1, 2, 0]
    """
    values = saliency.ravel()[::-1] if ties == "reverse-index" else saliency.ravel()
    order = (-values).argsort(kind="stable") if values.dtype == np.float64 else _radix_order(values)
    return values.size - 1 - order if ties == "reverse-index" else order


def _radix_order(values: NDArray[np.floating]) -> NDArray[np.intp]:
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32)
    ascending = bits ^ ((bits >> 31) | np.int32(-(2**31)))
    low, high = (~ascending).view(np.uint16).reshape(-1, 2).T
    order = low.argsort(kind="stable")
    return order.take(high.take(order).argsort(kind="stable"))


def step_map(order: NDArray[np.intp], counts: NDArray[np.int64], space: tuple[int, ...]) -> NDArray[Any]:
    """Returns the step at which each element changes, (1, *space): the number of j ≥ 1 with counts[j] ≤ rank.

    The type is the smallest of uint8 (n ≤ 255), uint16 (n ≤ 65535) and int32 that holds n.

    Example:
        >>> step_map(np.array([1, 2, 0]), np.array([0, 1, 3]), (3,)).tolist()
        [[1, 0, 1]]
    """
    intervals = len(counts) - 1
    in_order = np.repeat(np.arange(intervals + 1, dtype=step_type(intervals)), np.diff(counts, append=order.size))
    steps = np.empty(order.size, in_order.dtype)
    steps[order] = in_order
    return steps.reshape(1, *space)


def step_type(intervals: int) -> str:
    """Returns the smallest type that holds the steps 0..n: `uint8` to 255, `uint16` to 65535, else `int32`."""
    return "uint8" if intervals <= 255 else "uint16" if intervals <= 65535 else "int32"


def tied_share(saliency: NDArray[np.floating], order: NDArray[np.intp]) -> float:
    """Returns the share of elements whose value some other element has too, in [0, 1].

    Args:
        saliency: the map (*space).
        order: its `pixel_order`, which brings equal values together.

    Example:
        >>> tied_share(np.array([0, 0, 1, 2], np.float32), np.array([3, 2, 0, 1]))
        0.5
    """
    ranked = saliency.ravel()[order]
    equal = ranked[1:] == ranked[:-1]
    tied = np.zeros(ranked.size, bool)
    tied[1:] |= equal
    tied[:-1] |= equal
    return float(tied.mean())
