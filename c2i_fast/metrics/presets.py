"""Presets: named tables metric → protocol, ours and other tools'. How exact each one is stands in docs/presets.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2i_fast.errors import InputError
from c2i_fast.metrics.infidelity import InfidelityProtocol
from c2i_fast.metrics.one_at_a_time import GroupProtocol
from c2i_fast.metrics.override import overridden
from c2i_fast.metrics.road import RoadProtocol
from c2i_fast.metrics.single_mask import IncreaseProtocol, RatioProtocol
from c2i_fast.metrics.subsets import SensitivityProtocol, SubsetProtocol
from c2i_fast.protocols import (
    CurveProtocol,
    End,
    MapProtocol,
    MassProtocol,
    Order,
    OverlapProtocol,
    PointingProtocol,
    Protocol,
    VariationProtocol,
)
from c2i_fast.registry import Registry

Preset = dict[str, Protocol]
PRESETS: Registry[Preset] = Registry("preset")

_ORDERS: tuple[tuple[str, Order], ...] = (("", "morf"), ("-lerf", "lerf"))
_STARTS: tuple[tuple[str, End], ...] = (("deletion", "image"), ("insertion", "baseline"))


def add_preset(name: str, summary: str, *tables: Mapping[str, Protocol]) -> None:
    """Registers a preset made of some tables."""
    PRESETS.add(name, {metric: protocol for table in tables for metric, protocol in table.items()}, summary)


def _four_curves(preset: str, insertion: Mapping[str, Any] | None = None, **common: Any) -> Preset:
    """The two curves and their LeRF twins; `insertion` is what insertion sets differently."""
    return {
        f"{metric}{suffix}": CurveProtocol(
            name=preset,
            metric=f"{metric}{suffix}",
            order=order,
            start=start,
            **{**common, **((insertion or {}) if metric == "insertion" else {})},
        )
        for suffix, order in _ORDERS
        for metric, start in _STARTS
    }


def _two_orders(preset: str, metric: str, suffixes: tuple[str, str] = ("-morf", "-lerf"), **common: Any) -> Preset:
    """One metric in MoRF and LeRF order."""
    orders: tuple[Order, Order] = ("morf", "lerf")
    return {
        f"{metric}{suffix}": CurveProtocol(name=preset, metric=f"{metric}{suffix}", order=order, **common)
        for suffix, order in zip(suffixes, orders, strict=True)
    }


def _single_mask(preset: str, *, eps: float = 0.0, **common: Any) -> Preset:
    """Average drop and gain with `eps` in their denominators, and increase in confidence."""
    return {
        "average-drop": RatioProtocol(name=preset, metric="average-drop", eps=eps, **common),
        "average-gain": RatioProtocol(name=preset, metric="average-gain", eps=eps, **common),
        "increase-in-confidence": IncreaseProtocol(name=preset, metric="increase-in-confidence", **common),
    }


def _road(preset: str, **common: Any) -> Preset:
    """ROAD in both orders."""
    return {
        "road-morf": RoadProtocol(name=preset, metric="road-morf", order="morf", **common),
        "road-lerf": RoadProtocol(name=preset, metric="road-lerf", order="lerf", **common),
    }


def _only(table: Preset, *metrics: str) -> Preset:
    return {metric: table[metric] for metric in metrics}


add_preset(
    "c2i",
    "ours: 32 equal-count intervals, one baseline (mean), stable ties, area over the changed share",
    _four_curves("c2i", baseline="mean", counts="equal", intervals=32),
    _two_orders("c2i", "aopc", value="drop", summary="mean"),
    {
        "irof": CurveProtocol(
            name="c2i",
            metric="irof",
            unit="superpixel",
            unit_size=100,
            counts="pixels",
            intervals=None,
            pixels_per_step=1,
            value="ratio",
            summary="above",
            baseline="image-mean",
        )
    },
    _single_mask("c2i"),
    {
        "faithfulness-correlation": SubsetProtocol(name="c2i", metric="faithfulness-correlation", subset_size=224),
        "mu-fidelity": SubsetProtocol(
            name="c2i", metric="mu-fidelity", unit="grid", unit_size=9, runs=200, share=0.2, correlation="spearman"
        ),
        "sensitivity-n": SensitivityProtocol(name="c2i", metric="sensitivity-n"),
        "faithfulness-estimate": GroupProtocol(name="c2i", metric="faithfulness-estimate", unit="grid", unit_size=16),
        "infidelity": InfidelityProtocol(name="c2i", metric="infidelity"),
    },
    {metric: MapProtocol(name="c2i", metric=metric) for metric in ("relevance-rank", "roc-auc", "entropy", "gini")},
    {metric: MassProtocol(name="c2i", metric=metric) for metric in ("energy-pointing", "relevance-mass")},
    {
        "pointing-game": PointingProtocol(name="c2i", metric="pointing-game"),
        "iou": OverlapProtocol(name="c2i", metric="iou"),
        "total-variation": VariationProtocol(name="c2i", metric="total-variation"),
    },
    _road("c2i"),
)
# Petsiuk et al. 2018 and their notebook: 8 rows of pixels a step (1792 at 224), deletion to the mean, insertion from
# a blur, area by equal steps even where the last one is short. Their unstable sort is replaced by a stable one.
add_preset(
    "rise",
    "RISE's: 8 rows of pixels a step, deletion to zero, insertion from a blur (exact on maps without ties)",
    _four_curves(
        "rise",
        {"baseline": "blur"},
        baseline="zero",
        counts="pixels",
        intervals=None,
        ties="reverse-index",
        x="step",
    ),
)
# torchcam 0.5: at most 20 blocks of ⌈HW/20⌉ pixels, a stable descending sort, the trapezoid over the true share.
add_preset(
    "torchcam",
    "torchcam's: blocks of a twentieth of the pixels, zero for both curves, stable ties (exact)",
    _only(_four_curves("torchcam", baseline="zero", counts="ceil-block", intervals=20), "deletion", "insertion"),
    _only(
        _single_mask("torchcam", baseline="zero", scaling="none", eps=1e-7), "average-drop", "increase-in-confidence"
    ),
)
# Quantus 0.6: channel values one by one, the untouched image is not scored, `black` is the smallest value of the
# normalised sample, and the area is not divided by the number of steps.
add_preset(
    "quantus-pixelflipping",
    "Quantus's PixelFlipping: channel values one by one to the sample's minimum, area not normalised (exact but ties)",
    {
        "deletion": CurveProtocol(
            name="quantus-pixelflipping",
            metric="deletion",
            unit="channel",
            counts="pixels",
            intervals=None,
            pixels_per_step=1,
            ends="no-start",
            baseline="sample-min",
            x="index",
        )
    },
)
add_preset(
    "quantus-region",
    "Quantus's RegionPerturbation: 100 patches of 8×8 to the sample's minimum; its list of drops, and their mean",
    _two_orders(
        "quantus-region",
        "aopc",
        unit="patch",
        unit_size=8,
        unit_grid="centred",
        unit_value="sum",
        counts="pixels",
        intervals=None,
        pixels_per_step=1,
        most_steps=100,
        ends="no-start",
        baseline="sample-min",
        x="index",
        value="drop",
        summary="mean",
    ),
)
add_preset(
    "xplique",
    "Xplique's: 10 steps to zero for both curves, read of the logit unless told (exact on maps without ties)",
    _only(
        _four_curves("xplique", baseline="zero", counts="linspace", intervals=10, ties="reverse-index", x="step"),
        "deletion",
        "insertion",
    ),
    _single_mask("xplique", baseline="zero", sign="absolute", eps=1e-8),
    {
        "mu-fidelity": SubsetProtocol(
            name="xplique",
            metric="mu-fidelity",
            unit="grid",
            unit_size=9,
            runs=200,
            share=0.2,
            baseline="zero",
            correlation="spearman",
        )
    },
)
# Zhang et al. 2024: the map, min-maxed, multiplies the picture before it is normalised.
add_preset(
    "opticam",
    "Opti-CAM's average drop, average gain and increase in confidence: the mask multiplies the pixels (exact)",
    _single_mask("opticam", baseline="black"),
)
# Quantus 0.6: single channel values to the sample's minimum. Its subsets come from NumPy's global generator, ours from
# the image's; what is computed of given subsets is the same.
add_preset(
    "quantus-faithfulness",
    "Quantus's FaithfulnessCorrelation and FaithfulnessEstimate (exact, given its subsets; its ties are unstable)",
    {
        "faithfulness-correlation": SubsetProtocol(
            name="quantus-faithfulness",
            metric="faithfulness-correlation",
            unit="channel",
            subset_size=224,
            baseline="sample-min",
            undefined="nan",
        ),
        "faithfulness-estimate": GroupProtocol(
            name="quantus-faithfulness",
            metric="faithfulness-estimate",
            unit="channel",
            group_size=1,
            baseline="sample-min",
            undefined="nan",
        ),
    },
)
add_preset(
    "openvino-xai",
    "OpenVINO XAI's: 30 steps to black for both curves, the area's absolute value (exact on maps without ties)",
    _only(
        _four_curves("openvino-xai", baseline="black", counts="floor", intervals=30, x="step", summary="abs-trapezoid"),
        "deletion",
        "insertion",
    ),
)
# pytorch-grad-cam 1.5.7: percentiles 10..90 of the map as thresholds, the normalised tensor imputed, noise of the
# same law (theirs is not seeded).
add_preset(
    "gradcam-road",
    "pytorch-grad-cam's ROAD: percentiles as thresholds, ties together, noise once normalised (exact but for noise)",
    _road("gradcam-road", percentages=(10, 20, 30, 40, 50, 60, 70, 80, 90), ties="together", space="normalised"),
)
# pnpxai 0.1.4: 0, ⌊HW/10⌋, …, 8⌊HW/10⌋ and then everything; both orders sorted stably, so LeRF has the smaller index
# first; the plain mean of the points. Its AbPC is our gap.
add_preset(
    "pnpxai-morf",
    "pnpxai's MoRF, LeRF and AbPC (our gap): tenths of the pixels with a jump at the end, plain mean (exact)",
    {
        "deletion": CurveProtocol(
            name="pnpxai-morf", metric="deletion", counts="floor-jump", intervals=10, x="step", summary="mean"
        ),
        "deletion-lerf": CurveProtocol(
            name="pnpxai-morf",
            metric="deletion-lerf",
            order="lerf",
            ties="reverse-index",
            counts="floor-jump",
            intervals=10,
            x="step",
            summary="mean",
        ),
    },
)
# Tomsett et al. 2020: single pixels, L = 100, the mean over k = 0..L, to the data set's mean (or `uniform`). F is of
# every pixel of their 32×32 images; of larger ones, of as many drawn at random.
add_preset(
    "tomsett",
    "Sanity Checks for Saliency Metrics: AOPC over the first 100 single pixels, and Faithfulness",
    _two_orders(
        "tomsett",
        "aopc",
        counts="pixels",
        intervals=None,
        pixels_per_step=1,
        most_steps=100,
        value="drop",
        summary="mean",
    ),
    {"faithfulness-estimate": GroupProtocol(name="tomsett", metric="faithfulness-estimate", samples=1024)},
)
# Calibrate to Interpret: what is at or above the (100 − i)-th percentile, i = 0..99, to a box blur, area over 0..99.
add_preset(
    "c2i-paper",
    "Calibrate to Interpret's deletion: 100 points of 1 %, tied pixels together, to a box blur, area from 0 to 99",
    {
        "deletion": CurveProtocol(
            name="c2i-paper",
            metric="deletion",
            counts="floor",
            intervals=100,
            ties="together",
            ends="no-end",
            baseline="box-blur",
            x="index",
        )
    },
    {"total-variation": VariationProtocol(name="c2i-paper", metric="total-variation", power=3)},
)


def protocol_for(preset: str, metric: str, overrides: Mapping[str, str] | None = None) -> Protocol:
    """Returns the protocol of a metric or curve under a preset, with `--set FIELD=VALUE` applied and in its name.

    Overrides of fields that this protocol has not are left out; see `check_used`.

    Raises:
        InputError: An unknown preset, metric or value, or fields that contradict each other.

    Example:
        >>> protocol_for("rise", "deletion", {"pixels_per_step": "224"}).name
        'rise+pixels_per_step=224'
    """
    table = PRESETS[preset]
    if metric not in table:
        raise InputError(f"preset {preset!r} has no protocol for {metric!r}; it has {', '.join(table)}")
    return overridden(table[metric], overrides or {})
