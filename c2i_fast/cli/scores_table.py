"""The table that `score` and `rescore` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2i_fast.cli.render import interval, show_table
from c2i_fast.results.summary import FLOOR, SummaryRow

if TYPE_CHECKING:
    from c2i_fast.results.scoring import Outcome


def show_scores(outcome: Outcome) -> None:
    """Prints means with 95 % intervals, the paired lift, and what the run cost."""
    rows = outcome.rows
    lifted, corrected = any(row.lift for row in rows), any(row.corrected for row in rows)
    columns = ["method", "metric", "read-out", "mean [95 %]"]
    columns += ["corrected to fp32 [95 %]"] if corrected else []
    columns += [f"− {FLOOR}, paired [95 %]"] if lifted else []
    protocols = ", ".join(dict.fromkeys(row.protocol for row in rows))
    title = f"{outcome.totals.images} images, protocol {protocols}"
    show_table(title, columns, [_row(row, corrected, lifted) for row in rows], left=3)
    if methods := dict.fromkeys(row.method for row in rows if row.optimised):
        print(f"† {', '.join(methods)}: optimises this metric, which is no independent judge of its maps.")
    if not lifted:
        print(f"For the paired difference to a fair floor, add --controls (or maps of {FLOOR}).")
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


def _row(row: SummaryRow, corrected: bool, lifted: bool) -> list[str]:
    cells = [row.method, row.metric + " †" * row.optimised, row.readout, interval(row.score.mean, row.score.ci95)]
    for shown, estimate in ((corrected, row.corrected), (lifted, row.lift)):
        if shown:
            cells.append(interval(estimate.mean, estimate.ci95) if estimate else "")
    return cells
