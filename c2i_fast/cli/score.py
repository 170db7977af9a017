"""`c2i-fast score`: perturbation metrics of saliency maps, into a run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from c2i_fast.cli.options import (
    LARGEST_SEED,
    EngineOptions,
    Force,
    Images,
    Limit,
    ModelOptions,
    OnError,
    RecalxMismatch,
    TalkOptions,
    Target,
    Workers,
    choice,
    flattened,
    open_source,
)
from c2i_fast.cli.render import progress, sayer, show_json
from c2i_fast.cli.scores_table import show_scores
from c2i_fast.errors import UsageError

if TYPE_CHECKING:
    from c2i_fast.results.scoring import Scoring
    from c2i_fast.results.settings import RunSettings


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Score saliency maps by perturbation: deletion, insertion, their LeRF twins and the gap.")(
        flattened(score)
    )


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What is measured and how the run is kept. None means: the default, or on --resume what the run was begun with."""

    controls: Annotated[
        bool, typer.Option("--controls", help="Add the controls random, smooth-random, sobel and center.")
    ] = False
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric (repeatable); default deletion, insertion and gap."),
    ] = None
    preset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A table of protocols (repeatable; default c2i); see c2i-fast list presets."),
    ] = None
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the protocol.")
    ] = None
    baseline_panel: Annotated[
        bool, typer.Option("--baseline-panel", help="Also rank the methods under four baselines and ROAD.")
    ] = False
    readout: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="raw, calibrated, logit or sigmoid (repeatable); default raw, and calibrated where possible.",
        ),
    ] = None
    target: Target = None
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Estimate areas from some of each curve's points; means over 1000 images are within this of the "
            "full protocol's. E.g. 0.001."
        ),
    ] = None
    limit: Limit = None
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Of every random number (0).")] = None
    keep_logits: Annotated[
        bool, typer.Option("--keep-logits", help="Keep the logits, so that rescore needs no pass.")
    ] = False
    part_passes: Annotated[
        int | None, typer.Option(min=1, help="Passes after which a part of the run is stored (1024; 65536 on a GPU).")
    ] = None
    fp32_images: Annotated[
        int | None, typer.Option(min=2, help="In low precision: images also scored in fp32 (64).")
    ] = None
    recalx_mismatch: RecalxMismatch = None

    until_separated: Annotated[
        float | None,
        typer.Option(
            metavar="CONFIDENCE",
            help="Images in random order until every pair of methods is separated or equivalent; e.g. 0.95.",
        ),
    ] = None
    equivalence_margin: Annotated[
        float | None,
        typer.Option(metavar="MARGIN", help="With --until-separated: smaller differences are equivalence (0.01)."),
    ] = None
    estimand: Annotated[
        str | None,
        typer.Option(
            metavar="set|population",
            help="With --until-separated: means over these images (set, default) or over what they were drawn from.",
        ),
    ] = None
    decide_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC[:READOUT]",
            help="With --until-separated: what must be decided (repeatable); default the first metric and read-out.",
        ),
    ] = None

    def settings(self, engine: EngineOptions) -> RunSettings:
        """Returns what was given of a run's settings."""
        from c2i_fast.results.settings import RunSettings

        return RunSettings(
            metrics=tuple(self.metric) if self.metric else None,
            presets=tuple(self.preset) if self.preset else None,
            overrides=_overrides(self.set_ or [], self.target),
            readouts=tuple(self.readout) if self.readout else None,
            controls=self.controls or None,
            engine=None if engine.engine == "auto" else engine.engine,
            precision=engine.precision,
            device=None if engine.device == "auto" else engine.device,
            threads=engine.threads,
            batch_size=engine.batch_size,
            passes_per_part=self.part_passes,
            keep_logits=self.keep_logits or None,
            limit=self.limit,
            seed=self.seed,
            fp32_images=self.fp32_images,
            until_separated=self.until_separated,
            equivalence_margin=self.equivalence_margin,
            estimand=self.estimand,
            decide_on=tuple(self.decide_on) if self.decide_on else None,
            recalx_mismatch=self.recalx_mismatch,
            tolerance=self.tolerance,
            baseline_panel=self.baseline_panel or None,
        )


