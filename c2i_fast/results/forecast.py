"""What a run will cost before it is begun: `score --dry-run`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from c2i_fast.data.source import Image
from c2i_fast.errors import InputError
from c2i_fast.export.open import open_passes
from c2i_fast.fewer import Fewer
from c2i_fast.perturb.plan import ImagePlan
from c2i_fast.results.estimate import SubsetSource, subset
from c2i_fast.results.scoring import Scoring
from c2i_fast.score import ScoreTask, maps_of, plan_measures
from c2i_fast.types import MaskedPasses

MOST_PLANNED = 200
SECONDS_TIMED = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The passes and the time of a run.

    Attributes:
        images: of the run.
        planned: of them, how many were really planned; the sums of the others are theirs in proportion.
        requested: points of all curves and other requests.
        run: masked images that will be forwarded, each once; under a tolerance at most about so many.
        passes_per_second: of this engine on the first image's passes.
        build_seconds: what opening it took.
    """

    images: int
    planned: int
    requested: int
    run: int
    passes_per_second: float
    build_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON of `score --dry-run`."""
        return {
            "dry_run": True,
            "images": self.images,
            "planned": self.planned,
            "passes": {"requested": self.requested, "shared": self.requested - self.run, "run": self.run},
            "passes_per_second": self.passes_per_second,
            "seconds": self.seconds,
            "build_seconds": self.build_seconds,
        }

    @property
    def seconds(self) -> float:
        """What the run will take, opening the engine apart."""
        return self.run / self.passes_per_second


def forecast(scoring: Scoring, *, workers: int = 2, advance: Callable[[int], None] = lambda images: None) -> Forecast:
    """Returns what a run will cost; nothing is written.

    All images are planned, or a random 200 of more: what is shared depends on the maps. Then the engine is opened and
    the first image's passes are timed for two seconds.

    Raises:
        InputError: No image can be read, or a map cannot be used.
    """
    total = len(scoring.source)
    chosen = subset(scoring.source.ids, min(total, MOST_PLANNED), scoring.settings.seed or 0)
    first: ImagePlan | None = None
    planned, requested, run = 0, 0, 0.0
    for image in SubsetSource(scoring.source, chosen).stream(workers=workers, on_error="skip"):
        advance(1)
        if isinstance(image, Image):
            plan = plan_measures(image, maps_of(image, scoring.maps, scoring.task), scoring.task)
            first = first or plan
            planned, requested, run = planned + 1, requested + plan.requested, run + _cost(plan, scoring.task)
    if first is None:
        raise InputError(f"none of the {len(chosen)} images that were tried could be read")
    clock = time.perf_counter()
    passes = open_passes(scoring.classifier, scoring.engine.config)
    passes.warm_up(scoring.task.protocols)
    built = time.perf_counter() - clock
    return Forecast(
        images=total,
        planned=planned,
        requested=round(requested * total / planned),
        run=round(run * total / planned),
        passes_per_second=_rate(passes, first),
        build_seconds=built,
    )


def _cost(plan: ImagePlan, task: ScoreTask) -> float:
    """Returns the passes of an image; under a tolerance those to be expected of the roughest curves."""
    whole = plan.passes - plan.extra
    return whole if task.tolerance is None else min(whole, Fewer.of(plan, task.measures, task.tolerance).most())


def _rate(passes: MaskedPasses, plan: ImagePlan) -> float:
    """Returns passes per second of one image's passes, over and over; those that no mask makes count as much."""
    passes.select(plan.plans, plan.work)
    done, clock = 0, time.perf_counter()
    while time.perf_counter() - clock < SECONDS_TIMED:
        passes.select(plan.plans, plan.work)
        done += len(plan.work)
    return done / (time.perf_counter() - clock)
