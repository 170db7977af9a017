"""Faithfulness estimate: the correlation of relevance and drop over units removed one at a time, not cumulatively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.metrics.base import Asked, MapCase, Measured, Metric, metric
from c2i_fast.metrics.correlation import CorrelationProtocol, map_warning, relevance, with_clean
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.order import pixel_order
from c2i_fast.protocols import Protocol
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProtocol(CorrelationProtocol):
    """Groups of units, each removed on its own.

    Attributes:
        group_size: how many units go at one go, taken in MoRF order with stable ties; the last group may be short.
        samples: how many groups at most, a seeded choice of all.
    """

    kind: ClassVar[str] = "groups"
    settable: ClassVar[tuple[str, ...]] = (*CorrelationProtocol.settable, "group_size", "samples")

    group_size: int = 1
    samples: int | None = None


def groups_of(
    unit_values: NDArray[np.floating], protocol: GroupProtocol, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Returns the groups of units (U,) that are removed, one after the other.

    Single units are taken in the order of their index, which no map has a say in, so that maps share their passes.

    Example:
        >>> protocol = GroupProtocol(name="x", metric="faithfulness-estimate", group_size=2)
        >>> [group.tolist() for group in groups_of(np.array([0.1, 0.9, 0.5]), protocol, np.random.default_rng(0))]
        [[1, 2], [0]]
    """
    size = protocol.group_size
    order = np.arange(len(unit_values)) if size == 1 else pixel_order(unit_values)
    number = -(-len(order) // size)
    if protocol.samples is None or protocol.samples >= number:
        chosen = np.arange(number)
    else:
        chosen = np.sort(rng.choice(number, protocol.samples, replace=False, shuffle=False))
    return [order[k * size : (k + 1) * size] for k in chosen]


@metric(
    "faithfulness-estimate",
    "correlation of units' relevance and the drop without each alone (Alvarez-Melis & Jaakkola 2018); higher is better",
    higher_is_better=True,
    bounds=(-1, 1),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class FaithfulnessEstimate(Metric):
    """corr_g(Σ_{i∈g} φ_i, f(x) − f(x_g)) over groups g (Alvarez-Melis & Jaakkola, NeurIPS 2018).

    With single pixels it is the F of Tomsett et al. (AAAI 2020).
    """

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the clean image and that without each group, with the group's relevance beside it."""
        protocol = protocols[0]
        assert isinstance(protocol, GroupProtocol)
        units = case.ranked.units(protocol, book.image)
        values = units.pooled(case.saliency, "sum")
        groups = groups_of(values, protocol, generator(case.seed, self.name, case.image.id))
        removed = [book.removed_units(protocol.baseline, units, g, np.array([len(g)])) for g in groups]
        sums = relevance(values, groups)
        passes, x = with_clean(book.clean(), np.concatenate(removed), sums)
        return Asked(passes=passes, x=x, warnings=map_warning(values, sums))

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the correlation of the relevance beside each pass and its drop from the clean one."""
        protocol = protocols[0]
        assert isinstance(protocol, GroupProtocol)
        return Measured(value=protocol.value(asked.x[1:], values[0] - values[1:]))
