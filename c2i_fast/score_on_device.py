"""Scoring where logits need not leave the device: a few floats a pass come back instead of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from c2i_fast.data.source import Image
from c2i_fast.metrics.readout import readable, reading
from c2i_fast.perturb.plan import ImagePlan
from c2i_fast.score import ScoredImage, ScoreTask, direct_logits, joined, measured, read_all, targets_of
from c2i_fast.types import Doubles, Floats, ReadingPasses


def device_can_read(pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask) -> bool:
    """Returns whether a device can do the reading: of one target an image, and never of 1 − p."""
    single = task.target_rule != "label" or all(len(image.labels) == 1 for image, _ in pairs)
    follows = {measure.metric.follows for measure in task.measures}
    return single and "complement" not in follows and readable(task.readouts, task.calibrator, per_pass=True)


def scored_on_device(
    passes: ReadingPasses, pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask
) -> Iterator[ScoredImage]:
    """The clean passes come first, with their logits: they say whose read-outs all others send."""
    plans, work, ends = joined([plan for _, plan in pairs])
    clean = np.concatenate([[0], ends]) + [plan.clean for _, plan in pairs]
    logits = passes.select(plans, work[clean])
    targets = np.array([targets_of(image, z, task)[0] for (image, _), z in zip(pairs, logits, strict=True)], np.int32)
    followed = np.repeat(targets, [len(plan.work) for _, plan in pairs])
    rest = np.setdiff1d(np.arange(len(work)), clean)
    values = np.empty((len(work), len(task.readouts)))
    fractions = np.concatenate([plan.perturbed_fraction[: len(plan.work)] for _, plan in pairs])
    asked = reading(
        task.readouts,
        followed[rest],
        calibrator=task.calibrator,
        activation=task.activation,
        perturbed_fraction=fractions[rest],
    )
    values[rest] = passes.read(plans, work[rest], asked)
    values[clean] = [_row_of(z[None], int(t), np.zeros(1), task)[0] for z, t in zip(logits, targets, strict=True)]
    owns = zip(pairs, targets, np.split(values, ends), direct_logits(passes, pairs), strict=True)
    for (image, plan), target, own, direct in owns:
        if len(direct):
            shares = plan.perturbed_fraction[len(plan.work) :]
            own = np.concatenate([own, _row_of(direct, int(target), shares, task)])
        by_name = {(name, "value"): column for name, column in zip(task.readouts, own.T, strict=True)}
        scores = measured(image.id, plan.requests, by_name, int(target), task)
        run = plan.passes - plan.extra
        yield ScoredImage(image=image, plan=plan, logits=None, targets=(int(target),), scores=scores, run=run)


def _row_of(logits: Floats, target: int, fractions: Doubles, task: ScoreTask) -> Doubles:
    """Returns every read-out of some passes, (P, R)."""
    readings = read_all(logits, target, fractions, task, ("value",))
    return np.stack([readings[name, "value"] for name in task.readouts], axis=1)
