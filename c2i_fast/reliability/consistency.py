"""Does a metric treat images alike whatever the method, and do two metrics say the same? Spearman's ρ over images.

The statistics of Tomsett et al., Sanity Checks for Saliency Metrics (AAAI 2020). Their third, inter-rater reliability,
is α in `agreement`. A reliable metric need not be valid; a valid one must be reliable.

All scores are (methods M, images N), higher is better: whoever calls turns deletion round.
"""

from __future__ import annotations

import numpy as np

from c2i_fast.reliability.agreement import method_ranks
from c2i_fast.types import Doubles


def inter_method(scores: Doubles) -> Doubles:
    """Returns Spearman's ρ over images between every two methods under one metric, (M, M).

    High: images that score well under one method score well under the others. Images that lack a method are left out.

    Returns:
        ρ, NaN for a method whose score is the same on all images.

    Example:
        >>> inter_method(np.array([[0.1, 0.2, 0.3], [0.5, 0.9, 0.7]])).round(3)
        array([[1. , 0.5],
               [0.5, 1. ]])
    """
    ranks = _ranks_of_images(scores[:, np.isfinite(scores).all(axis=0)])
    return _correlations(ranks, ranks)


def mean_inter_method(scores: Doubles) -> float:
    """Returns the mean of `inter_method` over pairs of methods: inter-method reliability in one number.

    Example:
        >>> round(mean_inter_method(np.array([[0.1, 0.2, 0.3], [0.5, 0.9, 0.7]])), 3)
        0.5
    """
    pairs = inter_method(scores)[np.triu_indices(len(scores), 1)]
    return float(pairs.mean()) if len(pairs) else float("nan")


def internal_consistency(first: Doubles, second: Doubles) -> Doubles:
    """Returns, for each method, Spearman's ρ over images between two metrics of it, (M,).

    Both are higher-is-better, so two metrics of one thing should give positive values. Papers that leave AOPC-LeRF
    lower-is-better report the opposite sign.

    Example:
        >>> internal_consistency(np.array([[0.1, 0.2, 0.3]]), np.array([[0.5, 0.9, 0.7]])).round(3)
        array([0.5])
    """
    there = np.isfinite(first).all(axis=0) & np.isfinite(second).all(axis=0)
    return np.diagonal(_correlations(_ranks_of_images(first[:, there]), _ranks_of_images(second[:, there])))


def ranking_consistency(first: Doubles, second: Doubles) -> Doubles:
    """Returns, for each image, Spearman's ρ over methods between two metrics' rankings of them, (N,).

    Another statistic than `internal_consistency`, found under the same name in re-implementations: it compares how
    metrics order methods, not how they order images. NaN where a metric ties all methods.

    Example:
        >>> ranking_consistency(np.array([[0.1], [0.2], [0.3]]), np.array([[0.5], [0.9], [0.7]])).round(3)
        array([0.5])
    """
    one, two = (r - r.mean(axis=0) for r in (method_ranks(first), method_ranks(second)))
    with np.errstate(divide="ignore", invalid="ignore"):
        rho: Doubles = (one * two).sum(axis=0) / np.sqrt((one**2).sum(axis=0) * (two**2).sum(axis=0))
    return rho


def _ranks_of_images(scores: Doubles) -> Doubles:
    return method_ranks(scores.T).T if scores.shape[1] else scores


def _correlations(first: Doubles, second: Doubles) -> Doubles:
    """Returns Pearson's r between the rows of two matrices (M, N), (M, M)."""
    if first.shape[1] < 2:
        return np.full((len(first), len(second)), np.nan)
    one, two = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        r: Doubles = one @ two.T / np.sqrt(np.outer((one**2).sum(axis=1), (two**2).sum(axis=1)))
    return r
