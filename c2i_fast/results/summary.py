"""From the rows of a run to its table: means, intervals, the paired lift over a control."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from c2i_fast.attribution import OPTIMISES
from c2i_fast.reliability.intervals import Estimate, corrected_mean, mean_interval, paired
from c2i_fast.reliability.numeric import numeric_interval
from c2i_fast.types import Doubles, Score

if TYPE_CHECKING:
    import pyarrow as pa

FLOOR = "smooth-random"
"""The control that lifts are measured against: smooth as maps are, and blind to the image."""

HALF = "half_difference"
COLUMNS = ("image", "method", "metric", "protocol", "readout", "value")
Cell = tuple[str, str, str, str]
"""(method, metric, protocol, read-out)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One line of the table.

    Attributes:
        score: the mean over images, in the precision the run was scored in.
        lift: the paired difference to `smooth-random`, where that is among the methods.
        corrected: in low precision, the fp32 mean estimated from the subset scored twice.
        numeric: of values estimated from some of their points, the interval for the mean of the full protocol on these
            images; the interval of `score` is over images, and has this error in it already.
    """

    method: str
    metric: str
    protocol: str
    readout: str
    score: Estimate
    lift: Estimate | None = None
    corrected: Estimate | None = None
    numeric: Estimate | None = None

    @property
    def optimised(self) -> bool:
        """Whether the method optimises this very metric, so that the number is no independent judge of it."""
        return self.metric in OPTIMISES.get(self.method, ())

    def to_dict(self) -> dict[str, Any]:
        """Returns the row as JSON."""
        row = {"method": self.method, "metric": self.metric, "protocol": self.protocol, "readout": self.readout}
        row |= self.score.to_dict()
        marks = {"optimised": True} if self.optimised else {}
        extra = {"lift": self.lift, "corrected": self.corrected, "numeric": self.numeric}
        return row | marks | {name: estimate.to_dict() for name, estimate in extra.items() if estimate}


def values_by_cell(rows: Iterable[tuple[Any, ...]]) -> dict[Cell, dict[str, float]]:
    """Returns image → value for every (method, metric, protocol, read-out), in the order they first appear.

    The value of an image that was followed for several labels is the mean over them: images count alike, and the
    intervals are over images, whose labels share their passes and are not independent.

    Args:
        rows: tuples in the order of `COLUMNS`; `table_rows` and `score_rows` make them.
    """
    cells: dict[Cell, dict[str, list[float]]] = {}
    for image, method, metric, protocol, readout, value in rows:
        cells.setdefault((method, metric, protocol, readout), {}).setdefault(image, []).append(value)
    return {cell: {image: sum(own) / len(own) for image, own in values.items()} for cell, values in cells.items()}


def table_rows(table: pa.Table, value: str = "value") -> Iterable[tuple[Any, ...]]:
    """Returns the rows of a run's table for `values_by_cell`, with another column in the value's place if so told."""
    return zip(*(table[name].to_pylist() for name in (*COLUMNS[:-1], value)), strict=True)


def score_rows(scores: Iterable[Score], value: str = "value") -> Iterable[tuple[Any, ...]]:
    """Returns scores as rows for `values_by_cell`, with another attribute in the value's place if so told."""
    return ((s.image, s.method, s.metric, s.protocol, s.readout, getattr(s, value)) for s in scores)


def summarise(
    cells: Mapping[Cell, Mapping[str, float]],
    reference: Mapping[Cell, Mapping[str, float]] | None = None,
    halves: Mapping[Cell, Mapping[str, float]] | None = None,
) -> list[SummaryRow]:
    """Returns one row for each cell.

    Args:
        cells: values by image.
        reference: fp32 values of a subset of the images.
        halves: half-differences by image; cells where all are 0 are exact.
    """
    rows = [_row(cell, values, cells, (reference or {}).get(cell)) for cell, values in cells.items()]
    found = ((halves or {}).get(cell, {}) for cell in cells)
    numerics = (_numeric(values, own) for values, own in zip(cells.values(), found, strict=True))
    return [replace(row, numeric=numeric) for row, numeric in zip(rows, numerics, strict=True)]


def _numeric(values: Mapping[str, float], halves: Mapping[str, float]) -> Estimate | None:
    return numeric_interval(_array(values), _array(halves)) if any(halves.values()) else None


def _row(
    cell: Cell,
    values: Mapping[str, float],
    cells: Mapping[Cell, Mapping[str, float]],
    reference: Mapping[str, float] | None,
) -> SummaryRow:
    method, metric, protocol, readout = cell
    floor = cells.get((FLOOR, *cell[1:])) if method != FLOOR else None
    lift = paired(*aligned(values, floor)) if floor else None
    corrected = corrected_mean(_array(values), *aligned(values, reference)) if reference else None
    return SummaryRow(
        method=method,
        metric=metric,
        protocol=protocol,
        readout=readout,
        score=mean_interval(_array(values)),
        lift=lift,
        corrected=corrected,
    )


def aligned(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[Doubles, Doubles]:
    """Returns the values of the images both have, in one order."""
    shared = [image for image in first if image in second]
    return np.array([first[i] for i in shared]), np.array([second[i] for i in shared])


def _array(values: Mapping[str, float]) -> Doubles:
    return np.fromiter(values.values(), np.float64, len(values))
