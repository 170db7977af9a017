"""Intervals by leaving groups out: for smooth statistics in which a sample must not occur twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Statistic = Callable[[NDArray[np.int64]], float]
"""From the indices of the samples to use, ascending and each once, to the value."""


def jackknife_interval(
    statistic: Statistic, samples: int, *, groups: int = 20, seed: int = 0
) -> tuple[float, float] | None:
    """Returns θ_N ± t(G−1)·√((G−1)/G · Σ_g (θ_−g − mean θ_−g)²), a 95 % interval (delete-a-group jackknife).

    For leave-one-out kernel estimates: a bootstrap's duplicates would tell each sample its own label. It measures
    spread, not bias.

    Args:
        statistic: of the indices of the samples to use.
        samples: N.
        groups: G, random and of equal size; at most N.
        seed: of the grouping.

    Returns:
        The two ends, or None with fewer than 3 samples.

    Example:
        >>> values = np.array([1.0, 2.0, 3.0])
        >>> [round(end, 3) for end in jackknife_interval(lambda rows: values[rows].mean(), 3)]
        [-0.484, 4.484]
    """
    if samples < 3:
        return None
    from scipy.special import stdtrit

    order = np.random.default_rng([seed]).permutation(samples)
    parts = np.array_split(order, min(groups, samples))
    without = np.array([statistic(np.sort(np.setdiff1d(order, part))) for part in parts])
    count, whole = len(parts), float(statistic(np.arange(samples)))
    variance = (count - 1) / count * ((without - without.mean()) ** 2).sum()
    half = float(stdtrit(count - 1, 0.975) * np.sqrt(variance))
    return whole - half, whole + half
