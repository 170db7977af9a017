"""Protocols as data: named tables metric → protocol, and the overrides of `--set`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from c2i_fast.errors import InputError
from c2i_fast.metrics.target import check_rule, is_index
from c2i_fast.perturb.baseline import BASELINES
from c2i_fast.registry import Registry
from c2i_fast.types import CurveProtocol, End, Order

Preset = Mapping[str, CurveProtocol]
PRESETS: Registry[Preset] = Registry("preset")


_ORDERS: tuple[tuple[str, Order], ...] = (("", "morf"), ("-lerf", "lerf"))
_STARTS: tuple[tuple[str, End], ...] = (("deletion", "image"), ("insertion", "baseline"))


def _four_curves(preset: str, insertion: Mapping[str, Any], **common: Any) -> Preset:
    """The two curves and their LeRF twins; `insertion` is what insertion sets differently."""
    return {
        f"{metric}{suffix}": CurveProtocol(
            name=preset,
            metric=f"{metric}{suffix}",
            order=order,
            start=start,
            **{**common, **(insertion if metric == "insertion" else {})},
        )
        for suffix, order in _ORDERS
        for metric, start in _STARTS
    }


PRESETS.add(
    "c2i",
    _four_curves("c2i", {}, baseline="mean", counts="equal", intervals=32),
    "ours: 32 equal-count intervals, one baseline (mean), stable ties, area over the changed share",
)
# Petsiuk et al. 2018 and their notebook: 8 rows of pixels a step (1792 at 224), deletion to the mean, insertion from
# a blur, area by equal steps even where the last one is short. Their unstable sort is replaced by a stable one.
PRESETS.add(
    "rise",
    _four_curves(
        "rise",
        {"baseline": "blur"},
        baseline="zero",
        counts="pixels",
        intervals=None,
        ties="reverse-index",
        x="step",
    ),
    "RISE's: 8 rows of pixels a step, deletion to zero, insertion from a blur (exact on maps without ties)",
)


def protocol_for(preset: str, curve: str, overrides: Mapping[str, str] | None = None) -> CurveProtocol:
    """Returns the protocol of a curve under a preset, with `--set FIELD=VALUE` overrides applied and in its name.

    `intervals=N` keeps the preset's counts rule (`pixels` becomes `equal`); `pixels_per_step=p` makes any preset
    `pixels`.

    Raises:
        InputError: An unknown preset, curve, field or value, or both `intervals` and `pixels_per_step`.

    Example:
        >>> protocol_for("rise", "deletion", {"pixels_per_step": "224"}).name
        'rise+pixels_per_step=224'
    """
    table = PRESETS[preset]
    if curve not in table:
        raise InputError(f"preset {preset!r} has no protocol for {curve!r}; it has {', '.join(table)}")
    protocol, overrides = table[curve], dict(overrides or {})
    if {"intervals", "pixels_per_step"} <= set(overrides):
        raise InputError("intervals and pixels_per_step both say how long a step is; set one of them")
    idle = "intervals" if overrides.get("counts", "pixels") == "pixels" else "pixels_per_step"
    if "counts" in overrides and idle in overrides:
        raise InputError(f"counts={overrides['counts']} has no use for {idle}; leave one of them out")
    changes = {name: _parse(name, text) for name, text in sorted(overrides.items())}
    if "intervals" in changes and protocol.counts == "pixels":
        changes = {"counts": "equal", "pixels_per_step": None} | changes
    if "pixels_per_step" in overrides or overrides.get("counts") == "pixels":
        changes |= {"counts": "pixels", "intervals": None}
    suffix = "".join(f"+{name}={overrides[name]}" for name in sorted(overrides))
    return replace(protocol, **changes, name=protocol.name + suffix)


SETTABLE = ("baseline", "counts", "intervals", "pixels_per_step", "target", "ties", "x")


def _parse(name: str, text: str) -> Any:
    if name not in SETTABLE:
        raise InputError(f"a protocol has no field {name!r} to set; known: {', '.join(SETTABLE)}")
    if name in ("intervals", "pixels_per_step"):
        if not is_index(text) or int(text) < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {text!r}")
        return int(text)
    if name == "baseline":
        BASELINES[text]
        return text
    if name == "target":
        return check_rule(text)
    allowed = get_args(get_type_hints(CurveProtocol)[name])
    if text not in allowed or text == "list":
        raise InputError(f"{name} must be one of {', '.join(a for a in allowed if a != 'list')}; got {text!r}")
    return text
