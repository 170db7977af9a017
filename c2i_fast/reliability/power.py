"""How many images does a difference need? From a pilot's paired differences to a sample size, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import Any

import numpy as np

from c2i_fast.types import Doubles

FEWEST = 5
MOST_IMAGES = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Images that a paired t-test needs.

    Attributes:
        spread: the pilot's standard deviation of the paired difference.
        images: for that spread.
        spread_upper: the spread's one-sided upper confidence limit.
        images_upper: for that limit: enough in so many of a hundred pilots.
    """

    spread: float
    images: int
    spread_upper: float
    images_upper: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {name: getattr(self, name) for name in ("spread", "images", "spread_upper", "images_upper")}


def images_needed(
    differences: Doubles,
    detect: float,
    *,
    comparisons: int = 1,
    level: float = 0.05,
    power: float = 0.8,
    sure: float = 0.9,
) -> Need:
    """Returns how many images a two-sided paired t-test needs to see a mean difference.

    The smallest n whose noncentral t-test at level/comparisons has the power. Bonferroni's level is the first step of
    Holm's correction, so this is enough for every pair in any order.

    Args:
        differences: (n,) of the pilot, at least 5.
        detect: δ > 0, the difference to see, in the metric's unit.
        comparisons: pairs that are tested together.
        level: of the family of tests.
        power: probability of seeing δ.
        sure: of the upper limits; a pilot knows its spread only roughly.

    Raises:
        ValueError: Fewer than 5 differences, or a number out of its range.

    Example:
        >>> need = images_needed(np.array([-0.05, 0.05] * 15), 0.02)
        >>> need.images, round(need.spread, 4)
        (53, 0.0509)
    """
    if len(differences) < FEWEST:
        raise ValueError(f"a pilot needs at least {FEWEST} differences, got {len(differences)}")
    if not (detect > 0 and comparisons >= 1 and 0 < level < 1 and level < power < 1 and 0.5 <= sure < 1):
        given = f"detect {detect}, comparisons {comparisons}, level {level}, power {power}, sure {sure}"
        raise ValueError(f"one of these is out of its range: {given}")
    spread = float(np.std(differences, ddof=1))
    upper = spread_upper(differences, sure)
    counts = [_images(s / detect, level / comparisons, power) for s in (spread, upper)]
    return Need(spread=spread, images=counts[0], spread_upper=upper, images_upper=counts[1])


def spread_upper(values: Doubles, sure: float = 0.9) -> float:
    """Returns a one-sided upper confidence limit of the standard deviation that heavy tails may widen.

    Bonett's (Computational Statistics & Data Analysis, 2006): √(c·s²·exp(z·c·√((γ − (n−3)/n)/(n−1)))), c = n/(n − z),
    γ = n Σ(x − m)⁴ / (Σ(x − x̄)²)², m the mean trimmed by 1/(2√(n−4)) on each side. The χ² limit would assume that
    differences are normal, which those of bounded scores are not.

    Args:
        values: (n,), at least 5.
        sure: the confidence, 0.5 or more.
    """
    from scipy.special import ndtri
    from scipy.stats import trim_mean

    n, z = len(values), float(ndtri(sure))
    variance, squares = float(np.var(values, ddof=1)), float(((values - values.mean()) ** 2).sum())
    if squares == 0:
        return 0.0
    middle = trim_mean(values, min(1 / (2 * sqrt(n - 4)), 0.49))
    kurtosis = n * float(((values - middle) ** 4).sum()) / squares**2
    c = n / (n - z)
    return sqrt(exp(log(c * variance) + z * c * sqrt(max(kurtosis - (n - 3) / n, 0.0) / (n - 1))))


def _images(ratio: float, level: float, power: float) -> int:
    """Returns the smallest n ≥ 2 at which a two-sided t-test of effect 1/ratio has the power."""
    from scipy.special import ndtri

    if ratio == 0:
        return 2
    start = float((ndtri(1 - level / 2) + ndtri(power)) * ratio) ** 2
    if start > 1e5:  # t is normal there
        return min(ceil(start), MOST_IMAGES)
    n = max(2, int(start) - 1)
    while _power(n, ratio, level) < power:
        n += 1
    while n > 2 and _power(n - 1, ratio, level) >= power:
        n -= 1
    return n


def _power(n: int, ratio: float, level: float) -> float:
    """Returns the probability of being significant on the right side; the wrong one adds nothing worth having."""
    from scipy.special import nctdtr, stdtrit

    edge, shift = float(stdtrit(n - 1, 1 - level / 2)), sqrt(n) / ratio
    return float(1 - nctdtr(n - 1, shift, edge))
