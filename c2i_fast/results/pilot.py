"""A finished run as a pilot: how many images and passes would tell its methods apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from c2i_fast.errors import InputError, UsageError
from c2i_fast.reliability.power import FEWEST, Need, images_needed
from c2i_fast.results.run import RunDirectory
from c2i_fast.results.summary import COLUMNS, Cell, aligned, table_rows, values_by_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """What one pair of methods needs under one metric and read-out.

    Attributes:
        difference: the pilot's mean of first − second.
        passes, passes_upper: what scoring so many images costs, all methods and metrics of the run included.
    """

    metric: str
    protocol: str
    readout: str
    first: str
    second: str
    difference: float
    need: Need
    passes: int
    passes_upper: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        names = ("metric", "protocol", "readout", "first", "second", "difference")
        passes = {"passes": self.passes, "passes_upper": self.passes_upper}
        return {name: getattr(self, name) for name in names} | self.need.to_dict() | passes


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotPlan:
    """What `plan` answers.

    Attributes:
        images: the pilot's.
        passes_per_image: of the pilot.
        pairs: every pair of methods under every metric and read-out.
    """

    images: int
    passes_per_image: float
    pairs: tuple[PairPlan, ...]

    def hardest(self) -> tuple[PairPlan, ...]:
        """Returns, for each metric and read-out, the pair that needs most images."""
        worst: dict[tuple[str, str, str], PairPlan] = {}
        for pair in self.pairs:
            key = (pair.metric, pair.protocol, pair.readout)
            if key not in worst or pair.need.spread > worst[key].need.spread:
                worst[key] = pair
        return tuple(worst.values())


def plan_from(
    run: RunDirectory, detect: float, *, level: float = 0.05, power: float = 0.8, sure: float = 0.9
) -> PilotPlan:
    """Returns what the pairs of a run's methods need for a difference to be seen.

    Tests are corrected over the pairs of one metric and read-out. Runs in low precision speak of that precision.

    Args:
        run: the pilot; unfinished runs are pilots too.
        detect: the difference, in the metric's unit.
        level: of the tests of one metric and read-out together.
        power: of each test.
        sure: of the upper limits.

    Raises:
        InputError: There are fewer than two methods or five images.
    """
    infos = run.infos()
    images, passes = sum(i.images for i in infos), sum(i.run for i in infos)
    cells = values_by_cell(table_rows(run.read(columns=COLUMNS)))
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell[1:], []).append(cell)
    each = passes / images if images else 0.0
    pairs = [
        _pair(
            cells,
            first,
            second,
            detect,
            each,
            comparisons=len(group) * (len(group) - 1) // 2,
            level=level,
            power=power,
            sure=sure,
        )
        for group in groups.values()
        for first, second in combinations(group, 2)
    ]
    if not pairs:
        raise InputError(f"{run.path} has one method and no pairs; score two or more, for example with --controls")
    return PilotPlan(images=images, passes_per_image=each, pairs=tuple(pairs))


def _pair(
    cells: Mapping[Cell, Mapping[str, float]], first: Cell, second: Cell, detect: float, each: float, **test: Any
) -> PairPlan:
    one, two = aligned(cells[first], cells[second])
    differences = (one - two)[np.isfinite(one - two)]
    if len(differences) < FEWEST:
        raise InputError(f"a pilot needs at least {FEWEST} images, got {len(differences)}; score more (30 are a start)")
    try:
        need = images_needed(differences, detect, **test)
    except ValueError as error:
        raise UsageError(str(error)) from error
    method, metric, protocol, readout = first
    return PairPlan(
        metric=metric,
        protocol=protocol,
        readout=readout,
        first=method,
        second=second[0],
        difference=float(differences.mean()),
        need=need,
        passes=round(need.images * each),
        passes_upper=round(need.images_upper * each),
    )
