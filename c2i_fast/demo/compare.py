"""Scores beside the truth: how much of each map lies on the shape, and which score orders methods as that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from c2i_fast.data.map_source import MapSource
from c2i_fast.demo.tetromino import Tetrominoes
from c2i_fast.demo.truth import Agreement, agreement, mass_accuracy
from c2i_fast.metrics import METRICS
from c2i_fast.reliability.intervals import Estimate, mean_interval
from c2i_fast.results.summary import Cell
from c2i_fast.types import Doubles, Floats

if TYPE_CHECKING:
    from c2i_fast.results.scoring import Outcome

ScoreKey = tuple[str, str]
"""(metric, read-out)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What the table and its last sentence are made of.

    Attributes:
        maps: by method, float32 (N, H, W), in the order of the images.
        truth: by method, the mean mass accuracy of its maps.
        uniform: the mass accuracy of a map that is equal everywhere.
        agreements: of each metric and read-out with the truth.
    """

    maps: Mapping[str, Floats]
    truth: Mapping[str, Estimate]
    uniform: float
    agreements: Mapping[ScoreKey, Agreement]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {
            "truth": [
                {"method": name, "measure": "mass-accuracy", **estimate.to_dict()}
                for name, estimate in self.truth.items()
            ],
            "uniform_mass_accuracy": self.uniform,
            "tau": [
                {"metric": metric, "readout": readout, **found.to_dict()}
                for (metric, readout), found in self.agreements.items()
            ],
            "verdict": self.verdict(),
        }

    def verdict(self) -> str:
        """Returns one sentence: which score orders the methods most like the truth, and which least."""
        order = sorted(self.agreements, key=lambda key: -self.agreements[key].tau)
        best, worst = order[0], order[-1]
        if self.agreements[best].tau == self.agreements[worst].tau:
            which = f"All scores order the {len(self.truth)} methods equally like the truth: {self._tau(best)}"
        else:
            ties = [_name(key) for key in order if self.agreements[key].tau == self.agreements[best].tau]
            which = (
                f"The order of the {len(self.truth)} methods by {' and by '.join(ties)} is most like the truth's: "
                f"{self._tau(best)}; by {_name(worst)} least: {self._tau(worst)}"
            )
        return f"{which} (1 is the same order, 0 an unrelated one)."

    def _tau(self, key: ScoreKey) -> str:
        found = self.agreements[key]
        return f"Kendall's τ = {found.tau:.2f} [{found.ci95[0]:.2f}, {found.ci95[1]:.2f}]"


def compare(outcome: Outcome, maps: Mapping[str, MapSource], images: Tetrominoes, *, seed: int) -> Comparison:
    """Returns the scores of a run beside the mass accuracy of the maps it scored.

    Args:
        outcome: of the run.
        maps: by method.
        images: with their masks.
        seed: of the resampling behind the intervals of τ.
    """
    space = images.masks.shape[1:]
    loaded = {name: np.stack([source.load(image, space) for image in images.ids]) for name, source in maps.items()}
    inside = {name: mass_accuracy(values, images.masks) for name, values in loaded.items()}
    truth = np.stack(list(inside.values()))
    keys = dict.fromkeys((metric, readout) for _, metric, _, readout in outcome.low)
    scores = {key: _signed(outcome.low, key, tuple(inside), images.ids) for key in keys}
    return Comparison(
        maps=loaded,
        truth={name: mean_interval(values) for name, values in inside.items()},
        uniform=float(images.masks.mean()),
        agreements={key: agreement(values, truth, seed=seed) for key, values in scores.items()},
    )


def _signed(
    cells: Mapping[Cell, Mapping[str, float]], key: ScoreKey, methods: Sequence[str], ids: Sequence[str]
) -> Doubles:
    """Returns the scores (methods, N), turned round where lower is better."""
    sign = 1 if METRICS[key[0]].higher_is_better else -1
    found = {method: values for (method, metric, _, readout), values in cells.items() if (metric, readout) == key}
    return sign * np.array([[found[method][image] for image in ids] for method in methods])


def _name(key: ScoreKey) -> str:
    return f"{key[0]} ({key[1]})"
