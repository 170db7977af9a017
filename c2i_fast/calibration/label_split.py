"""Parts of samples with several labels in which every label keeps its share.

Sechidis, Tsoumakas, Vlahavas: On the Stratification of Multi-Label Data, ECML PKDD 2011; with part sizes kept exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.split import Indices, Split, check_split


def stratified_parts(applies: NDArray[np.bool_], sizes: Sequence[int], seed: int) -> list[Indices]:
    """Returns the row numbers of each part, ascending; together every row once.

    Labels are dealt out from the rarest on: each of its samples goes to the part that wants that label most, of equals
    to the one that wants most samples, then at random. Samples without a label fill the parts up, at random.

    Args:
        applies: bool (N, K).
        sizes: of the parts, Σ = N.
        seed: of the order and of ties.

    Example:
        >>> parts = stratified_parts(np.array([[1, 0], [1, 0], [0, 1], [0, 1]], bool), [2, 2], seed=0)
        >>> [len({0, 1} & set(part.tolist())) for part in parts]
        [1, 1]
    """
    rng = np.random.default_rng(seed)
    room = np.array(sizes)
    wanted = np.outer(room / room.sum(), applies.sum(axis=0))
    left = applies.sum(axis=0).astype(np.int64)
    part = np.full(len(applies), -1)
    while left.any():
        label = int(np.where(left > 0, left, len(applies) + 1).argmin())
        for sample in rng.permutation(np.flatnonzero(applies[:, label] & (part < 0))):
            desire = np.where(room > 0, wanted[:, label], -np.inf)
            best = np.flatnonzero(desire == desire.max())
            best = best[room[best] == room[best].max()]
            chosen = best[0] if len(best) == 1 else rng.choice(best)
            part[sample] = chosen
            room[chosen] -= 1
            wanted[chosen, applies[sample]] -= 1
            left[applies[sample]] -= 1
    bare = np.flatnonzero(part < 0)
    part[rng.permutation(bare)] = np.repeat(np.arange(len(room)), room)
    return [np.flatnonzero(part == number) for number in range(len(sizes))]


def split_labels(applies: NDArray[np.bool_], fit_fraction: float, seed: int) -> Split:
    """Returns the split with `fit_fraction` of the samples for fitting, every label in proportion in both parts.

    With 1 all samples are for fitting; below 1 neither part is empty.

    Raises:
        InputError: a fraction outside (0, 1], a seed outside 0..2³²−1, or a single sample to split.
    """
    samples = len(applies)
    size = check_split(samples, fit_fraction, seed)
    fit, test = stratified_parts(applies, [size, samples - size], seed)
    alone = [str(label) for label in np.flatnonzero(applies.sum(axis=0) == 1)]
    note = None
    if alone and len(test):
        more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
        note = f"label(s) {', '.join(alone[:5])}{more} apply to one sample, which is in one part only"
    return Split(fit=fit, test=test, note=note)
