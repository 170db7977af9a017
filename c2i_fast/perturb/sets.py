"""Sets of places as 128-bit numbers, so that equal masked images are found whichever way they came about.

Every value of an image has two random 64-bit keys; a set is the exclusive or of its members' (Zobrist, 1970). Growing
sets cost one scan of the order, the complement of a set is the total less it, and two different sets of one image
share a number with probability 2⁻¹²⁸.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from c2i_fast.perturb.units import Units

Key = tuple[int, int]
Keys = NDArray[np.uint64]

EMPTY: Key = (0, 0)


@lru_cache(maxsize=8)
def _value_keys(shape: tuple[int, ...]) -> Keys:
    """Returns the keys (2, C, *space) of every value of an image."""
    return np.random.default_rng([2022, *shape]).integers(0, 2**64, (2, *shape), np.uint64)


@lru_cache(maxsize=8)
def _pixel_keys(shape: tuple[int, ...]) -> Keys:
    """Returns the keys (2, 1, *space) of every pixel: those of its values together."""
    return np.bitwise_xor.reduce(_value_keys(shape), axis=1, keepdims=True)


def place_keys(shape: tuple[int, ...], places: tuple[int, ...]) -> Keys:
    """Returns the keys (2, *places) of an image's places: its values, or its pixels where `places` has one channel."""
    return _value_keys(shape) if places[0] == shape[0] else _pixel_keys(shape)


def unit_keys(units: Units, shape: tuple[int, ...]) -> Keys:
    """Returns the keys (2, U) of units of an image of `shape`."""
    keys = place_keys(shape, units.places).reshape(2, -1)
    if units.members is None:
        return keys
    made = np.zeros((2, units.count), np.uint64)
    for row, values in zip(made, keys, strict=True):
        np.bitwise_xor.at(row, units.members.ravel(), values)
    return made


def growing(in_order: Keys, counts: NDArray[np.int64]) -> Keys:
    """Returns the keys (2, n+1) of the sets that hold the first `counts` (n+1,) units of an order.

    Args:
        in_order: keys (2, U) of the units, in the order in which they join.
        counts: from 0 on, never falling.
    """
    distinct, where = np.unique(np.append(0, counts), return_inverse=True)
    made = np.zeros((2, len(distinct)), np.uint64)
    if len(distinct) > 1:
        joining = np.bitwise_xor.reduceat(in_order[:, : distinct[-1]], distinct[:-1], axis=1)
        made[:, 1:] = np.bitwise_xor.accumulate(joining, axis=1)
    return made[:, where[1:]]


def key_of(places: NDArray[np.bool_], shape: tuple[int, ...]) -> Key:
    """Returns the key of a set given as a mask (1|C, *space) over an image of `shape` (C, *space).

    Example:
        >>> key_of(np.zeros((1, 4), bool), (3, 4))
        (0, 0)
    """
    chosen = place_keys(shape, places.shape)[:, places]
    first, second = np.bitwise_xor.reduce(chosen, axis=1)
    return int(first), int(second)
