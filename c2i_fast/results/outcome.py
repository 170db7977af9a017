"""A finished run: what its table and its JSON are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2i_fast.engines.select import EngineChoice
from c2i_fast.results.diagnostics import Diagnostic
from c2i_fast.results.estimate import (
    EXPECTED_SHARE,
    check_estimate,
    worst_drift,
)
from c2i_fast.results.panel import Panel
from c2i_fast.results.record import Totals
from c2i_fast.results.run import RunDirectory
from c2i_fast.results.stopping import Stopping
from c2i_fast.results.summary import Cell, SummaryRow
from c2i_fast.results.trust import reliability

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run: what the table and the JSON are made of.

    Attributes:
        beside: (metric, protocol) of measures that were made for the baseline panel alone; the table leaves them out.
    """

    run: RunDirectory
    engine: EngineChoice
    totals: Totals
    build_seconds: float
    rows: tuple[SummaryRow, ...]
    skipped: tuple[tuple[str, str], ...]
    low: Mapping[Cell, Mapping[str, float]]
    full: Mapping[Cell, Mapping[str, float]]
    estimate: Totals | None
    stopping: Stopping | None = None
    notes: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    panel: Panel | None = None
    beside: frozenset[tuple[str, str]] = frozenset()

    def shown(self, metric: str, protocol: str) -> bool:
        """Returns whether a measure stands in the table; the rows of all are in the run and in the JSON."""
        return (metric, protocol) not in self.beside

    def to_dict(self) -> dict[str, Any]:
        """Returns the command's JSON."""
        t, config = self.totals, self.engine.config
        content: dict[str, Any] = {
            "run": str(self.run.path),
            "scores": [row.to_dict() for row in self.rows],
            "reliability": reliability(self.low),
            "images": t.images,
            "skipped": [list(pair) for pair in self.skipped],
            "passes": {"requested": t.requested, "shared": t.requested - t.run, "run": t.run},
            "seconds": t.seconds,
            "build_seconds": self.build_seconds,
            "notes": list(self.notes),
            "passes_per_second": t.run / t.seconds if t.seconds else None,
            "engine": {
                "name": config.engine,
                "precision": config.precision,
                "device": config.device,
                "reason": self.engine.reason,
            },
        }
        if self.stopping:
            content["stopped"] = self.stopping.to_dict()
        content["diagnostics"] = [found.to_dict() for found in self.diagnostics]
        if self.panel:
            content["baseline_panel"] = self.panel.to_dict()
        if self.estimate:
            e = self.estimate
            drift = worst_drift(self.low, self.full)
            content["estimate"] = {"images": e.images, "passes": e.run, "seconds": e.seconds}
            content["estimate"]["worst_drift"] = drift.to_dict() if drift else None
            content["estimate"]["expected_share"] = EXPECTED_SHARE[config.precision]
        return content

    def check(self) -> None:
        """Raises a `ContractError` where a low precision is not to be believed."""
        if self.estimate:
            check_estimate(self.engine.config.precision, self.low, self.full)
