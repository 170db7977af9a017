"""One curve's points as passes: from a map and a protocol to x and the passes to read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.perturb.baseline import running_mean
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.counts import point_counts, with_their_ties
from c2i_fast.perturb.order import pixel_order, step_map, tied_share
from c2i_fast.perturb.sets import Keys, growing, unit_keys
from c2i_fast.perturb.units import HasUnits, Units, grid_of, units_of
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Doubles, Floats, Ints, PerturbationPlan

TIES_WORTH_A_WARNING = 0.05

Partition = tuple[str, int | None, str]
"""Unit, size and grid: what makes the units of an image."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The units of one map in MoRF order.

    Attributes:
        values: (U,) their saliency.
        order: intp (U,).
        keys: (2, U), the units' keys in that order (`sets.py`).
        warnings: what makes the order doubtful, see `map_warnings`.
    """

    units: Units
    values: NDArray[np.floating[Any]]
    order: NDArray[np.intp]
    keys: Keys
    warnings: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class RankedMap:
    """A saliency map with the rankings that were asked for, each made once.

    Attributes:
        saliency: (*space), or (C, *space) where channels have maps of their own.
        partitions: units known for this image, shared by its maps.
    """

    saliency: Floats
    partitions: dict[Partition, Units] = field(default_factory=dict)
    _rankings: dict[tuple[Partition, str, str], Ranking] = field(default_factory=dict)

    def units(self, protocol: HasUnits, image: Floats) -> Units:
        """Returns the units that a protocol changes, made once an image."""
        key = (protocol.unit, protocol.unit_size, grid_of(protocol))
        if key not in self.partitions:
            self.partitions[key] = units_of(protocol, image)
        return self.partitions[key]

    def ranked(self, protocol: CurveProtocol, image: Floats) -> Ranking:
        """Returns the ranking that a protocol wants."""
        ties = "reverse-index" if protocol.ties == "reverse-index" else "index"
        partition = (protocol.unit, protocol.unit_size, protocol.unit_grid)
        key = (partition, protocol.unit_value, ties)
        if key not in self._rankings:
            units = self.units(protocol, image)
            values = units.pooled(self.saliency, protocol.unit_value)
            order = pixel_order(values, protocol.ties)
            self._rankings[key] = Ranking(
                units=units,
                values=values,
                order=order,
                keys=unit_keys(units, image.shape).take(order, axis=1),
                warnings=map_warnings(values, order),
            )
        return self._rankings[key]


def request_curve(book: Book, ranked: RankedMap, protocol: CurveProtocol) -> tuple[Doubles, Ints, tuple[str, ...]]:
    """Enters the scored points of a curve into the book; returns their x, their passes and the map's warnings."""
    image, from_image = book.image, protocol.start == "image"
    ranking = ranked.ranked(protocol, image)
    units = ranking.units
    order = ranking.order if protocol.order == "morf" else ranking.order[::-1]
    counts = point_counts(protocol, units.count, image.shape[-1])
    if protocol.ties == "together":
        counts = with_their_ties(counts, ranking.values[order])
    steps = units.spread(step_map(order, counts, order.shape)[0])
    other = _other_end(book, protocol, steps, len(counts) - 1)
    start, end = (image, other) if from_image else (other, image)
    plan = book.plan(PerturbationPlan(start=start, end=end, step_map=steps, intervals=len(counts) - 1))
    changed, places = units.held(order, counts), int(np.prod(units.places))
    fractions = (changed if from_image else places - changed) / places
    sets = _sets_at_baseline(ranking, protocol, counts)
    drifting = f"{protocol.canonical_baseline} of plan {plan}" if protocol.baseline.startswith("running-") else ""
    points = _scored(protocol, len(counts))
    passes = [
        book.step(
            plan,
            k,
            baseline=drifting or protocol.baseline,
            places=(int(sets[0, k]), int(sets[1, k])),
            fraction=float(fractions[k]),
        )
        for k in points
    ]
    return _x(protocol, changed / places)[points], np.asarray(passes, np.int32), ranking.warnings


def map_warnings(values: NDArray[np.floating[Any]], order: NDArray[np.intp]) -> tuple[str, ...]:
    """Returns what makes an order doubtful: a constant map, or more than 5 % of the units tied."""
    if values.size > 1 and values.min() == values.max():
        return ("constant map",)
    ties = tied_share(values, order)
    return (f"ties={ties:.2f}",) if ties > TIES_WORTH_A_WARNING else ()


def _other_end(book: Book, protocol: CurveProtocol, steps: NDArray[Any], intervals: int) -> Floats:
    if protocol.baseline == "running-mean":
        return running_mean(book.given, steps, intervals)
    return book.baseline(protocol.baseline)


def _sets_at_baseline(ranking: Ranking, protocol: CurveProtocol, counts: NDArray[np.int64]) -> Keys:
    """Returns the keys (2, n+1) of what shows the baseline at each point: what has changed, or all the rest."""
    everything = np.array([ranking.units.count])
    total = growing(ranking.keys, everything)
    changed = growing(ranking.keys if protocol.order == "morf" else ranking.keys[:, ::-1], counts)
    return changed if protocol.start == "image" else total ^ changed


def _scored(protocol: CurveProtocol, points: int) -> NDArray[np.intp]:
    first = protocol.ends in ("no-start", "neither")
    last = protocol.ends in ("no-end", "neither")
    return np.arange(int(first), points - int(last))


def _x(protocol: CurveProtocol, shares: Doubles) -> Doubles:
    index = np.arange(len(shares), dtype=np.float64)
    return {"fraction": shares, "step": index / max(len(shares) - 1, 1), "index": index}[protocol.x]
