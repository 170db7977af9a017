"""What a metric is. To add one: a file that makes a `CurveMetric` and adds it to `METRICS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from c2i_fast.registry import Registry
from c2i_fast.types import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveMetric:
    """A number made of one or more curves of the same image, map and read-out.

    Attributes:
        name: on the command line and in every row.
        curves: the names of the curve protocols it needs, looked up in the preset.
        combine: from those curves to the one that is stored; its area is the value.
        higher_is_better: the direction of a better map.
        bounds: of the value, for read-outs in [0, 1].
    """

    name: str
    curves: tuple[str, ...]
    combine: Callable[[tuple[Curve, ...]], Curve]
    higher_is_better: bool
    bounds: tuple[float, float]


METRICS: Registry[CurveMetric] = Registry("metric")
