"""How many elements have changed at each point of a curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import CurveProtocol


def point_counts(protocol: CurveProtocol, elements: int, width: int) -> NDArray[np.int64]:
    """Returns the changed elements at each point: int64 (n+1,), counts[0] = 0, never decreasing.

    `equal`: ⌊k·U/n⌋ for curves that start at the image and its mirror ⌈k·U/n⌉ for those that start at the baseline, so
    that the images of the two coincide. `floor`: ⌊k·U/n⌋ on both. `ceil-block`: blocks of ⌈U/n⌉, n a maximum.
    `pixels`: blocks of `pixels_per_step`, the last one short. `list`: as given.

    Args:
        protocol: whose rule and numbers are used.
        elements: U, the number of elements that may change.
        width: the map's last dimension; the rule `pixels` without a number takes eight rows, 8·width.

    Raises:
        InputError: More intervals than elements, or a list that decreases, starts above 0 or exceeds U.

    Example:
        >>> point_counts(CurveProtocol(name="c2i", metric="deletion", intervals=3), 10, 10).tolist()
        [0, 3, 6, 10]
    """
    rule, n = protocol.counts, protocol.intervals or 0
    if rule == "list":
        return _listed(protocol.count_list or (), elements)
    if rule == "pixels" or (rule == "ceil-block" and n):
        block = -(-elements // n) if rule == "ceil-block" else protocol.pixels_per_step or 8 * width
        return np.minimum(np.arange(-(-elements // block) + 1, dtype=np.int64) * block, elements)
    if not 1 <= n <= elements:
        raise InputError(f"{n} intervals do not fit a map of {elements} elements; set intervals to 1..{elements}")
    steps = np.arange(n + 1, dtype=np.int64)
    mirrored = rule == "equal" and protocol.start == "baseline"
    return -(-steps * elements // n) if mirrored else steps * elements // n


def _listed(counts: tuple[int, ...], elements: int) -> NDArray[np.int64]:
    listed = np.asarray(counts, np.int64)
    if listed.size < 2 or listed[0] != 0 or (np.diff(listed) < 0).any() or listed[-1] > elements:
        raise InputError(f"counts must run from 0 to at most {elements} without decreasing, got {list(counts)[:8]}")
    return listed
