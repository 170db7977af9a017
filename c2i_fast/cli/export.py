"""`c2i-fast export`: a classifier and its calibrator as one ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2i_fast.cli.options import Force, ModelOptions, Seed, TalkOptions, flattened
from c2i_fast.cli.render import sayer, show_json, show_table
from c2i_fast.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Write a classifier and its calibrator as one fused ONNX graph, verified against the original.")(
        flattened(export)
    )


def export(
    model: ModelOptions,
    talk: TalkOptions,
    out: Annotated[Path, typer.Option(help="The file to write, e.g. model.onnx.")],
    calibrator: Annotated[Path | None, typer.Option(help="A calibrator file (c2i-fast calibrate writes one).")] = None,
    scorer: Annotated[
        bool, typer.Option("--scorer", help="Also write STEM.scorer.onnx, the graph that makes its own masks.")
    ] = False,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Loads, fuses, writes, verifies, reports."""
    from c2i_fast.calibration.file import load_calibrator
    from c2i_fast.export.classifier import export_classifier
    from c2i_fast.results.files import claim_file

    if out.suffix != ".onnx":
        raise UsageError(f"--out must end in .onnx, by which MODEL is known later; got {str(out)!r}")
    claim_file(out, force=force)
    classifier = model.load(sayer(talk), seed)
    fitted = load_calibrator(calibrator, classes=classifier.contract.classes) if calibrator else None
    report = export_classifier(classifier, out, calibrator=fitted, scorer=scorer, force=force)
    if talk.json:
        show_json(report.to_dict())
        return
    verified = report.verify
    rows = [
        ["max |Δ raw logit|", f"{verified.max_abs_dlogit:.2e}"],
        ["max |Δ probability|", f"{verified.max_abs_dprob:.2e}"],
        ["top-1 agreement", f"{verified.top1_agreement:.4f}"],
    ]
    batches = ", ".join(str(batch) for batch in verified.batches)
    show_table(f"verified against the original at batch {batches}", ["", "largest"], rows)
    print(f"wrote {report.path}" + (f" and {report.scorer}" if report.scorer else ""))
