"""The main path: images and maps → plans → masked passes → curves → scores. Read this first.

for each part of whole images:      (as few as reach `passes_per_part`)
    plan_image       which masked images serve every method, metric and end at once
    passes.select    the only fast part: full batches through the engine
    read             logits → the target's read-out, float64, as many read-outs as asked for
    combine          curves → the metric's curve and its area
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.data.source import Image, Skipped, in_order
from c2i_fast.metrics.base import METRICS, CurveMetric
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.metrics.readout import read, readable, reading
from c2i_fast.metrics.target import target_classes
from c2i_fast.perturb.plan import CurveRequest, ImagePlan, plan_image
from c2i_fast.types import (
    Activation,
    Calibrator,
    Curve,
    CurveProtocol,
    Doubles,
    Floats,
    Ints,
    MaskedPasses,
    PerturbationPlan,
    Preprocessing,
    ReadingPasses,
    Score,
)

if TYPE_CHECKING:
    from c2i_fast.attribution.base import Method
    from c2i_fast.data.map_source import MapSource

DEFAULT_METRICS = ("deletion", "insertion", "gap")
PASSES_PER_PART = 1024
PASSES_PER_PART_ON_GPU = 65_536
MOST_PLANNING_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTask:
    """What is to be measured, the same for every image.

    Attributes:
        metrics: what is computed from the curves.
        protocols: one for each curve the metrics need.
        readouts: how logits become numbers.
        calibrator: for the read-out `calibrated`.
        controls: methods that look at no model, whose maps are made on the way.
        passes_per_part: images are worked on in groups that reach this many passes.
    """

    metrics: tuple[CurveMetric, ...]
    protocols: tuple[CurveProtocol, ...]
    readouts: tuple[str, ...]
    preprocessing: Preprocessing
    activation: Activation = "softmax"
    calibrator: Calibrator | None = None
    controls: tuple[Method, ...] = ()
    passes_per_part: int = PASSES_PER_PART

    @property
    def target_rule(self) -> str:
        """Whose class is followed; one rule for all curves of a task."""
        return self.protocols[0].target


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImage:
    """One image's scores, and the passes they were read from.

    Attributes:
        logits: raw, float32 (P, K); None where they were not asked for and read-outs alone left the device.
        targets: the classes followed, one but for images of several labels under a sigmoid head.
    """

    image: Image
    plan: ImagePlan
    logits: Floats | None
    targets: tuple[int, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPart:
    """A group of whole images: `first` ≤ index < `next` of the source, those left out named in `skipped`."""

    first: int
    next: int
    images: tuple[ScoredImage, ...]
    skipped: tuple[Skipped, ...]


def make_protocols(
    metrics: Sequence[str], preset: str, overrides: Mapping[str, str]
) -> tuple[tuple[CurveMetric, ...], tuple[CurveProtocol, ...]]:
    """Returns the metrics by name and the protocol of every curve they need, each once."""
    chosen = tuple(METRICS[name] for name in dict.fromkeys(metrics))
    curves = dict.fromkeys(curve for metric in chosen for curve in metric.curves)
    return chosen, tuple(protocol_for(preset, curve, overrides) for curve in curves)


def score_stream(
    images: Iterable[Image | Skipped],
    maps: Mapping[str, MapSource],
    passes: MaskedPasses,
    task: ScoreTask,
    *,
    keep_logits: bool = True,
) -> Generator[ScoredPart]:
    """Yields the scores of a stream of images, part by part, in constant memory.

    Planning (decoding, ranking, baselines) runs in threads ahead of the engine. No number depends on how images are
    grouped, batched or resumed. Without `keep_logits` a device that can reads them itself, equal to 1e-6.

    Raises:
        InputError: A map is missing or unusable, or an image lacks the label that the target rule asks for.
    """
    planned = in_order((partial(_plan, image, maps, task) for image in images), _planning_threads())
    for group in _parts(planned, task.passes_per_part):
        pairs = [(image, plan) for image, plan in group if isinstance(image, Image) and plan is not None]
        yield ScoredPart(
            first=group[0][0].index,
            next=group[-1][0].index + 1,
            images=tuple(_scored(passes, pairs, task, keep_logits)),
            skipped=tuple(image for image, _ in group if isinstance(image, Skipped)),
        )


def _planning_threads() -> int:
    # Half the cores, because an engine on the CPU wants them all and waits for its slowest thread.
    return max(1, min(MOST_PLANNING_THREADS, (os.cpu_count() or 1) // 2))


Planned = tuple[Image | Skipped, ImagePlan | None]


def _plan(image: Image | Skipped, maps: Mapping[str, MapSource], task: ScoreTask) -> Planned:
    if isinstance(image, Skipped):
        return image, None
    saliency = {name: source.load(image.id, image.pixels.shape[1:]) for name, source in maps.items()}
    for control in task.controls:
        saliency[control.name] = control.explain([image.id], image.pixels[None], np.zeros(1, np.int64))[0]
    return image, plan_image(image.pixels, saliency, task.protocols, task.preprocessing)


def _parts(planned: Iterable[Planned], passes_per_part: int) -> Iterator[list[Planned]]:
    group: list[Planned] = []
    total = 0
    for item in planned:
        group.append(item)
        total += len(item[1].work) if item[1] else 0
        if total >= passes_per_part:
            yield group
            group, total = [], 0
    if group:
        yield group


def _scored(
    passes: MaskedPasses, pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask, keep_logits: bool
) -> Iterator[ScoredImage]:
    """Yields the images of a part with their scores, from logits or from what the device read itself."""
    if not pairs:
        return
    plans, work, ends = _joined([plan for _, plan in pairs])
    single = task.target_rule != "label" or all(len(image.labels) == 1 for image, _ in pairs)
    if isinstance(passes, ReadingPasses) and not keep_logits and single and readable(task.readouts, task.calibrator):
        yield from _read_on_device(passes, pairs, task)
        return
    for (image, plan), logits in zip(pairs, np.split(passes.select(plans, work), ends), strict=True):
        targets = _targets(image, logits[plan.clean], task)
        scores = all_scores(image.id, plan.curves, logits, plan.perturbed_fraction, targets, task)
        yield ScoredImage(image=image, plan=plan, logits=logits, targets=targets, scores=scores)


def _read_on_device(
    passes: ReadingPasses, pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask
) -> Iterator[ScoredImage]:
    """The clean passes come first, with their logits: they say whose read-outs all others send."""
    plans, work, ends = _joined([plan for _, plan in pairs])
    clean = np.concatenate([[0], ends]) + [plan.clean for _, plan in pairs]
    logits = passes.select(plans, work[clean])
    targets = np.array([_targets(image, z, task)[0] for (image, _), z in zip(pairs, logits, strict=True)], np.int32)
    followed = np.repeat(targets, [len(plan.work) for _, plan in pairs])
    rest = np.setdiff1d(np.arange(len(work)), clean)
    values = np.empty((len(work), len(task.readouts)))
    asked = reading(task.readouts, followed[rest], calibrator=task.calibrator, activation=task.activation)
    values[rest] = passes.read(plans, work[rest], asked)
    for row, z, (_, plan), target in zip(clean, logits, pairs, targets, strict=True):
        fraction = plan.perturbed_fraction[[plan.clean]]
        values[row] = [value[0] for value in read_all(z[None], int(target), fraction, task).values()]
    for (image, plan), target, own in zip(pairs, targets, np.split(values, ends), strict=True):
        by_name = dict(zip(task.readouts, own.T, strict=True))
        scores = image_scores(image.id, plan.curves, by_name, int(target), task)
        yield ScoredImage(image=image, plan=plan, logits=None, targets=(int(target),), scores=scores)


def _joined(plans: Sequence[ImagePlan]) -> tuple[list[PerturbationPlan], Ints, np.ndarray]:
    """Returns the plans and the work of several images as one list each, and where in the work each next one begins."""
    offsets = np.cumsum([0, *(len(plan.plans) for plan in plans)])
    work = np.concatenate([plan.work + np.array([offset, 0]) for plan, offset in zip(plans, offsets[:-1], strict=True)])
    ends = np.cumsum([len(plan.work) for plan in plans])[:-1]
    return [p for plan in plans for p in plan.plans], work.astype(np.int32), ends


def _targets(image: Image, clean: Floats, task: ScoreTask) -> tuple[int, ...]:
    return target_classes(image.id, image.labels, image.target, clean, task.target_rule, task.activation)


def all_scores(
    image: str,
    curves: Sequence[CurveRequest],
    logits: Floats,
    perturbed_fraction: np.ndarray,
    targets: Iterable[int],
    task: ScoreTask,
) -> tuple[Score, ...]:
    """Returns every score of one image from its logits (P, K), for each of its targets in turn."""
    read_outs = ((target, read_all(logits, target, perturbed_fraction, task)) for target in targets)
    return tuple(row for target, values in read_outs for row in image_scores(image, curves, values, target, task))


def read_all(logits: Floats, target: int, perturbed_fraction: np.ndarray, task: ScoreTask) -> dict[str, Doubles]:
    """Returns every read-out of class `target` for logits (P, K), float64 (P,) each."""
    return {
        readout: read(
            readout,
            logits,
            target,
            calibrator=task.calibrator,
            perturbed_fraction=perturbed_fraction,
            activation=task.activation,
        )
        for readout in task.readouts
    }


def image_scores(
    image: str, curves: Sequence[CurveRequest], values: Mapping[str, Doubles], target: int, task: ScoreTask
) -> tuple[Score, ...]:
    """Returns every score of one image from the read-outs (P,) of its passes: methods × metrics × read-outs."""
    scores = []
    by_name = {(c.method, c.protocol.metric): c for c in curves}
    for readout, read_out in values.items():
        for method in dict.fromkeys(c.method for c in curves):
            for metric in task.metrics:
                needed = [by_name[method, name] for name in metric.curves]
                made = [Curve(fractions=c.fractions, values=read_out[c.passes]) for c in needed]
                scores.append(_row(image, metric, needed, metric.combine(tuple(made)), readout, target))
    return tuple(scores)


def _row(
    image: str, metric: CurveMetric, needed: Sequence[CurveRequest], curve: Curve, readout: str, target: int
) -> Score:
    first = needed[0]
    return Score(
        image=image,
        method=first.method,
        metric=metric.name,
        protocol=first.protocol.name,
        protocol_hash=first.protocol.hash(),
        readout=readout,
        target=target,
        value=curve.area(),
        curve=curve,
        passes=sum(len(c.passes) for c in needed),
        warnings=first.warnings,
    )
