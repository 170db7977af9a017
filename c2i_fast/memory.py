"""`c2i_fast.score`: the same scores as the command's, for arrays in memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2i_fast.data.other_images import baselines_of, other_images
from c2i_fast.errors import InputError, UsageError
from c2i_fast.fewer import check_tolerance
from c2i_fast.metrics.measures import check_regions, make_measures, protocols_of
from c2i_fast.metrics.readout import check_readouts
from c2i_fast.metrics.target import check_targets
from c2i_fast.results.summary import HALF, SummaryRow, score_rows, summarise, values_by_cell
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import Activation, Calibrator, Floats, Precision, Preprocessing, Score

if TYPE_CHECKING:
    from c2i_fast.data.map_source import MapSource
    from c2i_fast.data.source import ImageSource
    from c2i_fast.engines.select import EngineChoice
    from c2i_fast.models.classifier import Classifier
    from c2i_fast.results.trust import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What `score` returns.

    Attributes:
        rows: one for each image × method × metric × read-out × target.
        requested: points of all curves.
        run: masked images that were forwarded for them.
        seconds: from the first image to the last score; opening the engine apart.
        build_seconds: what that took.
        engine: which one ran, and why.
    """

    rows: tuple[Score, ...]
    requested: int
    run: int
    seconds: float
    build_seconds: float
    engine: str

    def summary(self) -> list[SummaryRow]:
        """Returns means with 95 % intervals, and lifts over `smooth-random` where that was given."""
        halves = values_by_cell(score_rows(self.rows, HALF))
        return summarise(values_by_cell(score_rows(self.rows)), halves=halves)

    def trust(self) -> list[Trust]:
        """Returns, for every metric and read-out of two or more methods, how far to trust its ranking of them."""
        from c2i_fast.results.trust import trust

        return trust(values_by_cell(score_rows(self.rows)))

    def mean(self, metric: str, method: str = "map", readout: str = "raw") -> float:
        """Returns the mean of one metric over images; an `InputError` where it was not scored."""
        means = {(r.metric, r.method, r.readout): r.score.mean for r in self.summary()}
        if (metric, method, readout) not in means:
            known = "; ".join(" ".join(key) for key in means)
            raise InputError(f"there is no score of {metric} {method} {readout}; there are: {known}")
        return means[metric, method, readout]


def score(
    model: Any,
    images: Any,
    maps: Any,
    *,
    metrics: Sequence[str] = (),
    preset: str | Sequence[str] = "c2i",
    overrides: Mapping[str, str] | None = None,
    readouts: Sequence[str] = (),
    calibrator: Calibrator | str | Path | None = None,
    recalx_mismatch: str = "refuse",
    tolerance: float | None = None,
    target: str | int = "top1",
    labels: Any = None,
    regions: Any = None,
    ids: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    activation: Activation | None = None,
    engine: str = "auto",
    precision: Precision = "fp32",
    threads: int | None = None,
    batch_size: int | None = None,
) -> Scores:
    """Returns perturbation scores of saliency maps.

    Args:
        model: a torch module, a MODEL of the command line (`model.onnx`, `torchvision:resnet50` …) or a `Classifier`.
        images: float (N, C, *space) in the units `preprocessing` expects, or uint8 (N, H, W, C); arrays or DLPack.
        maps: (N, h, w) of any real values and resolution, or a mapping from method names to such.
        metrics: see `c2i-fast list metrics`; by default the preset's own.
        preset: one or several, see `c2i-fast list presets`.
        overrides: the preset's fields to set otherwise, as `--set FIELD=VALUE`.
        readouts: `raw`, `calibrated`, `logit`, `sigmoid`; by default `raw`, and `calibrated` where possible.
        calibrator: a fitted one or a file; by default the model's own.
        recalx_mismatch: `ok` lets a ReCalX read passes of another baseline than it was fitted for.
        tolerance: areas are estimated from some of each curve's points, so that means over 1000 images are within this
            of the full protocol's; None runs all points.
        target: `top1`, `label` (needs `labels`) or a class index.
        labels: one class index an image; for a sigmoid head an array (N, K) of 0 and 1, or N sequences of indices (for
            K = 1: N times 0 or 1). Each label of an image is followed.
        regions: where the objects are, for metrics that need it: masks (N, h, w) of the images' size, not zero inside,
            or a file as for the command's `--regions`.
        ids: one distinct name an image; by default its number.
        preprocessing: of a bare model: (pixel − mean) / std; a fused file has its own.
        activation: of a bare model, `softmax` (the default) or `sigmoid`.
        engine: `auto`, `onnxruntime`, `openvino` or `torch`.
        precision: `fp32`, or `bf16`, `fp16` or `int8` where the engine has it; not corrected here, as the command does.
        threads: of the engine; by default all cores.
        batch_size: masked images in one engine batch.

    Raises:
        InputError: Arrays, maps or options that cannot be used.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> images = torch.rand(2, 1, 4, 4)
        >>> scores = score(net, images, images[:, 0], overrides={"intervals": "4"}, engine="torch")
        >>> len(scores.rows), scores.requested, scores.run
        (6, 30, 16)
    """
    from c2i_fast.data.memory import MemoryImages, memory_maps
    from c2i_fast.data.regions import open_regions
    from c2i_fast.export.open import engine_for

    first = next(MemoryImages(images, ids=ids).loads(0))()
    presets = (preset,) if isinstance(preset, str) else tuple(preset)
    measures = make_measures(metrics, presets, {**(overrides or {}), **_target(target)})
    check_regions(measures, regions is not None)
    check_tolerance(tolerance, measures)
    classifier = as_classifier(model, preprocessing, first.shape, activation)
    contract, calibrator = classifier.contract, as_calibrator(calibrator, classifier)
    several = contract.classes if contract.activation == "sigmoid" else None
    source = MemoryImages(images, ids=ids, labels=labels, classes=several)
    check_targets(measures[0].protocol.target, source, contract.classes, activation=contract.activation)
    task = ScoreTask(
        measures=measures,
        readouts=check_readouts(tuple(readouts), calibrator, protocols_of(measures), recalx_mismatch),
        preprocessing=contract.preprocessing,
        activation=contract.activation,
        calibrator=calibrator,
        regions=None if regions is None else open_regions(regions, source),
        tolerance=tolerance,
        elsewhere=other_images(baselines_of(protocols_of(measures)), source, 0),
    )
    choice = engine_for(classifier, engine, precision=precision, threads=threads, batch_size=batch_size)
    return _run(classifier, choice, task, source, memory_maps(maps, source.ids), first)


