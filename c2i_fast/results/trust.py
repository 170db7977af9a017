"""How far to trust a table of two or more methods: do images agree, and halves of them, and which pairs differ?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from c2i_fast.attribution import CONTROLS
from c2i_fast.metrics.base import METRICS
from c2i_fast.reliability.agreement import Agreement, agreement
from c2i_fast.reliability.compare import Pair, compare
from c2i_fast.reliability.consistency import internal_consistency, mean_inter_method, ranking_consistency
from c2i_fast.reliability.stability import Stability, split_half
from c2i_fast.results.summary import Cell
from c2i_fast.types import Doubles

FEWEST_METHODS = 4
THRESHOLD = 0.65  # of α: Tomsett et al. (AAAI 2020)
RESAMPLES = 2000
Group = tuple[str, str, str]
"""(metric, protocol, read-out)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """One metric and read-out over all methods and images.

    Attributes:
        agreement: α of the methods' ranks, images as raters.
        without_controls: the same without the controls, where they are among the methods and two others are left.
        inter_method: mean Spearman's ρ over images between methods.
        stability: split halves of the ranking of means.
        pairs: paired differences in the metric's own sign, with corrected tests.
        better: method → the methods it beats by the corrected test, in the metric's direction.
    """

    metric: str
    protocol: str
    readout: str
    agreement: Agreement
    without_controls: Agreement | None
    inter_method: float
    stability: Stability
    pairs: tuple[Pair, ...]
    better: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        other = self.without_controls
        return {
            "metric": self.metric,
            "protocol": self.protocol,
            "readout": self.readout,
            **self.agreement.to_dict(),
            "verdict": verdict(self.agreement),
            "without_controls": other.to_dict() | {"verdict": verdict(other)} if other else None,
            "inter_method": self.inter_method,
            "split_half": self.stability.to_dict(),
            "pairs": [pair.to_dict() for pair in self.pairs],
            "better": {method: list(beaten) for method, beaten in self.better.items()},
        }


def verdict(found: Agreement) -> str:
    """Returns what α allows to say: nothing under four methods, else by its 95 % interval and the threshold 0.65."""
    if found.methods < FEWEST_METHODS:
        return "no verdict: needs four methods"
    if found.ci95 is None:
        return "no verdict: too few images" if found.images < 3 else "no verdict: no method differs"
    if found.ci95[0] >= THRESHOLD:
        return "images agree"
    return "images disagree" if found.ci95[1] < THRESHOLD else "undecided"


def trust(cells: Mapping[Cell, Mapping[str, float]], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Trust]:
    """Returns one entry for each metric and read-out with two or more methods.

    Args:
        cells: from `values_by_cell`.
        resamples: of the bootstrap of α.
        seed: of the bootstrap and the halvings.
    """
    found = []
    for group, methods in _groups(cells).items():
        if len(methods) < 2:
            continue
        values = _matrix(cells, group, methods)
        scores = values * direction(group[0])
        own = [place for place, method in enumerate(methods) if method not in CONTROLS]
        pairs = tuple(compare(values, methods))
        entry = Trust(
            metric=group[0],
            protocol=group[1],
            readout=group[2],
            agreement=agreement(scores, resamples=resamples, seed=seed),
            without_controls=agreement(scores[own], resamples=resamples, seed=seed)
            if 2 <= len(own) < len(methods)
            else None,
            inter_method=mean_inter_method(scores),
            stability=split_half(scores, seed=seed),
            pairs=pairs,
            better=_better(pairs, methods, direction(group[0])),
        )
        found.append(entry)
    return found


def consistency(cells: Mapping[Cell, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Returns, for every two metrics of one read-out, how alike they order images and how alike they order methods."""
    found = []
    for (one, methods), (two, others) in combinations(_groups(cells).items(), 2):
        if one[2] != two[2] or methods != others:
            continue
        others_images = frozenset(_images(cells, two, methods))
        images = [image for image in _images(cells, one, methods) if image in others_images]
        first, second = (_matrix(cells, g, methods, images) * direction(g[0]) for g in (one, two))
        rankings = ranking_consistency(first, second)
        usable = rankings[np.isfinite(rankings)]
        entry = {
            "first": one[0],
            "second": two[0],
            "readout": one[2],
            "over_images": dict(zip(methods, internal_consistency(first, second).tolist(), strict=True)),
            "over_methods_mean": float(usable.mean()) if len(usable) else float("nan"),
        }
        found.append(entry)
    return found


def reliability(cells: Mapping[Cell, Mapping[str, float]]) -> dict[str, Any]:
    """Returns the key `reliability` of a command's JSON."""
    return {"metrics": [entry.to_dict() for entry in trust(cells)], "consistency": consistency(cells)}


def direction(metric: str) -> int:
    """Returns 1 where higher is better, else −1."""
    return 1 if METRICS[metric].higher_is_better else -1


def _groups(cells: Mapping[Cell, Mapping[str, float]]) -> dict[Group, list[str]]:
    groups: dict[Group, list[str]] = {}
    for method, *group in cells:
        groups.setdefault((group[0], group[1], group[2]), []).append(method)
    return groups


def _images(cells: Mapping[Cell, Mapping[str, float]], group: Group, methods: Sequence[str]) -> list[str]:
    """Returns the images that any of the methods has a value for."""
    return list(dict.fromkeys(image for method in methods for image in cells[(method, *group)]))


def _matrix(
    cells: Mapping[Cell, Mapping[str, float]], group: Group, methods: Sequence[str], images: Sequence[str] | None = None
) -> Doubles:
    """Returns (methods, images), NaN where a method has no value for an image."""
    images = _images(cells, group, methods) if images is None else images
    columns = [cells[(method, *group)] for method in methods]
    return np.array([[column.get(image, np.nan) for image in images] for column in columns])


def _better(pairs: Sequence[Pair], methods: Sequence[str], sign: int) -> dict[str, tuple[str, ...]]:
    beaten: dict[str, list[str]] = {method: [] for method in methods}
    for pair in pairs:
        if pair.separated():
            ahead = pair.difference.mean * sign > 0
            winner, loser = (pair.first, pair.second) if ahead else (pair.second, pair.first)
            beaten[winner].append(loser)
    return {method: tuple(names) for method, names in beaten.items()}
