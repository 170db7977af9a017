"""`c2i-fast explain`: saliency maps of a source of images."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from c2i_fast.cli.options import (
    EngineOptions,
    Force,
    Images,
    Limit,
    ModelOptions,
    OnError,
    RecalxMismatch,
    Seed,
    TalkOptions,
    Target,
    Workers,
    choice,
    converted,
    flattened,
    open_source,
)
from c2i_fast.cli.render import progress, sayer, show_json, show_table
from c2i_fast.errors import InputError, UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Make saliency maps: see c2i-fast list methods.")(flattened(explain))


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """Options of single methods; those that none of the chosen methods has are refused."""

    masks: Annotated[int | None, typer.Option(min=1, help="rise and its kin: number of masks (4000).")] = None
    grid: Annotated[int | None, typer.Option(min=1, help="rise and its kin: cells along an axis (7).")] = None
    keep: Annotated[float | None, typer.Option(help="rise and its kin: probability that a cell is kept (0.5).")] = None
    layer: Annotated[
        str | None,
        typer.Option(help="Methods of layers: one by name (list layers MODEL); by default the last with a grid."),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What is removed to, or where integrated gradients start: mean (default), another of list baselines, "
            "or for the latter uniform or file:PATH."
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, help="integrated-gradients: steps along the line (50).")] = None
    rule: Annotated[
        str | None,
        typer.Option(
            help="integrated-gradients: gausslegendre (default), or riemann_left, _right, _middle, _trapezoid."
        ),
    ] = None
    samples: Annotated[int | None, typer.Option(min=1, help="smoothgrad: noisy copies (50).")] = None
    noise: Annotated[
        float | None, typer.Option(min=0, help="smoothgrad: noise over the range of the image's values (0.15).")
    ] = None
    epsilon: Annotated[float | None, typer.Option(help="lrp: added to what relevance is divided by (1e-9).")] = None
    channels: Annotated[
        str | None, typer.Option(metavar="abs-sum|sum", help="Gradient methods: how channels become one map.")
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[METHOD.]OPTION=VALUE", help="Any option of a method (repeatable)."),
    ] = None

    def given(self, methods: list[str]) -> dict[str, Any]:
        """Returns the methods' options that were given; a flag that none of the methods has is wrong usage."""
        flags = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "set_"}
        return _options(methods, self.set_ or [], **flags)


def explain(
    model: ModelOptions,
    engine: EngineOptions,
    talk: TalkOptions,
    asked: MethodOptions,
    images: Images,
    method: Annotated[
        list[str], typer.Option(metavar="NAME", help="A saliency method (repeatable); see c2i-fast list methods.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the maps.")],
    sensitivity: Annotated[
        int | None,
        typer.Option(
            metavar="RUNS",
            min=1,
            help="Also max-sensitivity: the largest move of an image's map over RUNS noisy copies.",
        ),
    ] = None,
    target: Target = None,
    readout: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What maps follow: raw (RISE), calibrated, logit (torch methods) or calibrated-logit.",
        ),
    ] = None,
    calibrator: Annotated[
        Path | None, typer.Option(help="A calibrator file; default the one the model carries.")
    ] = None,
    recalx_mismatch: RecalxMismatch = None,
    limit: Limit = None,
    seed: Seed = 0,
    workers: Workers = 2,
    on_error: OnError = "stop",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted call stopped.")] = False,
    force: Force = False,
) -> None:
    """Loads, explains, writes maps, reports."""
    from c2i_fast.attribution.run import INDEX, clear_maps, explain_images
    from c2i_fast.metrics.target import check_rule, check_targets
    from c2i_fast.results.files import claim_output, is_empty_folder

    say = sayer(talk)
    choice("--on-error", on_error, ("stop", "skip"))
    if resume and force:
        raise UsageError("--resume goes on with what is there and --force replaces it; give one of them")
    if sensitivity and resume:
        raise UsageError("--sensitivity is of images explained now and --resume skips those there are; leave one out")
    target_rule = check_rule(target or "top1")
    claim_output(out, force=force or resume)
    if out.exists() and not is_empty_folder(out) and not (out / INDEX).exists():
        raise InputError(f"{out} was not written by explain and is not replaced; choose another --out")
    classifier = model.load(say, seed)
    contract = classifier.contract
    source = open_source(images, classifier, say, limit)
    check_targets(target_rule, source, contract.classes)
    options = asked.given(method)
    followed = _followed(classifier, method, readout, calibrator)
    chosen, passes, runs = _prepare(classifier, source, engine, method, options, followed, seed, say)
    _check_recalx(runs, followed, recalx_mismatch)
    if force:
        clear_maps(out)
    with progress(talk, "explain", len(source)) as advance:
        counted = _Counter(runs, advance)
        report = explain_images(
            source,
            runs,
            out,
            passes=passes,
            target=target_rule,
            settings=_settings(contract, source, chosen, followed, seed),
            workers=workers,
            on_error=on_error,  # type: ignore[arg-type]
            on_images=counted,
            sensitivity=_sensitivity(sensitivity, contract.preprocessing, seed),
        )
    _tell(report, say)
    show_json(report.to_dict()) if talk.json else _table(report.to_dict())


def _settings(contract: Any, source: Any, chosen: Any, followed: dict[str, Any], seed: int) -> dict[str, Any]:
    """Returns what a resumed call must find unchanged."""
    from c2i_fast.calibration.spec import calibrator_hash
    from c2i_fast.results.settings import model_hash

    return {
        "model": model_hash(contract),
        "images": source.fingerprint(),
        "engine": [chosen.config.engine, chosen.config.precision] if chosen else None,
        "seed": seed,
        "calibrator": calibrator_hash(followed["calibrator"]) if followed["calibrator"] else None,
    }


