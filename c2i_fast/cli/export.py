"""`c2i-fast export`: a classifier and its calibrator as one ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from c2i_fast.cli.options import Force, ModelOptions, Seed, TalkOptions, choice, flattened, open_source
from c2i_fast.cli.render import sayer, show_json, show_table
from c2i_fast.errors import UsageError

if TYPE_CHECKING:
    from c2i_fast.export.classifier import ExportReport
    from c2i_fast.types import Floats


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
    tensorrt: Annotated[
        bool, typer.Option("--tensorrt", help="Also build STEM.engine for this machine's GPU, compared with the graph.")
    ] = False,
    precision: Annotated[
        str, typer.Option(help="fp32 (default), fp16 or int8 for the network; all around it stays fp32.")
    ] = "fp32",
    calibration_images: Annotated[
        str | None, typer.Option(metavar="SRC", help="For int8: images that show how far activations reach.")
    ] = None,
    calibration_count: Annotated[
        int | None, typer.Option(min=1, help="How many of them are used, at random (32).")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Loads, converts, fuses, writes, verifies, reports."""
    from c2i_fast.calibration.file import load_calibrator
    from c2i_fast.export.classifier import export_classifier
    from c2i_fast.export.open import effective_precision
    from c2i_fast.export.precision import CALIBRATION_IMAGES
    from c2i_fast.results.estimate import calibration_images as pixels_of
    from c2i_fast.results.files import claim_file

    if out.suffix != ".onnx":
        raise UsageError(f"--out must end in .onnx, by which MODEL is known later; got {str(out)!r}")
    claim_file(out, force=force)
    _check_precision(precision, calibration_images, calibration_count)
    say = sayer(talk)
    engine_path = out.with_suffix(".engine")
    gpu = _gpu(engine_path, force) if tensorrt else None
    classifier = model.load(say, seed)
    used = effective_precision(classifier.contract, precision)  # type: ignore[arg-type]
    if used != precision:
        say(f"{classifier.name} is in {used}, and stays so whatever --precision says")
    contract = classifier.contract
    fitted = None
    if calibrator:
        fitted = load_calibrator(calibrator, classes=contract.classes, activation=contract.activation)
    images: Iterable[Floats] = ()
    if calibration_images:
        source = open_source(calibration_images, classifier, say, None)
        images = pixels_of(source, calibration_count or CALIBRATION_IMAGES, seed)
    report = export_classifier(
        classifier,
        out,
        calibrator=fitted,
        precision=used,
        images=images,
        symmetric=tensorrt,
        scorer=scorer,
        force=force,
    )
    built = _build(report.path, engine_path, gpu, force, say) if gpu else {}
    if talk.json:
        show_json(report.to_dict() | built)
        return
    _show(report)
    written = [report.path, *([report.scorer] if report.scorer else []), *([engine_path] if built else [])]
    print(f"wrote {' and '.join(str(path) for path in written)}")


def _show(report: ExportReport) -> None:
    """Prints how the written graph compares with the original."""
    verified = report.verify
    agreed = "agreement of labels at 0.5" if report.contract.activation == "sigmoid" else "top-1 agreement"
    rows = [
        ["max |Δ raw logit|", f"{verified.max_abs_dlogit:.2e}"],
        ["max |Δ probability|", f"{verified.max_abs_dprob:.2e}"],
        [agreed, f"{verified.top1_agreement:.4f}"],
    ]
    title = f"{report.contract.precision}, verified against the original at batch"
    batches = ", ".join(str(batch) for batch in verified.batches)
    show_table(f"{title} {batches}", ["", "largest"], rows)


def _gpu(path: Path, force: bool) -> Any:
    """Returns the GPU to build for; whatever is missing is told before anything is loaded."""
    from c2i_fast.engines.tensorrt import import_tensorrt
    from c2i_fast.kernels.cuda import CudaDevice
    from c2i_fast.results.files import claim_file

    claim_file(path, force=force)
    import_tensorrt()
    return CudaDevice()


def _build(graph: Path, path: Path, gpu: Any, force: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Builds the engine of a written graph."""
    from c2i_fast.export.tensorrt import export_tensorrt

    return {"tensorrt": export_tensorrt(graph, path, force=force, say=say, device=gpu).to_dict()}


def _check_precision(precision: str, images: str | None, count: int | None) -> None:
    """Raises a `UsageError` where the options for a precision do not go together."""
    from c2i_fast.export.classifier import check_format

    check_format(precision)
    choice("--precision", precision, ("fp32", "fp16", "int8"))
    if precision == "int8" and not images:
        raise UsageError("--precision int8 needs images to calibrate on; give --calibration-images SRC")
    if precision != "int8" and (images or count):
        raise UsageError(f"--calibration-images and --calibration-count are for --precision int8, not {precision}")