def score(
    model: ModelOptions,
    engine: EngineOptions,
    talk: TalkOptions,
    scored: ScoringOptions,
    images: Images,
    out: Annotated[Path, typer.Option(help="The run directory to write.")],
    maps: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]PATH", help="What explain wrote, an .npz with maps and ids, or a folder of .npy."),
    ] = None,
    regions: Annotated[
        str | None,
        typer.Option(metavar="SRC", help="Where objects are: a CSV file,x0,y0,x1,y1; a folder of masks; an .npz."),
    ] = None,
    calibrator: Annotated[Path | None, typer.Option(help="A calibrator file, for a model that carries none.")] = None,
    workers: Workers = 2,
    on_error: OnError = "stop",
    allow_drift: Annotated[
        bool, typer.Option("--allow-drift", help="Accept a low precision that fails its check against fp32.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the run would cost in passes and time, and write nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    force: Force = False,
) -> None:
    """Checks everything, opens the engine, scores part by part, sums up."""
    from c2i_fast.results.scoring import RunRequest, prepare

    say = sayer(talk)
    choice("--on-error", on_error, ("stop", "skip"))
    if resume and force:
        raise UsageError("--resume goes on with a run and --force replaces it; give one of them")
    if not all(maps or ()):
        raise UsageError("--maps is empty; give [NAME=]PATH")
    if regions == "":
        raise UsageError("--regions is empty; give a CSV, a folder of masks or an .npz")
    request = RunRequest(
        out=out,
        given=scored.settings(engine),
        maps=tuple(maps or ()),
        calibrator=calibrator,
        resume=resume,
        force=force,
        regions=regions,
    )
    settings = request.settings()
    followed = (settings.overrides or {}).get("target", "top1")
    if scored.target == "top1" and followed != "top1":
        raise UsageError(f"--resume goes on with --target {followed}, not top1; leave the option out")
    if settings.until_separated and settings.estimand != "population" and on_error == "skip":
        raise UsageError(
            "--until-separated over a set needs every image of it; give --estimand population, or mend them"
        )
    classifier = model.load(say, settings.seed or 0)
    source = open_source(images, classifier, say, settings.limit)
    scoring = prepare(request, settings, classifier, source, on_error)  # type: ignore[arg-type]
    for note in scoring.notes:
        say(note)
    say(f"engine: {scoring.engine.config.engine} {scoring.engine.config.precision} ({scoring.engine.reason})")
    if dry_run:
        _forecast(scoring, talk, workers)
        return
    with progress(talk, "score", len(source)) as advance:
        outcome = scoring.run(workers=workers, on_error=on_error, advance=advance)  # type: ignore[arg-type]
    for image, reason in outcome.skipped:
        say(f"skipped {image}: {reason}")
    show_json(outcome.to_dict()) if talk.json else show_scores(outcome)
    if not allow_drift:
        outcome.check()


def _forecast(scoring: Scoring, talk: TalkOptions, workers: int) -> None:
    """Plans, times the engine, and prints what the run would cost."""
    from c2i_fast.results.forecast import MOST_PLANNED, forecast

    with progress(talk, "plan", min(len(scoring.source), MOST_PLANNED)) as advance:
        found = forecast(scoring, workers=workers, advance=lambda images: advance(images, 0))
    if talk.json:
        show_json(found.to_dict())
        return
    about = "" if found.planned == found.images else f"about, from {found.planned} of them: "
    shared = found.requested - found.run
    print(
        f"{found.images} images; {about}{found.requested:,} points asked for, {shared:,} shared, {found.run:,} passes "
        f"to run; {found.passes_per_second:,.0f} passes/s make {found.seconds:,.0f} s. Nothing was written."
    )


def _overrides(settings: list[str], target: str | None) -> dict[str, str] | None:
    """Returns `--set FIELD=VALUE` and `--target` as one mapping; None where neither was given."""
    pairs = dict[str, str]()
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--set must look like FIELD=VALUE, got {text!r}")
        if name in pairs:
            raise UsageError(f"--set gives {name} twice")
        pairs[name] = value
    if target is not None and target != "top1":
        if "target" in pairs:
            raise UsageError("--target and --set target= say the same; give one of them")
        pairs["target"] = target
    return pairs or None
