"""Scoring with `--tolerance`: some of each curve's passes in two rounds through the engine; see `fewer.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from c2i_fast.data.source import Image
from c2i_fast.fewer import Fewer
from c2i_fast.metrics.readout import read
from c2i_fast.perturb.plan import ImagePlan
from c2i_fast.score import Readings, ScoredImage, ScoreTask, direct_logits, joined, measured, read_all, targets_of
from c2i_fast.types import Doubles, Floats, Ints, MaskedPasses, PerturbationPlan, Score


def scored_by_fewer(
    passes: MaskedPasses, pairs: Sequence[tuple[Image, ImagePlan]], task: ScoreTask, tolerance: float
) -> Iterator[ScoredImage]:
    """Two rounds through the engine: the coarse points of all images, then what is drawn by them."""
    plans, work, ends = joined([plan for _, plan in pairs])
    starts = np.concatenate([[0], ends]).astype(np.int64)
    direct = direct_logits(passes, pairs)
    fewer = [Fewer.of(plan, task.measures, tolerance) for _, plan in pairs]
    first = _run(passes, plans, work, starts, [own.first() for own in fewer])
    targets = [
        targets_of(image, logits[chosen == plan.clean][0], task)
        for (image, plan), (chosen, logits) in zip(pairs, first, strict=True)
    ]
    for own, (image, plan), (chosen, logits), followed in zip(fewer, pairs, first, targets, strict=True):
        probability = read("raw", logits, followed[0], activation=task.activation)
        own.draw(image.id, _spread(chosen, probability, plan), task.seed)
    then = _run(passes, plans, work, starts, [own.then() for own in fewer])
    for own, (image, plan), one, two, made, followed in zip(fewer, pairs, first, then, direct, targets, strict=True):
        chosen = np.concatenate([one[0], two[0], len(plan.work) + np.arange(len(made))])
        logits = np.concatenate([part for part in (one[1], two[1], made) if len(part)])
        scores: list[Score] = []
        for target in followed:
            readings = _readings(chosen, logits, target, plan, task)
            scores += measured(image.id, plan.requests, readings, target, task, own)
        run = len(chosen) - plan.extra
        yield ScoredImage(image=image, plan=plan, logits=None, targets=followed, scores=tuple(scores), run=run)


def _run(
    passes: MaskedPasses, plans: Sequence[PerturbationPlan], work: Ints, starts: np.ndarray, chosen: Sequence[Ints]
) -> list[tuple[Ints, Floats]]:
    """Returns the logits of some of each image's masked passes, with their numbers, all images in one go."""
    masked = [own[own < size] for own, size in zip(chosen, np.diff(np.append(starts, len(work))), strict=True)]
    rows = np.concatenate([own + start for own, start in zip(masked, starts, strict=True)])
    logits = passes.select(plans, work[rows]) if len(rows) else np.empty((0, 0), np.float32)
    return list(zip(masked, np.split(logits, np.cumsum([len(own) for own in masked])[:-1]), strict=True))


def _spread(chosen: Ints, values: Doubles, plan: ImagePlan) -> Doubles:
    """Returns values of some passes at their places among all, NaN elsewhere."""
    spread = np.full(plan.passes, np.nan)
    spread[chosen] = values
    return spread


def _readings(chosen: Ints, logits: Floats, target: int, plan: ImagePlan, task: ScoreTask) -> Readings:
    """Returns the read-outs (P,) of an image of which some passes were run."""
    follows = {measure.metric.follows for measure in task.measures} - {"nothing"}
    found = read_all(logits, target, plan.perturbed_fraction[chosen], task, follows)
    return {name: _spread(chosen, values, plan) for name, values in found.items()}