def _run(
    classifier: Classifier,
    choice: EngineChoice,
    task: ScoreTask,
    source: ImageSource,
    sources: Mapping[str, MapSource],
    first: Floats,
) -> Scores:
    """Opens the engine and scores; only the rows are kept."""
    from c2i_fast.export.open import open_passes
    from c2i_fast.export.precision import CALIBRATION_IMAGES, converted_for
    from c2i_fast.perturb.passes import check_shapes
    from c2i_fast.results.estimate import calibration_images

    check_shapes(classifier.contract, [first])
    clock = time.perf_counter()
    ready = converted_for(classifier, choice.config, calibration_images(source, CALIBRATION_IMAGES, 0))
    passes = open_passes(ready, choice.config)
    passes.warm_up(task.protocols)
    built = time.perf_counter()
    rows: list[Score] = []
    requested = run = 0
    for part in score_stream(source.stream(), sources, passes, task, keep_logits=False):
        for image in part.images:
            rows += image.scores
            requested += image.plan.requested
            run += image.run
    return Scores(
        rows=tuple(rows),
        requested=requested,
        run=run,
        seconds=time.perf_counter() - built,
        build_seconds=built - clock,
        engine=f"{choice.config.engine} {choice.config.precision}: {choice.reason}",
    )


def _target(target: str | int) -> dict[str, str]:
    return {} if target == "top1" else {"target": str(target)}


def as_classifier(
    model: Any, preprocessing: Preprocessing | None, shape: tuple[int, ...], activation: Activation | None = None
) -> Classifier:
    """Returns the classifier of a model; a torch module learns its input shape from the images (C, *space)."""
    from dataclasses import replace

    from c2i_fast.models import Classifier, load_classifier

    if isinstance(model, Classifier):
        if activation not in (None, model.contract.activation):
            raise UsageError(f"{model.name} has a {model.contract.activation} head already; leave activation out")
        return model
    torch = sys.modules.get("torch")  # whoever has a module has imported it
    if torch is not None and isinstance(model, torch.nn.Module):
        from c2i_fast.models.torch_models import from_module

        preprocessing = replace(preprocessing or Preprocessing(), size=shape[1:])
        return from_module(
            model,
            name=type(model).__name__,
            preprocessing=preprocessing,
            channels=shape[0],
            activation=activation or "softmax",
        )
    return load_classifier(model, preprocessing=preprocessing, activation=activation)


def as_calibrator(calibrator: Calibrator | str | Path | None, classifier: Classifier) -> Calibrator | None:
    """Returns a fitted calibrator: the one given, the one in the file, or the one the model carries."""
    from c2i_fast.calibration.file import load_calibrator
    from c2i_fast.calibration.interface import check_activation
    from c2i_fast.calibration.spec import calibrator_from_spec

    contract = classifier.contract
    if isinstance(calibrator, str | Path):
        return load_calibrator(Path(calibrator), classes=contract.classes, activation=contract.activation)
    if calibrator is None and contract.calibrator:
        return calibrator_from_spec(contract.calibrator)
    if calibrator is not None:
        check_activation(calibrator, contract.activation)
    return calibrator
