"""How many units have changed at each point of a curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.protocols import CurveProtocol


def point_counts(protocol: CurveProtocol, elements: int, width: int) -> NDArray[np.int64]:
    """Returns the changed units at each point: int64 (n+1,), counts[0] = 0, never decreasing.

    With U units of which M = ⌊limit · U⌋ may change:

    - `equal`: ⌊k·M/n⌋ for curves that start at the image and its mirror ⌈k·M/n⌉ for those that start at the baseline,
      so that the images of the two coincide;
    - `floor`: ⌊k·M/n⌋ on both; `linspace`: the same in floating point, as NumPy's `linspace` cut to integers;
    - `ceil-block`: blocks of ⌈M/n⌉, n a maximum;
    - `floor-jump`: k·⌊M/n⌋ for k ≤ n − 2, and then at once M;
    - `pixels`: blocks of `pixels_per_step`, the last one short;
    - `list`: as given;
    - `percentile`: what is at or above each of the map's `percentiles`, U − ⌈q·(U − 1)/100⌉, after a point 0.

    Args:
        protocol: whose rule and numbers are used.
        elements: U, the number of units that may change.
        width: the map's last dimension; the rule `pixels` without a number takes eight rows, 8·width.

    Raises:
        InputError: More intervals than units, or a list that decreases, starts above 0 or exceeds U.

    Example:
        >>> point_counts(CurveProtocol(name="c2i", metric="deletion", intervals=3), 10, 10).tolist()
        [0, 3, 6, 10]
    """
    counts = _counts(protocol, elements, int(np.floor(protocol.limit * elements)), width)
    return counts if protocol.most_steps is None else counts[: protocol.most_steps + 1]


def _counts(protocol: CurveProtocol, elements: int, most: int, width: int) -> NDArray[np.int64]:
    rule, n = protocol.counts, protocol.intervals or 0
    if rule == "list":
        return _listed(protocol.count_list or (), elements)
    if rule == "percentile":
        above = [elements - int(np.ceil(q * (elements - 1) / 100)) for q in protocol.percentiles or ()]
        return _listed((0, *above), elements)
    if rule == "pixels" or (rule == "ceil-block" and n):
        block = -(-most // n) if rule == "ceil-block" else protocol.pixels_per_step or 8 * width
        return np.minimum(np.arange(-(-most // block) + 1, dtype=np.int64) * block, most)
    if not 1 <= n <= most:
        raise InputError(f"{n} intervals do not fit a map of {most} elements; set intervals to 1..{most}")
    steps = np.arange(n + 1, dtype=np.int64)
    if rule == "linspace":
        return np.linspace(0, most, n + 1).astype(np.int64)
    if rule == "floor-jump":
        return np.append(steps[: n - 1] * (most // n), most)
    mirrored = rule == "equal" and protocol.start == "baseline"
    return -(-steps * most // n) if mirrored else steps * most // n


def _listed(counts: tuple[int, ...], elements: int) -> NDArray[np.int64]:
    listed = np.asarray(counts, np.int64)
    if listed.size < 2 or listed[0] != 0 or (np.diff(listed) < 0).any() or listed[-1] > elements:
        raise InputError(f"counts must run from 0 to at most {elements} without decreasing, got {list(counts)[:8]}")
    return listed


def with_their_ties(counts: NDArray[np.int64], ranked: NDArray[np.floating]) -> NDArray[np.int64]:
    """Returns the counts (n+1,) grown to the end of the tied group that each of them falls into.

    Args:
        counts: changed units at each point.
        ranked: the units' saliency (U,) in the order in which they change.

    Example:
        >>> with_their_ties(np.array([0, 1, 2]), np.array([0.9, 0.5, 0.5, 0.1])).tolist()
        [0, 1, 3]
    """
    group_ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(ranked))
    return np.where(counts > 0, group_ends[np.searchsorted(group_ends, np.maximum(counts, 1))], 0)
