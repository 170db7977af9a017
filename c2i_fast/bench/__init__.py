"""Measuring what was exported: raw engine, end-to-end scoring, their ratio, and whether the results agree at all."""

from __future__ import annotations

from c2i_fast.bench.report import BenchReport, recommend, summary
from c2i_fast.bench.run import run_bench
from c2i_fast.bench.timing import TimingRules

__all__ = ["BenchReport", "TimingRules", "recommend", "run_bench", "summary"]
