"""`c2i-fast calibrate`: fit a calibrator on images or on logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from c2i_fast.cli.calibrate_recalx import RecalxOptions, fit_recalx, is_recalx
from c2i_fast.cli.options import (
    EngineOptions,
    Force,
    Limit,
    ModelOptions,
    OnError,
    Seed,
    TalkOptions,
    Workers,
    choice,
    converted,
    flattened,
    open_source,
)
from c2i_fast.cli.render import interval, progress, sayer, show_json, show_table
from c2i_fast.errors import UsageError

Diagram = Annotated[
    Path | None, typer.Option(help="Draw reliability diagrams: FILE.png or .svg, and FILE-raw of the raw network.")
]
KEPT = ("n_fit", "n_test", "before", "after", "nll_change")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Fit a post-hoc calibrator on labelled images, or on saved logits, and write it as JSON.")(
        flattened(calibrate)
    )


def calibrate(
    model: ModelOptions,
    engine: EngineOptions,
    talk: TalkOptions,
    masked: RecalxOptions,
    out: Annotated[Path, typer.Option(help="The calibrator file to write, e.g. cal.json.")],
    images: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="Labelled images: a folder with a sub-folder per class, CSV or .npz."),
    ] = None,
    logits: Annotated[
        Path | None, typer.Option(help="An .npz with `logits`, `labels` ((N,K) of 0 and 1 for sigmoid), without MODEL.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A calibrator (repeatable; the best on held-out data is kept), or auto: all of them are tried by "
            "cross-validation on the share that is fitted on, but recalx, whose masked images the others do not see.",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another measure before and after (repeatable), or all; see list measures."),
    ] = None,
    diagram: Diagram = None,
    fit_fraction: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Seeded, stratified share that is fitted on; 1 fits on everything.")
    ] = 0.5,
    limit: Limit = None,
    seed: Seed = 0,
    workers: Workers = 2,
    on_error: OnError = "stop",
    force: Force = False,
) -> None:
    """Fits, judges on held-out data, saves, and prints before and after."""
    from c2i_fast.calibration.file import save_calibrator
    from c2i_fast.calibration.held_out import check_measures
    from c2i_fast.calibration.report import check_methods
    from c2i_fast.results.files import claim_file

    say = sayer(talk)
    recalx = is_recalx(method or [], masked, bool(logits or measure or diagram))
    _check_source(model, engine, images, logits, limit, fit_fraction)
    claim_file(out, force=force)
    if recalx:
        fit_recalx(model, engine, talk, masked, images, out, fit_fraction, limit, seed, workers, on_error, force)
        return
    _check_diagram(diagram, force)
    check_measures(measure or ())
    methods = check_methods(method or ["temperature"], None)
    serve = partial(_for_head, methods=methods, measures=measure or ())
    if logits is not None:
        values, labels, about = _stored(logits, model.activation, serve)
    else:
        values, labels, about = _forward(model, engine, talk, str(images), limit, seed, workers, on_error, serve)
    fit_report, held_out = serve(about["activation"])
    asked = held_out(values, labels, fit_fraction, seed) if measure or diagram else None
    report = fit_report(values, labels, methods=methods, fit_fraction=fit_fraction, seed=seed)
    for note in report.notes:
        say(note)
    content = report.to_dict() | {"path": str(out), "skipped": about.get("skipped", 0)}
    content["activation"] = about["activation"]
    meta = about | {name: content[name] for name in KEPT} | {"seed": seed, "fit_fraction": fit_fraction}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_calibrator(out, report.calibrator, classes=values.shape[1], meta=meta, force=force)
    if asked and measure:
        content["measures"] = asked.measures(measure, report.calibrator, seed)
    if asked and diagram:
        content["diagrams"] = [str(path) for path in asked.draw(diagram, report.calibrator, content["method"])]
    show_json(content) if talk.json else _table(content)


def _check_source(
    model: ModelOptions,
    engine: EngineOptions,
    images: str | None,
    logits: Path | None,
    limit: int | None,
    fit_fraction: float,
) -> None:
    """Raises a `UsageError` where the options do not say in one way what is to be calibrated."""
    if (model.model is None) == (logits is None) or (images is None) == (logits is None):
        raise UsageError("give MODEL with --images SRC, or --logits FILE.npz alone")
    if logits is not None and (
        replace(model, activation=None) != ModelOptions() or engine != EngineOptions() or limit is not None
    ):
        raise UsageError(
            "--logits stands alone: options of the model but --activation, the engine and --limit say nothing about it"
        )
    if not fit_fraction > 0:
        raise UsageError(f"--fit-fraction must be above 0, got {fit_fraction}")


def _check_diagram(path: Path | None, force: bool) -> None:
    """Raises an `InputError` where a diagram is asked for and cannot be written, before anything is computed."""
    from c2i_fast.report.reliability_diagram import FORMATS
    from c2i_fast.results.files import claim_file

    if path is None:
        return
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--diagram must end in {' or '.join(FORMATS)}, got {str(path)!r}")
    for file in (path, path.with_name(f"{path.stem}-raw{path.suffix}")):
        claim_file(file, force=force)


def _stored(path: Path, given: str | None, serve: Callable[[str], Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Returns what `_forward` does, of saved logits."""
    from c2i_fast.calibration.logits_file import load_logits
    from c2i_fast.models.preprocess import activation_from_options

    activation = activation_from_options(given, None) or "softmax"
    serve(activation)
    return *load_logits(path, activation), {"logits": path.name, "activation": activation}


