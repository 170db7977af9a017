"""Localisation: does a map point at the object? Read off the map and a region, without a pass.

A region is the union of an image's boxes, or its mask, at the network's size. A map without any relevance says nothing
of where the object is, and counts as the constant map that it is, so it gets what chance gets: the region's share of
the area. Regions are often in the middle: the control `center` is what a map has to beat.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from c2i_fast.metrics.map_metric import map_metric
from c2i_fast.metrics.otsu import marked
from c2i_fast.protocols import MapProtocol, MassProtocol, OverlapProtocol, PointingProtocol
from c2i_fast.types import Bools, Doubles

region_metric = partial(map_metric, higher_is_better=True, bounds=(0, 1), needs=("region",))


@region_metric("pointing-game", "is the map's maximum in the region? (Zhang et al. 2018); higher is better")
def pointing_game(saliency: Doubles, region: Bools, protocol: PointingProtocol) -> float:
    """Returns 1 where the maximum lies in the region, else 0; of several equal maxima, the share that does.

    Zhang et al., IJCV 2018, with 15 pixels of tolerance around the maximum: `--set tolerance=15`. Theirs are pixels of
    the stored picture, these are of the network's input.

    Example:
        >>> protocol = PointingProtocol(name="c2i", metric="pointing-game")
        >>> pointing_game(np.array([3.0, 3, 1]), np.array([True, False, False]), protocol)
        0.5
    """
    near = region
    if protocol.tolerance:
        from scipy.ndimage import distance_transform_edt

        near = distance_transform_edt(~region) <= protocol.tolerance
    return float(near[saliency == saliency.max()].mean())


def _mass(saliency: Doubles, region: Bools, protocol: MassProtocol) -> float:
    """Returns the share of the relevance that lies in the region; the region's area share where there is none."""
    relevance = np.abs(saliency) if protocol.relevance == "absolute" else np.maximum(saliency, 0)
    peak = relevance.max()
    if peak == 0:
        return float(region.mean())
    relevance = relevance / peak  # so that no sum overflows or vanishes
    inside, outside = float(relevance[region].sum()), float(relevance[~region].sum())
    return inside / (inside + outside)  # never above 1, as a quotient of two separate sums may be by rounding


@region_metric("energy-pointing", "share of the relevance in the region (Wang et al. 2020); higher is better")
def energy_pointing(saliency: Doubles, region: Bools, protocol: MassProtocol) -> float:
    """Returns Σ_region max(v, 0) / Σ max(v, 0): the energy-based pointing game of Score-CAM.

    Example:
        >>> protocol = MassProtocol(name="c2i", metric="energy-pointing")
        >>> energy_pointing(np.array([3.0, 1, -4]), np.array([True, False, False]), protocol)
        0.75
    """
    return _mass(saliency, region, protocol)


@region_metric("relevance-mass", "relevance mass accuracy (Arras et al. 2022); higher is better")
def relevance_mass(saliency: Doubles, region: Bools, protocol: MassProtocol) -> float:
    """Returns Σ_region R / Σ R for the relevance R = max(v, 0), or |v| with `--set relevance=absolute`.

    Arras et al., Information Fusion 2022, pool the channels of an attribution to one non-negative R first, in several
    ways; a map comes here with its channels pooled, and then `positive` is their "sum, pos" and the number is the
    energy-based pointing game's. `absolute` is the importance mass accuracy of EXACT (arXiv 2405.12261).

    Example:
        >>> protocol = MassProtocol(name="c2i", metric="relevance-mass", relevance="absolute")
        >>> relevance_mass(np.array([3.0, 1, -4]), np.array([True, False, False]), protocol)
        0.375
    """
    return _mass(saliency, region, protocol)


def top_hits(saliency: Doubles, region: Bools, count: int) -> float:
    """Returns how many of the `count` highest values lie in the region, in expectation over the order of ties.

    Example:
        >>> top_hits(np.array([3.0, 2, 2, 1]), np.array([True, True, False, False]), 2)
        1.5
    """
    last = np.partition(saliency, saliency.size - count, axis=None)[saliency.size - count]
    above, tied = saliency > last, saliency == last
    return float(above[region].sum() + (count - above.sum()) * tied[region].sum() / tied.sum())


@region_metric("relevance-rank", "relevance rank accuracy (Arras et al. 2022); higher is better")
def relevance_rank(saliency: Doubles, region: Bools, protocol: MapProtocol) -> float:
    """Returns the share of the K highest pixels that lie in the region of K pixels; among ties, what is expected.

    Example:
        >>> protocol = MapProtocol(name="c2i", metric="relevance-rank")
        >>> relevance_rank(np.array([3.0, 2, 2, 1]), np.array([True, True, False, False]), protocol)
        0.75
    """
    size = int(region.sum())
    return top_hits(saliency, region, size) / size


@region_metric("iou", "intersection over union of what the map marks and the region; higher is better")
def iou(saliency: Doubles, region: Bools, protocol: OverlapProtocol) -> float:
    """Returns |M ∩ R| / |M ∪ R| of the region R and what the map marks, M.

    M is what exceeds the map's Otsu threshold (`threshold=otsu`); the K highest pixels, K = |R| (`region-size`: with r
    the relevance rank accuracy it is r / (2 − r)); or what reaches a share of a positive maximum (`share`; Zhou et al.,
    CVPR 2016, take 0.2). A map that marks nothing, as a constant one under Otsu, has 0.

    Example:
        >>> protocol = OverlapProtocol(name="c2i", metric="iou", threshold="share", share=0.5)
        >>> iou(np.array([4.0, 2, 2, 1]), np.array([True, True, False, False]), protocol)
        0.6666666666666666
    """
    size = int(region.sum())
    if protocol.threshold == "region-size":
        shared = top_hits(saliency, region, size)
        return shared / (2 * size - shared)
    if protocol.threshold == "share":
        assert protocol.share is not None  # the protocol's own check
        chosen = (saliency >= protocol.share * saliency.max()) & (saliency > 0)
    else:
        chosen = marked(saliency)
    return float((chosen & region).sum() / (chosen | region).sum())


@region_metric("roc-auc", "ROC-AUC of the pixels' saliency against the region; higher is better")
def roc_auc(saliency: Doubles, region: Bools, protocol: MapProtocol) -> float | None:
    """Returns the chance that a pixel of the region has more saliency than one outside, ties counting half.

    By ranks, (Σ_region rank − n₁(n₁ + 1)/2) / (n₁ n₀), the Mann-Whitney statistic: 0.5 for a constant map. None where
    the region is the whole image, which leaves no pixel outside.

    Example:
        >>> protocol = MapProtocol(name="c2i", metric="roc-auc")
        >>> roc_auc(np.array([3.0, 1, 1, 2]), np.array([True, True, False, False]), protocol)
        0.625
    """
    from scipy.stats import rankdata

    inside, outside = int(region.sum()), int((~region).sum())
    if not outside:
        return None
    ranks = rankdata(saliency, axis=None).reshape(saliency.shape)
    return float((ranks[region].sum() - inside * (inside + 1) / 2) / (inside * outside))
