"""How much of a map lies where the truth is, and whether a score orders methods as the truth does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.perturb.order import pixel_order
from c2i_fast.reliability.stability import kendall_tau
from c2i_fast.types import Doubles

RESAMPLES = 1000
MASS, TOP = "mass-accuracy", "top-precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Kendall's τ of two orders of methods: 1 the same, 0 unrelated, −1 reversed.

    Attributes:
        ci95: percentiles of τ over resampled images; the methods stay.
    """

    tau: float
    ci95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {"tau": self.tau, "ci95": list(self.ci95)}


def mass_accuracy(maps: NDArray[Any], masks: NDArray[np.bool_]) -> Doubles:
    """Returns the share of each map's mass that lies inside the mask F: Σ_{p∈F} |a_p| / Σ_p |a_p|, float64 (N,).

    In [0, 1], higher is better; a map that is equal everywhere has |F| / D, one that is zero everywhere has 0. Known as
    IMA in EXACT and as relevance mass accuracy (Arras, Osman, Samek, 2022). A constant added to a map changes it.

    Args:
        maps: (N, *space), any real values.
        masks: (N, *space), where the truth is.

    Example:
        >>> mass_accuracy(np.array([[3.0, -1.0, 0.0]]), np.array([[True, False, False]]))
        array([0.75])
    """
    _check(maps, masks)
    mass = np.abs(maps.astype(np.float64)).reshape(len(maps), -1)
    inside = np.where(masks.reshape(len(masks), -1), mass, 0).sum(axis=1)
    total = mass.sum(axis=1)
    share: Doubles = np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)
    return share


def top_precision(maps: NDArray[Any], masks: NDArray[np.bool_]) -> Doubles:
    """Returns the share of each map's |F| highest pixels that lie inside its mask F, float64 (N,).

    In [0, 1], higher is better; a map that knows nothing has |F| / D on average. It sees ranks alone, as perturbation
    metrics do. Among equals the smaller flat index is higher.

    Args:
        maps: (N, *space), higher = more relevant.
        masks: (N, *space), where the truth is; none of them empty.

    Example:
        >>> top_precision(np.array([[0.9, 0.1, 0.5]]), np.array([[True, True, False]]))
        array([0.5])
    """
    _check(maps, masks)
    shares = []
    for saliency, mask in zip(maps, masks, strict=True):
        highest = pixel_order(saliency)[: mask.sum()]
        shares.append(mask.ravel()[highest].mean())
    return np.array(shares)


def agreement(scores: Doubles, truth: Doubles, *, seed: int) -> Agreement:
    """Returns how alike two measures order methods by their means over images.

    Args:
        scores: (methods, N), higher is better.
        truth: (methods, N), higher is better, of the same methods and images.
        seed: of the resampling.
    """
    images = scores.shape[1]
    chosen = np.random.default_rng(seed).integers(images, size=(RESAMPLES, images))
    resampled = kendall_tau(scores[:, chosen].mean(axis=2).T, truth[:, chosen].mean(axis=2).T)
    low, high = np.quantile(resampled, [0.025, 0.975])
    tau = kendall_tau(scores.mean(axis=1), truth.mean(axis=1))
    return Agreement(tau=float(tau), ci95=(float(low), float(high)))


TRUTHS: Mapping[str, Callable[[NDArray[Any], NDArray[np.bool_]], Doubles]] = {MASS: mass_accuracy, TOP: top_precision}


def _check(maps: NDArray[Any], masks: NDArray[np.bool_]) -> None:
    if maps.shape != masks.shape or maps.ndim < 2:
        raise ValueError(f"expected maps and masks of one shape (N, *space), got {maps.shape} and {masks.shape}")