def _forward(
    model: ModelOptions,
    engine: EngineOptions,
    talk: TalkOptions,
    images: str,
    limit: int | None,
    seed: int,
    workers: int,
    on_error: str,
    serve: Callable[[str], Any],
) -> tuple[Any, Any, dict[str, Any]]:
    """Returns the logits and labels of a source, and what to remember of where they came from."""
    from c2i_fast.calibration.collect import collect_logits
    from c2i_fast.export.open import open_passes

    say = sayer(talk)
    choice("--on-error", on_error, ("stop", "skip"))
    classifier = model.load(say, seed)
    activation = classifier.contract.activation
    serve(activation)  # what does not fit the head is refused now, not after the passes
    source = open_source(images, classifier, say, limit)
    chosen = engine.choose(classifier)
    ready = converted(classifier, chosen, source, seed)
    passes = open_passes(ready, chosen.config, say)
    with progress(talk, "calibrate", len(source)) as advance:
        logits, labels, skipped = collect_logits(
            source,
            passes,
            workers=workers,
            on_error=on_error,  # type: ignore[arg-type]
            on_images=lambda n: advance(n, n),
            activation=activation,
        )
    for image in skipped:
        say(f"skipped {image.id}: {image.reason}")
    about = {"model": classifier.name, "source_sha256": classifier.contract.source_sha256, "skipped": len(skipped)}
    return logits, labels, about | {"activation": activation}


def _for_head(activation: str, methods: Sequence[str], measures: Sequence[str]) -> tuple[Any, Any]:
    """Returns what fits and what holds out for a head, after checking that it has these methods and measures."""
    from c2i_fast.calibration.report import check_methods, fit_report

    check_methods(methods, activation)  # type: ignore[arg-type]
    if activation == "sigmoid":
        from c2i_fast.calibration.label_held_out import LabelHeldOut, check_label_measures
        from c2i_fast.calibration.label_report import fit_label_report

        check_label_measures(measures)
        return fit_label_report, LabelHeldOut.of
    from c2i_fast.calibration.held_out import HeldOut

    return fit_report, HeldOut.of


SOFTMAX_ROWS = (("NLL", "nll"), ("ECE (15 equal-width bins)", "ece"), ("Brier", "brier"), ("accuracy", "accuracy"))
LABEL_ROWS = (
    ("binary NLL, mean over labels", "nll"),
    ("ECE (15 equal-width bins), mean over labels", "ece"),
    ("ECE of the worst label", "ece_worst"),
    ("its index", "ece_worst_label"),
    ("Brier (p − y)², mean over labels", "brier"),
    ("accuracy at 0.5, mean over labels", "accuracy"),
    ("all labels right at 0.5", "exact_match"),
)


def _table(content: dict[str, Any]) -> None:
    rows = [
        [name, *("–" if side is None else _number(side[key]) for side in (content["before"], content["after"]))]
        for name, key in (LABEL_ROWS if content["activation"] == "sigmoid" else SOFTMAX_ROWS)
    ]
    show_table(
        f"{content['method']}: {_learnt(content['parameters'])}; "
        f"{content['n_fit']} images fitted, {content['n_test']} held out",
        ["held out", "before", "after"],
        rows,
    )
    change = content["nll_change"]
    if change:
        print(f"NLL after − before, paired: {interval(change['mean'], change['ci95'])}")
    if "measures" in content:
        _measures(content["measures"])
    if not content["argmax_preserving"]:
        print("This calibrator may change the predicted class, and with it what is explained.")
    print(f"wrote {', '.join([content['path'], *content.get('diagrams', ())])}")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _measures(found: dict[str, Any]) -> None:
    """Prints the measures that were asked for."""
    sides = ("before", "after")
    rows = [
        [name, *(interval(both[side]["value"], both[side]["ci95"]) for side in sides)] for name, both in found.items()
    ]
    show_table("held out", ["measure", *sides], rows)


def _learnt(parameters: dict[str, Any]) -> str:
    """Returns the parameters in words; of lists and maps only their names, as they are in the file."""
    words = []
    for name, value in parameters.items():
        if isinstance(value, (list, dict)):
            words.append(name)
        elif value is not None:
            words.append(f"{name} = {value:.4f}" if isinstance(value, float) else f"{name} = {value}")
    return ", ".join(words)
