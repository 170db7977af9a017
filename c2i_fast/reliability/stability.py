"""Would other images give the same ranking of the methods' means? Halves of the images, against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Doubles

SPLITS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """How alike two random halves of the images rank the methods by their means.

    Attributes:
        tau: the median of Kendall's τ over splits, in [−1, 1].
        range95: between which values 95 % of the splits lie; a spread of splits, no confidence interval.
        same: the share of splits in which both halves give the whole ranking alike.
        images: of which each half holds ⌊n/2⌋.
    """

    tau: float
    range95: tuple[float, float] | None
    same: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        ends = list(self.range95 or (None, None))
        return {"tau": self.tau, "range95": ends, "same": self.same, "images": self.images}


def kendall_tau(first: NDArray[Any], second: NDArray[Any]) -> Doubles:
    """Returns τ_a = mean over pairs i < j of sign(x_i − x_j)·sign(y_i − y_j), over the last axis.

    Example:
        >>> float(kendall_tau(np.array([1, 2, 3]), np.array([1, 3, 2])).round(3))
        0.333
    """
    i, j = np.triu_indices(first.shape[-1], 1)
    signs = [np.sign(values[..., i] - values[..., j]) for values in (first, second)]
    tau: Doubles = (signs[0] * signs[1]).mean(axis=-1)
    return tau


def split_half(scores: Doubles, *, splits: int = SPLITS, seed: int = 0) -> Stability:
    """Returns how stable the ranking of mean scores is: Kendall's τ_a between the means of two random halves.

    It is the stability at n/2 images, so that at n is a little higher; no formula is used to guess by how much.

    Args:
        scores: (M, N) methods × images; images that lack a method are left out, and of an odd number one a split.
        splits: random halvings.
        seed: of the halvings.

    Returns:
        The median and spread over splits; NaN with fewer than two methods or images.

    Example:
        >>> split_half(np.array([[0.1, 0.2, 0.1, 0.2], [0.8, 0.9, 0.7, 0.6]])).tau
        1.0
    """
    complete = scores[:, np.isfinite(scores).all(axis=0)]
    methods, images = complete.shape
    half = images // 2
    if methods < 2 or not half:
        return Stability(tau=float("nan"), range95=None, same=float("nan"), images=images)
    rng = np.random.default_rng([seed, 0x5917])
    means = np.empty((2, splits, methods))
    for split in range(splits):
        order = rng.permutation(images)
        members = np.zeros((images, 2))
        members[order[:half], 0] = members[order[half : 2 * half], 1] = 1 / half
        means[:, split] = (complete @ members).T
    tau = kendall_tau(means[0], means[1])
    low, high = np.quantile(tau, [0.025, 0.975])
    return Stability(
        tau=float(np.median(tau)), range95=(float(low), float(high)), same=float((tau == 1).mean()), images=images
    )
