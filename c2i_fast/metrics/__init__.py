"""Metrics of saliency: what curves they need and how these become one number."""

from __future__ import annotations

from c2i_fast.metrics.base import METRICS, CurveMetric
from c2i_fast.metrics.curves import DELETION, DELETION_LERF, GAP, INSERTION, INSERTION_LERF
from c2i_fast.metrics.presets import PRESETS, protocol_for

__all__ = [
    "DELETION",
    "DELETION_LERF",
    "GAP",
    "INSERTION",
    "INSERTION_LERF",
    "METRICS",
    "PRESETS",
    "CurveMetric",
    "protocol_for",
]