def _tell(report: Any, say: Any) -> None:
    """Names the images and maps that were left out."""
    for image in report.skipped:
        say(f"skipped {image.id}: {image.reason}")
    for image_id, name in report.not_finite:
        say(f"skipped the {name} map of {image_id}: it is not finite")


def _sensitivity(runs: int | None, preprocessing: Any, seed: int) -> Any:
    """Returns what measures max-sensitivity, where it was asked for."""
    from c2i_fast.attribution.sensitivity import max_sensitivity

    return partial(max_sensitivity, preprocessing=preprocessing, runs=runs, seed=seed) if runs else None


def _options(methods: list[str], settings: list[str], **flags: Any) -> dict[str, Any]:
    """Returns the methods' options that were given; a flag that none of the methods has is wrong usage."""
    from c2i_fast.attribution import METHODS

    names = {flag: "p" if flag == "keep" else flag for flag in flags}
    for flag, value in flags.items():
        if value is not None and not any(names[flag] in METHODS[method].defaults for method in methods):
            raise UsageError(f"--{flag} says nothing about {', '.join(methods)}; leave it out")
    options = {names[flag]: value for flag, value in flags.items() if value is not None}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--set must look like OPTION=VALUE or METHOD.OPTION=VALUE, got {text!r}")
        if name in options:
            raise UsageError(f"{name} is given twice; leave out one of them")
        options[name] = _parsed(value)
    return options


def _parsed(text: str) -> Any:
    """Returns a number, true, false or null (none) as what it is, and anything else as text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _followed(classifier: Any, names: list[str], readout: str | None, file: Path | None) -> dict[str, Any]:
    """Returns the context's `follow` and, where that is calibrated, its `calibrator`; both checked."""
    from c2i_fast.attribution import METHODS
    from c2i_fast.attribution.follow import check_follow, differentiable, is_calibrated
    from c2i_fast.memory import as_calibrator

    needs = {METHODS[name].needs for name in names}
    if readout is not None and needs == {"nothing"}:
        raise UsageError(f"--readout says nothing about {', '.join(names)}; leave it out")
    if file is not None and not is_calibrated(readout):
        raise UsageError("--calibrator is for --readout calibrated or calibrated-logit; give that too")
    calibrator = as_calibrator(file, classifier) if is_calibrated(readout) else None
    if readout is not None:
        check_follow(readout, calibrator)
    if calibrator is not None and "torch" in needs:
        differentiable(calibrator)  # those that cannot be followed are refused before any pass
    return {"follow": readout, "calibrator": calibrator}


def _check_recalx(runs: Any, followed: dict[str, Any], mismatch: str | None) -> None:
    """Raises an `InputError` where a ReCalX was fitted for another baseline than a method hides pixels with."""
    from c2i_fast.calibration.recalx import check_mismatch

    baselines = [run.options.get("baseline", "mean") for run in runs if run.method.needs == "passes"]
    check_mismatch(followed["calibrator"], baselines, mismatch or "refuse")


def _prepare(
    classifier: Any,
    source: Any,
    engine: EngineOptions,
    names: list[str],
    options: dict[str, Any],
    followed: dict[str, Any],
    seed: int,
    say: Any,
) -> Any:
    """Returns the engine and the passes (None where no method needs a target), and the methods."""
    from c2i_fast.attribution import METHODS
    from c2i_fast.attribution.base import Context
    from c2i_fast.attribution.run import build_methods
    from c2i_fast.export.open import open_passes
    from c2i_fast.export.taps import OnnxTaps
    from c2i_fast.models.onnx_torch import differentiable_module

    needs = {name: METHODS[name].needs for name in names}
    lost = [name for name, need in needs.items() if need == "torch"]
    module = differentiable_module(classifier, lost[0]) if lost else None
    chosen, passes, taps = None, None, None
    if set(needs.values()) == {"nothing"}:
        if engine.engine or engine.precision:  # of no use here, but a wrong name is told all the same
            engine.choose(classifier)
    else:
        chosen = engine.choose(classifier)
        say(f"engine: {chosen.config.engine} {chosen.config.precision} ({chosen.reason})")
        ready = converted(classifier, chosen, source, seed)
        passes = open_passes(ready, chosen.config, say)
        taps = OnnxTaps(ready, chosen.config, say)
    contract = classifier.contract
    context = Context(
        passes=passes,
        taps=taps,
        module=module,
        preprocessing=contract.preprocessing,
        activation=contract.activation,
        seed=seed,
        **followed,
    )
    return chosen, passes, build_methods(names, context, options)


class _Counter:
    """Turns what the methods count into progress."""

    def __init__(self, runs: Any, advance: Any) -> None:
        self.runs, self.advance, self.seen = runs, advance, 0

    def __call__(self, images: int) -> None:
        total = sum(run.method.passes_used for run in self.runs)
        self.advance(images, total - self.seen)
        self.seen = total


def _table(report: dict[str, Any]) -> None:
    measured = any("max_sensitivity" in row for row in report["methods"])
    columns = ["method", "maps", "passes", "seconds", *["max-sensitivity"] * measured, "written to"]
    rows = [
        [row["name"], str(row["maps"]), str(row["passes"]), f"{row['seconds']:.1f}"]
        + [f"{row.get('max_sensitivity', float('nan')):.4f}"] * measured
        + [row["path"]]
        for row in report["methods"]
    ]
    show_table("saliency maps", columns, rows)
