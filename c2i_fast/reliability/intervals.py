"""Means with intervals over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval over n images; the interval is None where n < 2."""

    mean: float
    ci95: tuple[float, float] | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON: `ci95` is a list of two numbers, or two nulls."""
        return {"mean": self.mean, "ci95": list(self.ci95) if self.ci95 else [None, None], "n": self.n}


def mean_interval(values: Doubles) -> Estimate:
    """Returns the mean of per-image values (N,) with Student's t interval, m ± t · s/√N.

    For differences of two methods on the same images, give the differences: that is the paired interval.

    Example:
        >>> e = mean_interval(np.array([1.0, 2.0, 3.0]))
        >>> e.mean, [round(x, 3) for x in e.ci95]
        (2.0, [-0.484, 4.484])
    """
    mean, n = float(np.mean(values)), len(values)
    return _around(mean, float(np.var(values, ddof=1) / n) if n > 1 else 0.0, n, n - 1)


def corrected_mean(fast: Doubles, fast_subset: Doubles, reference_subset: Doubles) -> Estimate:
    """Returns the mean the reference would give: all N images in a fast precision, a random m of them in both.

    mean(fast) + mean(difference), the difference estimator of survey sampling, with difference = reference − fast on
    the subset and variance s²/N + 2·cov(fast, difference)/N + d²/m.

    Args:
        fast: (N,) values in the fast precision.
        fast_subset: (m,) the same for the subset.
        reference_subset: (m,) values of the reference there.

    Example:
        >>> round(corrected_mean(np.array([0.5, 0.7, 0.9]), np.array([0.5, 0.7]), np.array([0.6, 0.8])).mean, 3)
        0.8
    """
    n, m = len(fast), len(fast_subset)
    difference = reference_subset - fast_subset
    mean = float(np.mean(fast) + np.mean(difference))
    if m < 2:
        return Estimate(mean=mean, ci95=None, n=n)
    (_, shared), (_, spread) = np.cov(fast_subset, difference)
    variance = float(np.var(fast, ddof=1)) / n + 2 * float(shared) / n + float(spread) / m
    return _around(mean, max(variance, 0.0), n, m - 1)


def _around(mean: float, variance: float, n: int, freedom: int) -> Estimate:
    if n < 2:
        return Estimate(mean=mean, ci95=None, n=n)
    from scipy import stats  # imported here: `import c2i_fast` stays light

    half = float(stats.t.ppf(0.975, freedom)) * variance**0.5
    return Estimate(mean=mean, ci95=(mean - half, mean + half), n=n)


def paired(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Returns the mean of first − second over the same images, with its interval."""
    return mean_interval(np.asarray(first, np.float64) - np.asarray(second, np.float64))
