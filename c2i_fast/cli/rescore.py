"""`c2i-fast rescore`: new read-outs from kept logits, no passes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2i_fast.cli.options import Force, RecalxMismatch, TalkOptions, flattened
from c2i_fast.cli.render import interval, show_json, show_table
from c2i_fast.cli.trust_table import show_trust


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Read a run that kept its logits under another calibrator, without a pass.")(flattened(rescore))


def rescore(
    talk: TalkOptions,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory scored with --keep-logits.")],
    calibrator: Annotated[Path, typer.Option(help="A calibrator file.")],
    readout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="raw, calibrated, logit or sigmoid (repeatable); default raw and calibrated."
        ),
    ] = None,
    recalx_mismatch: RecalxMismatch = None,
    force: Force = False,
) -> None:
    """Loads, reads the logits again, writes, sums up."""
    from c2i_fast.calibration.file import load_calibrator
    from c2i_fast.metrics.readout import readout_notes
    from c2i_fast.results.rescore import rescore as rescore_run
    from c2i_fast.results.run import RunDirectory
    from c2i_fast.results.summary import summarise
    from c2i_fast.results.trust import reliability

    directory = RunDirectory(run)
    activation = directory.whole_manifest()["activation"]
    fitted = load_calibrator(calibrator, classes=directory.classes(), activation=activation)
    prefix, cells = rescore_run(
        directory, fitted, readouts=tuple(readout or ()), recalx_mismatch=recalx_mismatch or "refuse", force=force
    )
    rows = summarise(cells)
    notes = readout_notes(tuple(dict.fromkeys(row.readout for row in rows)), fitted)
    if talk.json:
        scores = [row.to_dict() for row in rows]
        content = {"run": str(run), "prefix": prefix, "scores": scores, "reliability": reliability(cells)}
        show_json(content | {"notes": list(notes)})
        return
    lines = [[r.method, r.metric, r.readout, interval(r.score.mean, r.score.ci95)] for r in rows]
    show_table("rescored, no passes", ["method", "metric", "read-out", "mean [95 %]"], lines)
    show_trust(cells)
    for note in notes:
        print(note)
    print(f"wrote {run / 'scores' / prefix}-*.parquet")
