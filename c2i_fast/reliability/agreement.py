"""Do images agree on the order of methods? Krippendorff's α with images as raters, Kendall's W, and their intervals.

A low α says that single images disagree. It does not say that the ranking of the means is wrong: see `stability`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Doubles

Level = Literal["ordinal", "interval"]
RESAMPLES = 5000
BATCH_VALUES = 1 << 23  # floats of one batch of resamples


def method_ranks(scores: Doubles) -> Doubles:
    """Returns ranks 1..M of the methods on every image, shape (M, N), the highest score M; ties share their mean.

    Args:
        scores: (M, N) methods × images, higher is better. NaN is missing, and stays so.

    Example:
        >>> method_ranks(np.array([[0.3], [0.9], [0.3]])).ravel()
        array([1.5, 3. , 1.5])
    """
    from scipy.stats import rankdata

    ranks: Doubles = rankdata(scores, axis=0, nan_policy="omit")
    return ranks


def krippendorff_alpha(ratings: NDArray[Any], *, level: Level = "ordinal") -> float:
    """Returns Krippendorff's α = 1 − D_o / D_e, at most 1; 0 is chance.

    With m_u ratings of unit u and n = Σ m_u of the units that have at least two,
    D_o = 1/n Σ_u Σ_{i≠j} δ²(r_iu, r_ju) / (m_u − 1) and D_e = Σ_{i≠j} δ²(r_i, r_j) / (n(n−1)) over all pairs of them.
    Interval: δ = c − k. Ordinal: δ = Σ_{g=c..k} n_g − (n_c + n_k)/2, the difference of mid-ranks among the n ratings,
    so ordinal is interval on mid-ranks. (Krippendorff, Content Analysis, 2004.)

    For α of a metric, give `method_ranks(scores)`: units are methods, raters are images (Tomsett et al., AAAI 2020).
    For ranks without ties both levels are 1 − (NM−1)/(M(N−1)) · (1 − W).

    Args:
        ratings: (units, raters); NaN is missing.
        level: what differences of ratings mean.

    Returns:
        α, or NaN where nothing differs or no unit has two ratings.

    Example:
        >>> ranks = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 3, 2, 4]]).T
        >>> round(krippendorff_alpha(ranks), 6)
        0.877778
    """
    values = np.asarray(ratings, np.float64)
    values = values[np.isfinite(values).sum(axis=1) >= 2]
    there = np.isfinite(values)
    if level == "ordinal" and there.any():
        from scipy.stats import rankdata

        values = np.where(there, rankdata(np.where(there, values, np.inf)).reshape(values.shape), np.nan)
    filled = np.where(there, values - (values[there].mean() if there.any() else 0.0), 0.0)
    sums = np.stack([there.sum(axis=1), filled.sum(axis=1), (filled**2).sum(axis=1)], axis=-1)
    return float(_alpha(sums.astype(np.float64)))


def _alpha(sums: Doubles) -> Doubles:
    """Returns α (...,) from each unit's number, sum and sum of squares of ratings, (..., units, 3)."""
    number, total, square = np.moveaxis(sums, -1, 0)
    n, all_total, all_square = (sums[..., k].sum(axis=-1) for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(number >= 2, (number * square - total**2) / (number - 1), 0.0).sum(axis=-1)
        expected = (n * all_square - all_total**2) / (n - 1)
        alpha: Doubles = np.where(expected > 1e-9 * np.abs(all_square), 1 - observed / expected, np.nan)
    return alpha


def kendall_w(ranks: NDArray[Any]) -> float:
    """Returns Kendall's coefficient of concordance W of complete ranks (methods M, images N), in [0, 1].

    W = 12 Σ_u (R_u − R̄)² / (N²(M³−M) − N Σ_i T_i), T_i = Σ (t³ − t) over the groups of t tied ranks on image i.

    Returns:
        W, or NaN where every image ties all methods.

    Example:
        >>> round(kendall_w(np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 3, 2, 4]]).T), 6)
        0.911111
    """
    methods, images = ranks.shape
    totals = ranks.sum(axis=1)
    # Σ over the members of a group of (t² − 1) is t³ − t.
    tied = ((ranks[:, None] == ranks[None]).sum(axis=1) ** 2 - 1).sum()
    most = images**2 * (methods**3 - methods) - images * float(tied)
    return float(12 * ((totals - totals.mean()) ** 2).sum() / most) if most > 0 else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """α of method ranks with BCa bootstrap intervals over images; None where there is none."""

    alpha: float
    ci95: tuple[float, float] | None
    ci99: tuple[float, float] | None
    methods: int
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON; an interval that is not there is two nulls."""
        ends = {name: list(getattr(self, name) or (None, None)) for name in ("ci95", "ci99")}
        return {"alpha": self.alpha, **ends, "methods": self.methods, "images": self.images}


def agreement(scores: Doubles, *, level: Level = "ordinal", resamples: int = RESAMPLES, seed: int = 0) -> Agreement:
    """Returns α of the methods' ranks over images, with bias-corrected and accelerated bootstrap intervals.

    BCa after Efron (JASA 1987), as in Gomez & Mouchère (2023), with 99 % and 95 %. Images are resampled whole; equal
    rankings are drawn together, by their number, which is the same bootstrap and does not depend on the images' order.

    Args:
        scores: (M, N) methods × images, higher is better; images that lack a method are left out.
        level: `ordinal` as in the literature, or `interval`; they differ where ranks tie.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Example:
        >>> found = agreement(np.array([[0.1, 0.2, 0.1], [0.2, 0.3, 0.3], [0.3, 0.4, 0.2], [0.9, 0.8, 0.7]]))
        >>> round(found.alpha, 6), found.images
        (0.877778, 3)
    """
    complete = scores[:, np.isfinite(scores).all(axis=0)]
    methods, images = complete.shape
    ranks = method_ranks(complete) if images else complete
    alpha = krippendorff_alpha(ranks, level=level)
    ends: list[tuple[float, float] | None] = [None, None]
    if images >= 3 and np.isfinite(alpha):
        ends = _bca(ranks, alpha, level, resamples, seed)
    return Agreement(alpha=alpha, ci95=ends[0], ci99=ends[1], methods=methods, images=images)


def _bca(ranks: Doubles, alpha: float, level: Level, resamples: int, seed: int) -> list[tuple[float, float] | None]:
    from scipy.special import ndtr, ndtri

    patterns, number = np.unique(ranks.T, axis=0, return_counts=True)
    weighted = _weighted_alpha(patterns, level)
    images = int(number.sum())
    rng = np.random.default_rng([seed, 0xA1FA])
    batch = max(1, BATCH_VALUES // (len(number) + 8 * patterns.shape[1] ** 2))
    sizes = np.diff([*range(0, resamples, batch), resamples])
    drawn = np.concatenate([weighted(rng.multinomial(images, number / images, int(size))) for size in sizes])
    drawn = np.sort(drawn[np.isfinite(drawn)])
    without = np.concatenate(
        [
            weighted(number - rows)
            for rows in np.split(np.eye(len(number), dtype=np.int64), range(batch, len(number), batch))
        ]
    )
    usable = np.isfinite(without)
    if not len(drawn) or not usable.all():
        return [None, None]
    spread = np.average(without, weights=number) - without
    cubes, squares = (spread**3 * number).sum(), (spread**2 * number).sum()
    acceleration = cubes / (6 * squares**1.5) if squares > 1e-24 else 0.0
    below = ((drawn < alpha - 1e-12).mean() + (drawn <= alpha + 1e-12).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / len(drawn), 1 - 0.5 / len(drawn)))
    found: list[tuple[float, float] | None] = []
    for tail in (0.025, 0.005):
        z = bias + ndtri(np.array([tail, 1 - tail]))
        low, high = np.quantile(drawn, ndtr(bias + z / (1 - acceleration * z)))
        found.append((float(low), float(high)))
    return found


def _weighted_alpha(patterns: Doubles, level: Level) -> Callable[[NDArray[np.int64]], Doubles]:
    """Returns the function from how often each pattern occurs, (B, patterns), to α (B,).

    patterns: (P, M) ranks; every one lies in {1, 1.5, …, M}, so a resample is its counts of rank × method.
    """
    methods = patterns.shape[1]
    ladder = np.arange(2, 2 * methods + 1) / 2
    indicator = (patterns[:, :, None] == ladder).reshape(len(patterns), -1).astype(np.float32)

    def alpha(weights: NDArray[np.int64]) -> Doubles:
        # float32 holds counts below 2^24 exactly, and images are fewer.
        counts = (weights.astype(np.float32) @ indicator).reshape(-1, methods, len(ladder)).astype(np.float64)
        values = np.broadcast_to(ladder - ladder.mean(), (len(counts), len(ladder)))
        if level == "ordinal":
            pooled = counts.sum(axis=1)
            middle = np.cumsum(pooled, axis=1) - pooled / 2
            values = middle - middle.mean(axis=1, keepdims=True)
        powers = np.stack([np.ones_like(values), values, values**2], axis=-1)
        return _alpha(np.einsum("bmv,bvk->bmk", counts, powers, optimize=True))

    return alpha
