"""A scoring run from its options to its table: checks first, then the engine, then parts, then sums."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from c2i_fast.attribution import CONTROLS, METHODS
from c2i_fast.attribution.base import Context, Method
from c2i_fast.data.followed import LabelledImages
from c2i_fast.data.map_source import MapSource
from c2i_fast.data.maps import check_ids, open_maps
from c2i_fast.data.other_images import baselines_of, fingerprints, other_images
from c2i_fast.data.regions import open_regions
from c2i_fast.data.source import ImageSource
from c2i_fast.engines.select import EngineChoice
from c2i_fast.errors import C2IError, InputError, UsageError
from c2i_fast.export.open import OpenedPasses, engine_for, open_passes
from c2i_fast.fewer import check_tolerance
from c2i_fast.memory import as_calibrator
from c2i_fast.metrics.measures import Measure, check_regions, make_measures, protocols_of
from c2i_fast.metrics.readout import check_readouts, readout_notes
from c2i_fast.metrics.target import check_targets
from c2i_fast.results.diagnostics import DIAGNOSTIC_COLUMNS, count_warnings
from c2i_fast.results.estimate import (
    FP32,
    SubsetSource,
    calibration_images,
    subset,
)
from c2i_fast.results.files import claim_output, is_empty_folder
from c2i_fast.results.outcome import Outcome
from c2i_fast.results.panel import PANEL_COLUMNS, Panel, baseline_panel, with_panel
from c2i_fast.results.record import Totals, measure_entries, record
from c2i_fast.results.run import PartInfo, RunDirectory
from c2i_fast.results.settings import RunSettings, check_hashes, model_hash, option
from c2i_fast.results.stopping import ShuffledSource, Stopping, StoppingRule, stopping_rule
from c2i_fast.results.summary import COLUMNS, HALF, summarise, table_rows, values_by_cell
from c2i_fast.score import PASSES_PER_PART, PASSES_PER_PART_ON_GPU, ScoreTask
from c2i_fast.types import EngineConfig, Preprocessing

if TYPE_CHECKING:
    from c2i_fast.models.classifier import Classifier

DEFAULTS = RunSettings(
    metrics=(),
    presets=("c2i",),
    overrides={},
    readouts=(),
    controls=False,
    engine="auto",
    precision="fp32",
    device="auto",
    keep_logits=False,
    seed=0,
    fp32_images=64,
    recalx_mismatch="refuse",
    baseline_panel=False,
)
PACKAGES = ("c2i-fast", "numpy", "onnx", "onnx-ir", "onnxruntime", "openvino", "torch", "pyarrow", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the user asked for."""

    out: Path
    given: RunSettings
    maps: tuple[str, ...]
    calibrator: Path | None
    resume: bool
    force: bool
    regions: str | None = None

    @property
    def continues(self) -> bool:
        """Whether there is a run to go on with; `--resume` on an absent or empty folder starts afresh."""
        return self.resume and RunDirectory(self.out).exists()

    def settings(self) -> RunSettings:
        """Returns the settings to score with: the stored ones when continuing, else those given over the defaults."""
        if self.continues:
            return self.given.continuing(RunSettings.from_dict(RunDirectory(self.out).whole_manifest()["settings"]))
        claim_output(self.out, force=self.force, what="run")
        if self.out.exists() and not is_empty_folder(self.out) and not RunDirectory(self.out).exists():
            raise InputError(f"{self.out} is no run of c2i-fast and is not replaced; choose another --out")
        return self.given.filled(DEFAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A run that has been checked and can begin."""

    request: RunRequest
    settings: RunSettings
    classifier: Classifier
    source: ImageSource
    maps: Mapping[str, MapSource]
    task: ScoreTask
    engine: EngineChoice
    hashes: Mapping[str, Any]
    beside: frozenset[tuple[str, str]] = frozenset()
    rule: StoppingRule | None = None

    @property
    def notes(self) -> list[str]:
        """What the user should be told before it begins."""
        return self.task.regions.notes if self.task.regions else []

    def run(
        self,
        *,
        workers: int = 2,
        on_error: Literal["stop", "skip"] = "stop",
        advance: Callable[[int, int], None] = lambda images, passes: None,
    ) -> Outcome:
        """Opens the engine, scores what is not scored yet, and sums up."""
        run, clock = RunDirectory(self.request.out), time.perf_counter()
        passes = self._open(self.engine.config)
        passes.on_passes = lambda count: advance(0, count)
        build_seconds = time.perf_counter() - clock
        if self.request.continues:
            run.sweep()
        else:
            run.begin(self._manifest(), replace=self.request.force)
        common: dict[str, Any] = {
            "workers": workers,
            "on_error": on_error,
            "on_part": lambda info: advance(_images(info), 0),
        }
        keep = bool(self.settings.keep_logits)
        source, stopping = self.source, None
        if self.rule:
            source = ShuffledSource(self.source, self.settings.seed or 0)
            stopping = Stopping(self.rule, self.methods, len(source))
        try:
            totals = record(run, source, self.maps, passes, self.task, keep_logits=keep, stopping=stopping, **common)
            if not totals.images:
                raise InputError(f"none of the {len(self.source)} images could be read: {run.infos()[0].skipped[0][1]}")
        except C2IError:
            if not any(info.images for info in run.infos()):  # it has come to nothing
                run.withdraw()
            raise
        if stopping and stopping.done:
            run.update(stopped=stopping.to_dict())
        estimate = self._score_subset(run, common) if self._estimates else None
        table = run.read(columns=(*COLUMNS, HALF))
        low, halves = values_by_cell(table_rows(table)), values_by_cell(table_rows(table, HALF))
        full = values_by_cell(table_rows(run.read(FP32, COLUMNS))) if estimate else {}
        return Outcome(
            run=run,
            engine=self.engine,
            totals=totals,
            build_seconds=build_seconds,
            rows=tuple(summarise(low, full, halves)),
            skipped=tuple(pair for info in run.infos() for pair in info.skipped),
            low=low,
            full=full,
            estimate=estimate,
            stopping=stopping,
            notes=readout_notes(self.task.readouts, self.task.calibrator),
            diagnostics=count_warnings(run.rows(DIAGNOSTIC_COLUMNS)),
            panel=self._panel(run) if self.settings.baseline_panel else None,
            beside=self.beside,
        )

    def _panel(self, run: RunDirectory) -> Panel:
        return baseline_panel(run.rows(PANEL_COLUMNS), self.settings.overrides or {}, self.task.readouts[0])

    @property
    def methods(self) -> list[str]:
        """Names, in the order of the rows."""
        return [*self.maps, *(control.name for control in self.task.controls)]

    @property
    def _estimates(self) -> bool:
        """Whether there is an fp32 answer to estimate: a file that is itself in low precision has none."""
        return self.engine.config.precision != "fp32" and self.classifier.contract.precision == "fp32"

    def _open(self, config: EngineConfig) -> OpenedPasses:
        from c2i_fast.export.precision import CALIBRATION_IMAGES, converted_for

        images = calibration_images(self.source, CALIBRATION_IMAGES, self.settings.seed or 0)
        classifier = converted_for(self.classifier, config, images)
        passes = open_passes(classifier, config)
        passes.warm_up(self.task.protocols)
        return passes

    def _score_subset(self, run: RunDirectory, common: Mapping[str, Any]) -> Totals:
        """Scores the random subset once more in fp32."""
        chosen = subset(self.source.ids, self.settings.fp32_images or 0, self.settings.seed or 0)
        config = replace(self.engine.config, precision="fp32")
        images = SubsetSource(self.source, chosen)
        return record(run, images, self.maps, self._open(config), self.task, prefix=FP32, **common)

    def _manifest(self) -> dict[str, Any]:
        stored = replace(
            self.settings,
            engine=self.engine.config.engine,
            device=self.engine.config.device,
            threads=self.engine.config.threads,
            batch_size=self.engine.config.batch_size,
            passes_per_part=self.task.passes_per_part,
            readouts=self.task.readouts,
        )
        return {
            "c2i_fast": {"run": 1},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
            "model": self.classifier.name,
            "images": len(self.source),
            "settings": stored.to_dict(),
            "engine_reason": self.engine.reason,
            "precision": self.engine.config.precision,
            "readouts": list(self.task.readouts),
            **measure_entries(self.task.measures),
            "activation": self.task.activation,
            "hashes": dict(self.hashes),
            "versions": versions(),
        }


def prepare(
    request: RunRequest,
    settings: RunSettings,
    classifier: Classifier,
    source: ImageSource,
    on_error: Literal["stop", "skip"] = "stop",
) -> Scoring:
    """Returns a run that can begin: every input opened and checked, no engine built yet.

    Raises:
        InputError, UsageError: Whatever cannot be used, in one line.
    """
    if not request.maps and not settings.controls:
        raise UsageError("there is nothing to score: give --maps PATH, or --controls")
    calibrator = as_calibrator(request.calibrator, classifier)
    measures = make_measures(settings.metrics or (), settings.presets or (), settings.overrides or {})
    check_regions(measures, request.regions is not None)
    _check_tolerance(settings, measures)
    regions = open_regions(request.regions, source) if request.regions is not None else None
    contract = classifier.contract
    engine = _engine(settings, classifier)
    followed = measures[0].protocol.target
    check_targets(followed, source, contract.classes, activation=contract.activation, on_error=on_error)
    if followed == "label":
        source = LabelledImages(source)
    maps = open_maps(request.maps)
    beside: frozenset[tuple[str, str]] = frozenset()
    if settings.baseline_panel:
        methods = len({*maps, *(CONTROLS if settings.controls else ())})
        asked, measures = measures, with_panel(measures, settings.overrides or {}, methods, len(contract.space))
        beside = frozenset((m.metric.name, m.protocol.name) for m in measures if m not in asked)
    check_ids(maps, source.ids)
    _check_maps(maps, source.ids, len(contract.space), contract.channels)
    task = ScoreTask(
        measures=measures,
        readouts=check_readouts(
            settings.readouts or (), calibrator, protocols_of(measures), settings.recalx_mismatch or "refuse"
        ),
        preprocessing=contract.preprocessing,
        activation=contract.activation,
        calibrator=calibrator,
        controls=_controls(settings, contract.preprocessing, maps),
        seed=settings.seed or 0,
        tolerance=settings.tolerance,
        regions=regions,
        elsewhere=other_images(baselines_of(protocols_of(measures)), source, settings.seed or 0),
        passes_per_part=settings.passes_per_part
        or (PASSES_PER_PART_ON_GPU if engine.config.device == "cuda" else PASSES_PER_PART),
    )
    rule = _stopping_rule(settings, task)
    hashes = _hashes(classifier, source, maps, task)
    if request.continues:
        check_hashes(RunDirectory(request.out).manifest["hashes"], hashes)
    scoring = Scoring(
        request=request,
        settings=settings,
        classifier=classifier,
        source=source,
        maps=maps,
        task=task,
        engine=engine,
        hashes=hashes,
        beside=beside,
        rule=rule,
    )
    if rule:  # refused now, if at all
        Stopping(rule, scoring.methods, len(source))
    return scoring


def _controls(settings: RunSettings, preprocessing: Preprocessing, maps: Mapping[str, MapSource]) -> tuple[Method, ...]:
    """Returns the controls that are made on the way: none unless asked for, and none whose maps are given."""
    names = [name for name in (CONTROLS if settings.controls else ()) if name not in maps]
    return tuple(METHODS[name](Context(preprocessing=preprocessing, seed=settings.seed or 0)) for name in names)


def _check_tolerance(settings: RunSettings, measures: Sequence[Measure]) -> None:
    """Raises a `UsageError` where estimated areas are asked for beside what needs the whole curves."""
    check_tolerance(settings.tolerance, measures)
    if settings.tolerance is not None and settings.keep_logits:
        raise UsageError("--keep-logits keeps whole curves, and --tolerance runs some of their points; leave one out")
    if settings.tolerance is not None and settings.until_separated is not None:
        raise UsageError(
            "--until-separated needs scores within bounds, and areas estimated by --tolerance have none; leave one out"
        )


def _stopping_rule(settings: RunSettings, task: ScoreTask) -> StoppingRule | None:
    """Returns the rule of `--until-separated`; what only makes sense beside it is refused without it."""
    if settings.until_separated is None:
        for name in ("equivalence_margin", "estimand", "decide_on"):
            if getattr(settings, name) is not None:
                raise UsageError(f"{option(name)} goes with --until-separated CONFIDENCE; give that, or leave it out")
        return None
    if settings.precision not in (None, "fp32"):
        raise UsageError(
            f"--until-separated decides on fp32 scores, not on estimates in {settings.precision}; leave one out"
        )
    names = tuple(dict.fromkeys(measure.metric.name for measure in task.measures))
    if len(names) < len(task.measures):
        raise UsageError("--until-separated decides on one protocol of each metric; give one --preset")
    return stopping_rule(
        settings.until_separated,
        settings.equivalence_margin,
        settings.estimand,
        settings.decide_on,
        metrics=names,
        readouts=task.readouts,
    )


def _check_maps(maps: Mapping[str, MapSource], ids: Sequence[str], axes: int, channels: int) -> None:
    """Reads every map once: a wrong one is named now, not after hours of scoring, and a read costs less than a pass."""
    for source in maps.values():
        for image in ids:
            source.load(image, (1,) * axes, channels)


def _engine(settings: RunSettings, classifier: Classifier) -> EngineChoice:
    return engine_for(
        classifier,
        settings.engine or "auto",
        precision=settings.precision or "fp32",  # type: ignore[arg-type]
        device=settings.device or "auto",
        threads=settings.threads,
        batch_size=settings.batch_size,
    )


def _hashes(
    classifier: Classifier, source: ImageSource, maps: Mapping[str, MapSource], task: ScoreTask
) -> dict[str, Any]:
    from c2i_fast.calibration.spec import calibrator_hash

    files = fingerprints(task.elsewhere)
    return {
        "model": model_hash(classifier.contract),
        "calibrator": calibrator_hash(task.calibrator) if task.calibrator else None,
        "images": source.fingerprint(),
        "maps": {name: source.fingerprint() for name, source in maps.items()},
        "regions": task.regions.fingerprint() if task.regions else None,
        **({"baselines": files} if files else {}),
    }


def _images(info: PartInfo) -> int:
    return info.next - info.first


def versions() -> dict[str, str]:
    """Returns the versions of what numbers may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
