"""What `bench` found, as JSON and as rows of tables, and which engine it recommends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from c2i_fast.bench.parity import Parity
from c2i_fast.bench.raw import RawRow
from c2i_fast.bench.scoring import ScoringFigures

RAW_INCLUDES = "the fused graph on random images made once; no decoding, no masks, no read-outs"
SCORING_INCLUDES = (
    "from pixels and maps in memory to rows on disk: ranking, plans, masks, passes, read-outs, Parquet; "
    "no decoding, engine opened before"
)
RAW_COLUMNS = ("engine", "batch", "images/s", "p50 ms", "p90 ms", "p99 ms")
SCORING_COLUMNS = ("engine", "batch", "passes/s", "raw images/s", "efficiency", "max |Δp|")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """One engine's numbers.

    Attributes:
        engine, precision: as asked for; `environment` says which precision the answers show.
        raw: one row for each batch size.
        environment: versions, CPU, threads, date, and how busy other processes kept the machine.
    """

    engine: str
    precision: str
    raw: tuple[RawRow, ...]
    scoring: ScoringFigures
    parity: Parity
    environment: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {
            "engine": self.engine,
            "precision": self.precision,
            "raw": [asdict(row) for row in self.raw],
            "scoring": self.scoring.to_dict(),
            "parity": self.parity.to_dict(),
            "environment": dict(self.environment),
        }


def recommend(reports: Sequence[BenchReport]) -> BenchReport:
    """Returns the engine that scores fastest."""
    return max(reports, key=lambda report: report.scoring.passes_per_s)


def summary(reports: Sequence[BenchReport]) -> dict[str, Any]:
    """Returns the recommended engine's JSON, what its numbers include and, of several engines, all under `engines`."""
    content = recommend(reports).to_dict()
    content["includes"] = {"raw": RAW_INCLUDES, "scoring": SCORING_INCLUDES}
    if len(reports) > 1:
        content["engines"] = [report.to_dict() for report in reports]
    return content


def raw_rows(reports: Sequence[BenchReport]) -> list[list[str]]:
    """Returns the table of `RAW_COLUMNS`."""
    return [
        [
            f"{report.engine} {report.precision}",
            str(row.batch),
            f"{row.images_per_s:,.1f}",
            *(f"{ms:.2f}" for ms in (row.p50_ms, row.p90_ms, row.p99_ms)),
        ]
        for report in reports
        for row in report.raw
    ]


def scoring_rows(reports: Sequence[BenchReport]) -> list[list[str]]:
    """Returns the table of `SCORING_COLUMNS`."""
    return [
        [
            f"{report.engine} {report.precision}",
            str(report.scoring.batch),
            f"{report.scoring.passes_per_s:,.1f}",
            f"{report.scoring.raw_images_per_s:,.1f}",
            f"{report.scoring.efficiency:.3f}",
            f"{report.parity.max_abs_dprob:.1e}",
        ]
        for report in reports
    ]


def notes(reports: Sequence[BenchReport]) -> list[str]:
    """Returns what a reader of the numbers should know."""
    said = []
    for report in reports:
        if report.environment["precision_used"] != report.precision:
            used = report.environment["precision_used"]
            said.append(f"{report.engine} was asked for {report.precision}, but its answers are {used}")
        if report.precision != "fp32" and report.parity.max_abs_dprob > 0.1:
            off, reference = report.parity.max_abs_dprob, report.parity.reference
            said.append(f"{report.engine} {report.precision}: max |Δp| {off:.2f} to {reference}")
    chosen = recommend(reports)
    if len(reports) > 1:
        said.append(f"fastest at scoring: --engine {chosen.engine}")
    if chosen.scoring.raw_batch != chosen.scoring.batch:
        ceiling, batch = chosen.scoring.raw_batch, chosen.scoring.batch
        said.append(
            f"{chosen.engine} alone is fastest at batch {ceiling}, scoring took {batch}; try --batch-size {ceiling}"
        )
    share = reports[0].environment.get("busy_elsewhere")
    if share is not None and share > 0.05:
        said.append(f"other processes took {share:.0%} of the machine meanwhile; do not trust these numbers")
    return said
