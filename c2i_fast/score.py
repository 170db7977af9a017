"""The main path: images and maps → plans → masked passes → curves → scores. Read this first.

for each part of whole images:      (as few as reach `passes_per_part`)
    plan             every metric asks for its passes; equal masked images are one, whoever asks
    passes.select    the only fast part: full batches through the engine
    read             logits → the target's read-out, float64, as many read-outs as asked for
    measure          read-outs → the metric's value, and its curve
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.data.other_images import Elsewhere
from c2i_fast.data.source import Image, Skipped, in_order
from c2i_fast.errors import InputError
from c2i_fast.fewer import Fewer
from c2i_fast.metrics.base import Asked, MapCase, Measured
from c2i_fast.metrics.diagnostics import pass_warnings
from c2i_fast.metrics.measures import Measure, protocols_of
from c2i_fast.metrics.readout import read
from c2i_fast.metrics.target import target_classes
from c2i_fast.perturb.baseline import Given
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.curve import Partition, RankedMap
from c2i_fast.perturb.plan import ImagePlan, Request, closed
from c2i_fast.perturb.units import Units
from c2i_fast.protocols import Protocol
from c2i_fast.types import (
    Activation,
    Calibrator,
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
    from c2i_fast.data.region_source import RegionSource

PASSES_PER_PART = 1024
PASSES_PER_PART_ON_GPU = 65_536
MOST_PLANNING_THREADS = 4
MOST_IMAGES_PER_PART = 1024  # metrics that need no pass would else hold any number of images
USUAL_SHARE_OF_FEWER = 7  # of a curve's passes, about one in so many is run for a tolerance of 0.001
MOST_DIRECT_PER_PART = 256  # images that no mask makes are held whole until they are run


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTask:
    """What is to be measured, the same for every image.

    Attributes:
        measures: what is computed: metrics under their protocols.
        readouts: how logits become numbers.
        calibrator: for the read-out `calibrated`.
        controls: methods that look at no model, whose maps are made on the way.
        passes_per_part: images are worked on in groups that reach this many passes.
        seed: of whatever a metric or a baseline draws.
        regions: where the object of each image is, for metrics that need to know.
        tolerance: of mean areas over 1000 images; areas are then estimated from some of their points. None runs all.
        elsewhere: the baselines that are not made of the image itself.
    """

    measures: tuple[Measure, ...]
    readouts: tuple[str, ...]
    preprocessing: Preprocessing
    activation: Activation = "softmax"
    calibrator: Calibrator | None = None
    controls: tuple[Method, ...] = ()
    passes_per_part: int = PASSES_PER_PART
    seed: int = 0
    regions: RegionSource | None = None
    tolerance: float | None = None
    elsewhere: Elsewhere = field(default_factory=dict)

    def __post_init__(self) -> None:
        gains = [measure.metric.name for measure in self.measures if measure.metric.follows == "complement"]
        if gains and "logit" in self.readouts:
            raise InputError(f"{gains[0]} is of 1 − p, which a logit has not; leave out --readout logit, or the metric")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """Those of the measures, each once."""
        return protocols_of(self.measures)

    @property
    def target_rule(self) -> str:
        """Whose class is followed; one rule for all measures of a task."""
        return self.measures[0].protocol.target


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredImage:
    """One image's scores, and the passes they were read from.

    Attributes:
        logits: raw, float32 (P, K); None where they were not asked for and read-outs alone left the device.
        targets: the classes followed, one but for images of several labels under a sigmoid head.
        run: passes that were forwarded for its scores (the target's own, if it was one more, is not counted).
    """

    image: Image
    plan: ImagePlan
    logits: Floats | None
    targets: tuple[int, ...]
    scores: tuple[Score, ...]
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPart:
    """A group of whole images: `first` ≤ index < `next` of the source, those left out named in `skipped`."""

    first: int
    next: int
    images: tuple[ScoredImage, ...]
    skipped: tuple[Skipped, ...]


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
    for group in _parts(planned, task):
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
    return image, plan_measures(image, maps_of(image, maps, task), task)


def maps_of(image: Image, maps: Mapping[str, MapSource], task: ScoreTask) -> dict[str, Floats]:
    """Returns the maps of an image by method: those that are stored, and the controls'."""
    found = {name: source.load(image.id, image.pixels.shape[1:], len(image.pixels)) for name, source in maps.items()}
    for control in task.controls:
        found[control.name] = control.explain([image.id], image.pixels[None], np.zeros(1, np.int64))[0]
    return found


def plan_measures(image: Image, saliency: Mapping[str, Floats], task: ScoreTask) -> ImagePlan:
    """Returns the passes that serve every method, metric and end of one image."""
    if task.regions is not None:
        image = replace(image, region=task.regions.load(image.id))
    elsewhere = {name: partial(load, image.id) for name, load in task.elsewhere.items()}
    given = Given(
        pixels=image.pixels, preprocessing=task.preprocessing, image=image.id, seed=task.seed, elsewhere=elsewhere
    )
    book, partitions = Book(given=given), dict[Partition, Units]()
    requests = []
    for method, values in saliency.items():
        ranked = RankedMap(saliency=values, partitions=partitions)
        case = MapCase(image=image, method=method, ranked=ranked, seed=task.seed)
        requests += [measure.request(case, book) for measure in task.measures]
    return closed(book, [request for request in requests if request is not None])


def _parts(planned: Iterable[Planned], task: ScoreTask) -> Iterator[list[Planned]]:
    group: list[Planned] = []
    total = 0
    for item in planned:
        group.append(item)
        total += _weight(item[1], task) if item[1] else 0
        if total >= task.passes_per_part or len(group) >= MOST_IMAGES_PER_PART:
            yield group
            group, total = [], 0
    if group:
        yield group


def _weight(plan: ImagePlan, task: ScoreTask) -> int:
    """Returns what an image counts for in its part; known before any pass, so that parts are the same on resuming."""
    masked = len(plan.work) if task.tolerance is None else max(1, len(plan.work) // USUAL_SHARE_OF_FEWER)
    return masked + len(plan.direct) * max(1, task.passes_per_part // MOST_DIRECT_PER_PART)


def _scored(
    passes: MaskedPasses, pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask, keep_logits: bool
) -> Iterator[ScoredImage]:
    """Yields the images of a part with their scores, from logits or from what the device read itself."""
    if not pairs:
        return
    if task.tolerance is not None:
        from c2i_fast.score_by_fewer import scored_by_fewer

        yield from scored_by_fewer(passes, pairs, task, task.tolerance)
        return
    if isinstance(passes, ReadingPasses) and not keep_logits:
        from c2i_fast.score_on_device import device_can_read, scored_on_device

        if device_can_read(pairs, task):
            yield from scored_on_device(passes, pairs, task)
            return
    plans, work, ends = joined([plan for _, plan in pairs])
    masked = np.split(passes.select(plans, work), ends)
    for (image, plan), own, direct in zip(pairs, masked, direct_logits(passes, pairs), strict=True):
        logits = np.concatenate([own, direct]) if len(direct) else own
        targets = targets_of(image, logits[plan.clean], task)
        scores = image_scores(image.id, plan.requests, logits, plan.perturbed_fraction, targets, task)
        run = plan.passes - plan.extra
        yield ScoredImage(image=image, plan=plan, logits=logits, targets=targets, scores=scores, run=run)


def direct_logits(passes: MaskedPasses, pairs: Sequence[tuple[Image, ImagePlan]]) -> list[Floats]:
    """Returns the logits (D, K) of every image's passes that no mask makes."""
    images = [image for _, plan in pairs for image in plan.direct]
    if not images:
        return [np.empty((0, 0), np.float32)] * len(pairs)
    ends = np.cumsum([len(plan.direct) for _, plan in pairs])[:-1]
    return np.split(passes.direct(images), ends)


def joined(plans: Sequence[ImagePlan]) -> tuple[list[PerturbationPlan], Ints, np.ndarray]:
    """Returns the plans and the work of several images as one list each, and where in the work each next one begins."""
    offsets = np.cumsum([0, *(len(plan.plans) for plan in plans)])
    work = np.concatenate([plan.work + np.array([offset, 0]) for plan, offset in zip(plans, offsets[:-1], strict=True)])
    ends = np.cumsum([len(plan.work) for plan in plans])[:-1]
    return [p for plan in plans for p in plan.plans], work.astype(np.int32), ends


def targets_of(image: Image, clean: Floats, task: ScoreTask) -> tuple[int, ...]:
    """Returns the classes to follow on an image, from the raw logits (K,) of its clean pass."""
    return target_classes(image.id, image.labels, image.target, clean, task.target_rule, task.activation)


Readings = Mapping[tuple[str, str], Doubles]
"""(read-out, `value` or `complement`) → float64 (P,)."""


def read_all(
    logits: Floats, target: int, perturbed_fraction: Doubles, task: ScoreTask, follows: Iterable[str]
) -> Readings:
    """Returns every read-out of class `target` for logits (P, K), and one less it where `follows` says so."""
    return {
        (readout, what): read(
            readout,
            logits,
            target,
            calibrator=task.calibrator,
            perturbed_fraction=perturbed_fraction,
            activation=task.activation,
            complement=what == "complement",
        )
        for what in follows
        for readout in task.readouts
    }


def image_scores(
    image: str,
    requests: Sequence[Request],
    logits: Floats,
    fractions: Doubles,
    targets: Iterable[int],
    task: ScoreTask,
) -> tuple[Score, ...]:
    """Returns every score of one image from the logits (P, K) and λ (P,) of its passes, for each target in turn."""
    follows = {measure.metric.follows for measure in task.measures} - {"nothing"}
    readings = ((target, read_all(logits, target, fractions, task, follows)) for target in targets)
    return tuple(row for target, values in readings for row in measured(image, requests, values, target, task))


def measured(
    image: str,
    requests: Sequence[Request],
    readings: Readings,
    target: int,
    task: ScoreTask,
    fewer: Fewer | None = None,
) -> tuple[Score, ...]:
    """Returns every score of one image from the read-outs of its passes: read-outs × methods × metrics.

    With `fewer`, areas are estimated from those passes that were run.
    """
    by_name = {(measure.metric.name, measure.protocols): measure for measure in task.measures}
    scores = []
    for readout in task.readouts:
        for number, request in enumerate(requests):
            measure = by_name[request.metric, request.protocols]
            if measure.metric.follows != "nothing":
                values = readings[readout, measure.metric.follows]
                found = fewer.measure(number, measure, values) if fewer else None
                points = fewer.points(number) if fewer and found else len(request.passes)
                found = found or _measure(measure, request, values[request.passes])
                said = pass_warnings(readout, request.protocols, request.lengths, values[request.passes])
                scores.append(_row(image, request, found, readout, target, points, tuple(said)))
            elif readout == task.readouts[0]:  # no read-out enters, so there is one row and not one for each
                scores.append(_row(image, request, _measure(measure, request, request.x), "none", target, 0))
    return tuple(scores)


def _measure(measure: Measure, request: Request, values: Doubles) -> Measured:
    asked = Asked(passes=request.passes, x=request.x, lengths=request.lengths)
    return measure.metric.measure(asked, values, measure.protocols)


def _row(
    image: str,
    request: Request,
    found: Measured,
    readout: str,
    target: int,
    points: int,
    warnings: tuple[str, ...] = (),
) -> Score:
    return Score(
        image=image,
        method=request.method,
        metric=request.metric,
        protocol=request.protocol.name,
        protocol_hash=request.protocol.hash(),
        readout=readout,
        target=target,
        value=found.value,
        curve=found.curve,
        passes=points,
        warnings=(*request.warnings, *warnings),
        half_difference=found.half_difference,
    )
