"""Deletion, insertion, their LeRF twins, the gap between them, and the area over them (AOPC).

Deletion starts at the image and replaces elements by the baseline; insertion starts at the baseline and reveals the
image (Petsiuk et al., BMVC 2018). MoRF moves the most relevant elements first, LeRF the least relevant (Samek et al.,
TNNLS 2017). Each value is what its protocol sums up, by default the area under the target's read-out over the changed
share, Σ (v_k + v_{k+1})/2 · Δf_k, in [0, 1] for probabilities.
"""

from __future__ import annotations

from c2i_fast.metrics.base import curve_metric
from c2i_fast.types import Curve


@curve_metric(
    "deletion",
    "area while the most relevant elements are removed; lower is better",
    curves=("deletion",),
    higher_is_better=False,
    bounds=(0, 1),
    linear=True,
)
def deletion(curve: Curve) -> Curve:
    """Returns the MoRF deletion curve itself."""
    return curve


@curve_metric(
    "insertion",
    "area while the most relevant elements are revealed; higher is better",
    curves=("insertion",),
    higher_is_better=True,
    bounds=(0, 1),
    linear=True,
)
def insertion(curve: Curve) -> Curve:
    """Returns the MoRF insertion curve itself."""
    return curve


@curve_metric(
    "deletion-lerf",
    "area while the least relevant are removed; higher is better",
    curves=("deletion-lerf",),
    higher_is_better=True,
    bounds=(0, 1),
    linear=True,
)
def deletion_lerf(curve: Curve) -> Curve:
    """Returns the LeRF deletion curve itself."""
    return curve


@curve_metric(
    "insertion-lerf",
    "area while the least relevant are revealed; lower is better",
    curves=("insertion-lerf",),
    higher_is_better=False,
    bounds=(0, 1),
    linear=True,
)
def insertion_lerf(curve: Curve) -> Curve:
    """Returns the LeRF insertion curve itself."""
    return curve


@curve_metric(
    "gap",
    "area(deletion-lerf) − area(deletion); higher is better",
    curves=("deletion", "deletion-lerf"),
    higher_is_better=True,
    bounds=(-1, 1),
    linear=True,
)
def gap(morf: Curve, lerf: Curve) -> Curve:
    """Returns LeRF minus MoRF, point by point; its area is the difference of the areas.

    Example:
        >>> import numpy as np
        >>> ends = np.array([0.0, 1.0])
        >>> gap(Curve(fractions=ends, values=np.zeros(2)), Curve(fractions=ends, values=np.ones(2))).area()
        1.0
    """
    return Curve(fractions=morf.fractions, values=lerf.values - morf.values)


@curve_metric(
    "aopc-morf",
    "mean drop over the points of MoRF removal (Samek et al.); higher is better",
    curves=("aopc-morf",),
    higher_is_better=True,
    bounds=(-1, 1),
)
def aopc_morf(drops: Curve) -> Curve:
    """Returns the drops f(x) − f(x_k); their mean over k = 0..L is the AOPC."""
    return drops


@curve_metric(
    "aopc-lerf",
    "the same for LeRF removal; lower is better",
    curves=("aopc-lerf",),
    higher_is_better=False,
    bounds=(-1, 1),
)
def aopc_lerf(drops: Curve) -> Curve:
    """Returns the drops f(x) − f(x_k) under LeRF removal."""
    return drops


@curve_metric(
    "irof",
    "area over the curve of p/p(clean) while superpixels are removed (Rieger & Hansen 2020); higher is better",
    curves=("irof",),
    higher_is_better=True,
)
def irof(ratios: Curve) -> Curve:
    """Returns the ratios f(x_k)/f(x); the area over them, at most 1, is the score."""
    return ratios
