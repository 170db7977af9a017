"""Which methods differ? Paired tests over images for every pair, with Holm's correction over all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.reliability.intervals import Estimate, mean_interval
from c2i_fast.types import Doubles

MOST_EXACT = 12  # images up to which all 2^n signs are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two methods on the same images.

    Attributes:
        difference: the mean of first − second with its uncorrected 95 % interval (Student's t).
        test: `sign-flip` (exact permutation) up to 12 images, else `t`.
        p: of that test, two-sided; NaN where there are fewer than two images.
        p_holm: the same, corrected over all pairs.
        wilcoxon_holm: Wilcoxon's signed-rank test instead, corrected over all pairs.
    """

    first: str
    second: str
    difference: Estimate
    test: str
    p: float
    p_holm: float
    wilcoxon_holm: float

    def separated(self, level: float = 0.05) -> bool:
        """Returns whether the corrected test tells the two apart."""
        return self.p_holm <= level

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        tests = {name: getattr(self, name) for name in ("test", "p", "p_holm", "wilcoxon_holm")}
        return {"first": self.first, "second": self.second, **self.difference.to_dict(), **tests}


def holm(p: NDArray[Any]) -> Doubles:
    """Returns Holm's adjusted p-values: the k-th smallest of m becomes max_{j≤k} min(1, (m − j + 1)·p_(j)).

    NaN stays NaN and does not count. (Holm, Scandinavian Journal of Statistics 1979.)

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03]))
        array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return adjusted


def compare(scores: Doubles, methods: Sequence[str]) -> list[Pair]:
    """Returns every pair of methods: paired difference over images, tests, and their corrections over all pairs.

    Args:
        scores: (M, N) methods × images; images that lack a method are left out.
        methods: M names.

    Example:
        >>> pair, = compare(np.array([[0.3, 0.5, 0.4, 0.6], [0.1, 0.2, 0.2, 0.3]]), ["ours", "theirs"])
        >>> round(pair.difference.mean, 3), pair.test, pair.p
        (0.25, 'sign-flip', 0.125)
    """
    complete = scores[:, np.isfinite(scores).all(axis=0)]
    pairs = list(combinations(range(len(methods)), 2))
    if not pairs or not complete.shape[1]:
        return []
    differences = np.stack([complete[i] - complete[j] for i, j in pairs])
    exact = differences.shape[1] <= MOST_EXACT
    p = sign_flip(differences) if exact else paired_t(differences)
    p_holm, rank_holm = holm(p), holm(wilcoxon(differences))
    return [
        Pair(
            first=methods[i],
            second=methods[j],
            difference=mean_interval(differences[k]),
            test="sign-flip" if exact else "t",
            p=float(p[k]),
            p_holm=float(p_holm[k]),
            wilcoxon_holm=float(rank_holm[k]),
        )
        for k, (i, j) in enumerate(pairs)
    ]


def sign_flip(differences: Doubles) -> Doubles:
    """Returns the exact two-sided p-value of the mean of each row (pairs, n) when signs are exchangeable.

    The share of all 2^n sign patterns whose mean is at least as far from 0 as the one found.

    Example:
        >>> sign_flip(np.array([[1.0, 2.0, 3.0]]))
        array([0.25])
    """
    images = differences.shape[1]
    if images < 2:
        return np.full(len(differences), np.nan)
    signs = np.array(list(product((1.0, -1.0), repeat=images)))
    found = np.abs(differences.sum(axis=1, keepdims=True))
    slack = 1e-12 * np.abs(differences).sum(axis=1, keepdims=True)
    p: Doubles = (np.abs(differences @ signs.T) >= found - slack).mean(axis=1)
    return p


def paired_t(differences: Doubles) -> Doubles:
    """Returns Student's paired t-test of each row (pairs, n), two-sided; 1 where all differences are 0."""
    from scipy.special import stdtr

    images = differences.shape[1]
    if images < 2:
        return np.full(len(differences), np.nan)
    mean, spread = differences.mean(axis=1), differences.std(axis=1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / (spread / np.sqrt(images))
    p: Doubles = 2 * stdtr(images - 1, -np.where(mean == 0, 0.0, t))
    return p


def wilcoxon(differences: Doubles) -> Doubles:
    """Returns Wilcoxon's signed-rank test of each row (pairs, n), two-sided, zeros dropped; 1 where all are 0."""
    from scipy import stats

    if differences.shape[1] < 2:
        return np.full(len(differences), np.nan)
    return np.array([float(stats.wilcoxon(row).pvalue) if row.any() else 1.0 for row in differences])
