"""Deletion, insertion, their LeRF twins and the gap between them.

Deletion starts at the image and replaces elements by the baseline; insertion starts at the baseline and reveals the
image (Petsiuk et al., BMVC 2018). MoRF moves the most relevant elements first, LeRF the least relevant (Samek et al.,
TNNLS 2017). Each value is the area under the target's read-out over the changed share, Σ (v_k + v_{k+1})/2 · Δf_k, in
[0, 1] for probabilities.
"""

from __future__ import annotations

from c2i_fast.metrics.base import METRICS, CurveMetric
from c2i_fast.types import Curve


def _itself(curves: tuple[Curve, ...]) -> Curve:
    return curves[0]


def _difference(curves: tuple[Curve, ...]) -> Curve:
    """LeRF minus MoRF, point by point; its area is the difference of the areas."""
    morf, lerf = curves
    return Curve(fractions=morf.fractions, values=lerf.values - morf.values)


def _single(name: str, higher_is_better: bool, summary: str) -> CurveMetric:
    metric = CurveMetric(
        name=name, curves=(name,), combine=_itself, higher_is_better=higher_is_better, bounds=(0.0, 1.0)
    )
    return METRICS.add(name, metric, summary)


DELETION = _single("deletion", False, "area while the most relevant elements are removed; lower is better")
INSERTION = _single("insertion", True, "area while the most relevant elements are revealed; higher is better")
DELETION_LERF = _single("deletion-lerf", True, "area while the least relevant are removed; higher is better")
INSERTION_LERF = _single("insertion-lerf", False, "area while the least relevant are revealed; lower is better")
GAP = METRICS.add(
    "gap",
    CurveMetric(
        name="gap",
        curves=("deletion", "deletion-lerf"),
        combine=_difference,
        higher_is_better=True,
        bounds=(-1.0, 1.0),
    ),
    "area(deletion-lerf) − area(deletion); higher is better",
)
