"""Metrics of saliency: what passes they need and how these become one number. One family a file."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from c2i_fast.metrics import curves  # noqa: F401 (the first in every list)
from c2i_fast.metrics.base import METRICS, Metric, curve_metric
from c2i_fast.metrics.presets import PRESETS, protocol_for

for _module in pkgutil.iter_modules(__path__):  # a metric is one file, with no list to be entered in
    import_module(f"{__name__}.{_module.name}")

__all__ = ["METRICS", "PRESETS", "Metric", "curve_metric", "protocol_for"]
