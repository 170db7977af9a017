"""Scores beside the truth: how much of each map lies on the shape, and which score orders methods as that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2i_fast.data.map_source import MapSource
from c2i_fast.demo.tetromino import Tetrominoes
from c2i_fast.demo.truth import TRUTHS, Agreement, agreement
from c2i_fast.metrics import METRICS
from c2i_fast.reliability.intervals import Estimate, mean_interval
from c2i_fast.results.summary import Cell
from c2i_fast.types import Doubles, Floats

if TYPE_CHECKING:
    from c2i_fast.results.outcome import Outcome

ScoreKey = tuple[str, str]
"""(metric, read-out)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What the truth says of the maps, and of the scores.

    Attributes:
        maps: by method, float32 (N, H, W), in the order of the images.
        truth: measure → method → its mean over images.
        chance: either measure of a map that is equal everywhere, respectively of one that knows nothing.
        agreements: measure → score → how alike they order the methods.
    """

    maps: Mapping[str, Floats]
    truth: Mapping[str, Mapping[str, Estimate]]
    chance: float
    agreements: Mapping[str, Mapping[ScoreKey, Agreement]]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        methods = [
            {"name": name, "measure": measure, **estimate.to_dict()}
            for measure, estimates in self.truth.items()
            for name, estimate in estimates.items()
        ]
        tau = [
            {"measure": measure, "metric": metric, "readout": readout, **found.to_dict()}
            for measure, agreements in self.agreements.items()
            for (metric, readout), found in agreements.items()
        ]
        verdicts = {measure: verdict(agreements) for measure, agreements in self.agreements.items()}
        return {"methods": methods, "chance": self.chance, "tau": tau, "verdict": verdicts}


def verdict(agreements: Mapping[ScoreKey, Agreement]) -> str:
    """Returns half a sentence: which scores order the methods most like the truth, and which least.

    Example:
        >>> verdict({("gap", "raw"): Agreement(tau=0.5, ci95=(0.1, 0.8))})
        'every score equally, τ = 0.50 [0.10, 0.80]'
    """
    best, worst = (extreme(found.tau for found in agreements.values()) for extreme in (max, min))
    if best == worst:
        return f"every score equally, {_described(agreements, best)}"
    most, least = (f"{_named(agreements, tau)}, {_described(agreements, tau)}" for tau in (best, worst))
    return f"most by {most}; least by {least}"


def compare(outcome: Outcome, maps: Mapping[str, MapSource], images: Tetrominoes, *, seed: int) -> Comparison:
    """Returns what the truth says of a run and the maps it scored.

    Args:
        outcome: of the run.
        maps: by method.
        images: with their masks.
        seed: of the resampling behind the intervals of τ.
    """
    space = images.masks.shape[1:]
    loaded = {name: np.stack([source.load(image, space) for image in images.ids]) for name, source in maps.items()}
    keys = dict.fromkeys((metric, readout) for _, metric, _, readout in outcome.low)
    scores = {key: _signed(outcome.low, key, tuple(loaded), images.ids) for key in keys}
    truth = {
        measure: np.stack([of(values, images.masks) for values in loaded.values()]) for measure, of in TRUTHS.items()
    }
    return Comparison(
        maps=loaded,
        truth={
            measure: {name: mean_interval(row) for name, row in zip(loaded, values, strict=True)}
            for measure, values in truth.items()
        },
        chance=float(images.masks.mean()),
        agreements={
            measure: {key: agreement(score, values, seed=seed) for key, score in scores.items()}
            for measure, values in truth.items()
        },
    )


def _signed(
    cells: Mapping[Cell, Mapping[str, float]], key: ScoreKey, methods: Sequence[str], ids: Sequence[str]
) -> Doubles:
    """Returns the scores (methods, N), turned round where lower is better."""
    sign = 1 if METRICS[key[0]].higher_is_better else -1
    found = {method: values for (method, metric, _, readout), values in cells.items() if (metric, readout) == key}
    return sign * np.array([[found[method][image] for image in ids] for method in methods])


def _named(agreements: Mapping[ScoreKey, Agreement], tau: float) -> str:
    """Returns the scores that have this τ; a metric that has it under every read-out stands without them."""
    readouts = {readout for _, readout in agreements}
    having: dict[str, list[str]] = {}
    for (metric, readout), found in agreements.items():
        if found.tau == tau:
            having.setdefault(metric, []).append(readout)
    return ", ".join(
        metric if set(those) == readouts else f"{metric} ({', '.join(those)})" for metric, those in having.items()
    )


def _described(agreements: Mapping[ScoreKey, Agreement], tau: float) -> str:
    """Returns this τ with the widest ends of the intervals of those that have it."""
    lows, highs = zip(*(found.ci95 for found in agreements.values() if found.tau == tau), strict=True)
    return f"τ = {tau:.2f} [{min(lows):.2f}, {max(highs):.2f}]"
