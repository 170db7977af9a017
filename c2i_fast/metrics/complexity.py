"""Complexity: how much of the image must a reader look at? Read off the map alone, without a pass.

A map counts by its absolute values, or by what it marks. A map of zeros is the constant map that it is: of the largest
entropy, and of no sparsity. None of these numbers looks at the model: a map may be simple and wrong.
"""

from __future__ import annotations

import numpy as np

from c2i_fast.metrics.map_metric import map_metric
from c2i_fast.metrics.otsu import marked
from c2i_fast.protocols import MapProtocol, VariationProtocol
from c2i_fast.types import Doubles


@map_metric(
    "entropy",
    "entropy of |map| as a distribution over pixels, in nats (Bhatt et al. 2020); lower is simpler",
    higher_is_better=False,
    bounds=(0, np.inf),
)
def entropy(saliency: Doubles, protocol: MapProtocol) -> float:
    """Returns −Σ p ln p of p = |v| / Σ|v|, from 0 (one pixel) to ln N (constant); Bhatt et al., IJCAI 2020.

    Example:
        >>> round(entropy(np.array([[1.0, -1], [0, 0]]), MapProtocol(name="c2i", metric="entropy")), 4)
        0.6931
    """
    from scipy.special import entr

    return float(entr(_shares(saliency)).sum())


@map_metric(
    "gini",
    "Gini index of |map| (Chalasani et al. 2020); higher is sparser",
    higher_is_better=True,
    bounds=(0, 1),
)
def gini(saliency: Doubles, protocol: MapProtocol) -> float:
    """Returns 1 − 2 Σ_k p_(k) (N − k + ½)/N over ascending p = |v| / Σ|v|, from 0 (constant) to 1 − 1/N (one pixel).

    Chalasani et al., ICML 2020; the index is that of Hurley and Rickard, IEEE Trans. Inf. Theory 2009.

    Example:
        >>> gini(np.array([0.0, 0, 0, 5]), MapProtocol(name="c2i", metric="gini"))
        0.75
    """
    ascending = np.sort(_shares(saliency), axis=None)
    left = np.arange(ascending.size, 0, -1) - 0.5
    return max(0.0, 1 - 2 * float(ascending @ left) / ascending.size)  # rounding may go below


def _shares(saliency: Doubles) -> Doubles:
    """Returns |v| / Σ|v|; equal shares where all are zero."""
    values = np.abs(saliency)
    peak = values.max()
    values = values / peak if peak else np.ones_like(values)  # so that no sum overflows or vanishes
    return np.asarray(values / values.sum())


@map_metric(
    "total-variation",
    "total variation of what the map marks (Otsu; Calibrate to Interpret); lower is simpler",
    higher_is_better=False,
    bounds=(0, 2),
)
def total_variation(saliency: Doubles, protocol: VariationProtocol) -> float:
    """Returns Σ_axis (mean |Δ_axis|)^power of the map binarised at its Otsu threshold; 0 for a constant map.

    `power` 1 is the anisotropic total variation, per pixel. Calibrate to Interpret (Scafarto et al., 2022) takes 3, of
    the mean and not of the differences, which are 0 or 1: that is its preset, `c2i-paper`.

    Example:
        >>> halves = np.array([[0.0, 1], [0, 1]])
        >>> total_variation(halves, VariationProtocol(name="c2i", metric="total-variation"))
        1.0
    """
    chosen = marked(saliency)
    axes = [axis for axis, size in enumerate(chosen.shape) if size > 1]
    return float(sum(np.diff(chosen, axis=axis).mean() ** protocol.power for axis in axes))
