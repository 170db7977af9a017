"""The table that `score` and `rescore` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2i_fast.cli.render import interval, show_table
from c2i_fast.cli.stopping_table import show_stopping
from c2i_fast.cli.trust_table import show_trust
from c2i_fast.results.summary import FLOOR, SummaryRow

if TYPE_CHECKING:
    from c2i_fast.results.outcome import Outcome
    from c2i_fast.results.panel import Panel


def show_scores(outcome: Outcome) -> None:
    """Prints means with 95 % intervals, the paired lift, and what the run cost."""
    rows = [row for row in outcome.rows if outcome.shown(row.metric, row.protocol)]
    lifted, corrected = any(row.lift for row in rows), any(row.corrected for row in rows)
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    columns = ["method", "metric", *(["protocol"] if len(protocols) > 1 else []), "read-out", "mean [95 %]"]
    columns += ["corrected to fp32 [95 %]"] if corrected else []
    columns += [f"− {FLOOR}, paired [95 %]"] if lifted else []
    title = f"{outcome.totals.images} images, protocol {', '.join(protocols)}"
    several, sampled = len(protocols) > 1, any(row.numeric for row in rows)
    columns += ["± by sampling points [95 %]"] if sampled else []
    show_table(title, columns, [_row(row, several, corrected, lifted, sampled) for row in rows], left=3 + several)
    if methods := dict.fromkeys(row.method for row in rows if row.optimised):
        print(f"† {', '.join(methods)}: optimises this metric, which is no independent judge of its maps.")
    if not lifted:
        print(f"For the paired difference to a fair floor, add --controls (or maps of {FLOOR}).")
    show_trust({cell: values for cell, values in outcome.low.items() if outcome.shown(cell[1], cell[2])})
    if outcome.stopping:
        show_stopping(outcome.stopping.to_dict())
    for note in outcome.notes:
        print(note)
    if outcome.panel:
        show_panel(outcome.panel)
    for method in dict.fromkeys(found.method for found in outcome.diagnostics):
        mine = [d for d in outcome.diagnostics if d.method == method]
        print(f"{method}: " + ", ".join(f"{d.warning} in {d.images} of {d.of} images" for d in mine))
    t = outcome.totals
    rate = f"{t.run / t.seconds:,.0f} passes/s" if t.seconds else ""
    print(f"{t.run:,} passes run for {t.requested:,} points asked for; {t.seconds:.1f} s, {rate}")
    if outcome.estimate:
        from c2i_fast.results.estimate import EXPECTED_SHARE, worst_drift

        e = outcome.estimate
        print(f"fp32 subset: {e.images} images, {e.run:,} passes, {e.seconds:.1f} s apart")
        drift = worst_drift(outcome.low, outcome.full)
        if drift:
            method, metric, _, readout = drift.cell
            precision = outcome.engine.config.precision
            print(
                f"largest shift, taken back by the correction: {interval(drift.change.mean, drift.change.ci95)} "
                f"({method}, {metric}, {readout}), {drift.share:.1%} of the spread between images "
                f"(in {precision} up to {EXPECTED_SHARE[precision]:.0%} is usual)"
            )
    print(f"wrote {outcome.run.path}")


def show_panel(panel: Panel) -> None:
    """Prints the ranking under each baseline, where its removal ends, and how far the rankings agree."""
    names = [row.baseline for row in panel.rows]
    columns = ["baseline", "methods, best first", "clean", "end", "end still high", *(f"τ {name}" for name in names)]
    tau = {**panel.tau, **{(b, a): t for (a, b), t in panel.tau.items()}}
    lines = [
        [
            row.baseline,
            " > ".join(row.ranking),
            f"{row.clean:.3f}",
            f"{row.end:.3f}",
            f"{row.still_high:.0%}",
            *("" if name == row.baseline else f"{tau[row.baseline, name]:.2f}" for name in names),
        ]
        for row in panel.rows
    ]
    show_table(f"baseline panel: gap, and road-combined for ROAD ({panel.readout})", columns, lines, left=2)


def _row(row: SummaryRow, protocol: bool, corrected: bool, lifted: bool, sampled: bool) -> list[str]:
    cells = [row.method, row.metric + " †" * row.optimised, *([row.protocol] if protocol else []), row.readout]
    cells.append(interval(row.score.mean, row.score.ci95))
    for shown, estimate in ((corrected, row.corrected), (lifted, row.lift)):
        if shown:
            cells.append(interval(estimate.mean, estimate.ci95) if estimate else "")
    if sampled:
        cells.append(f"{(row.numeric.ci95[1] - row.numeric.mean):.1e}" if row.numeric and row.numeric.ci95 else "exact")
    return cells
