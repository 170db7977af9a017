"""Correlations over random subsets: faithfulness correlation, µFidelity and sensitivity-n.

Subsets are drawn for an image by (seed, image id, metric) and never by the method: all maps are asked the same
questions, whose passes they share.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.metrics.base import Asked, MapCase, Measured, Metric, metric
from c2i_fast.metrics.correlation import CorrelationProtocol, map_warning, relevance, with_clean
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.units import Units
from c2i_fast.protocols import Protocol
from c2i_fast.random_numbers import generator
from c2i_fast.types import Curve, Doubles, Ints

Drawn = tuple[list[NDArray[np.int64]], Ints]
"""Subsets of units, and their passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetProtocol(CorrelationProtocol):
    """Independent random subsets.

    Attributes:
        runs: how many.
        subset_size: how many units are in each of them; or
        share: each unit is in a subset with this probability.
    """

    kind: ClassVar[str] = "subsets"
    settable: ClassVar[tuple[str, ...]] = (*CorrelationProtocol.settable, "runs", "share", "subset_size")

    runs: int = 100
    subset_size: int | None = None
    share: float | None = None

    def implied(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the changes; `share` and `subset_size` replace each other."""
        other = {"share": {"subset_size": None}, "subset_size": {"share": None}}
        forgotten = {k: v for name in other if name in changes for k, v in other[name].items()}
        return {**forgotten, **CorrelationProtocol.implied(self, changes)}

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        if (self.subset_size is None) == (self.share is None):
            return f"subset_size={self.subset_size} and share={self.share} both say how large a subset is; set one"
        return CorrelationProtocol.clash(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityProtocol(CorrelationProtocol):
    """Random subsets of growing size.

    Attributes:
        runs: subsets of each size.
        sizes: how many sizes, from 1 to `largest` of the units in equal ratios, rounded; equal ones are one.
        largest: share of the units.
    """

    kind: ClassVar[str] = "sensitivity-n"
    settable: ClassVar[tuple[str, ...]] = (*CorrelationProtocol.settable, "largest", "runs", "sizes")

    runs: int = 100
    sizes: int = 8
    largest: float = 0.8

    def counts(self, units: int) -> NDArray[np.int64]:
        """Returns the sizes n, strictly increasing.

        Example:
            >>> SensitivityProtocol(name="x", metric="sensitivity-n", sizes=3).counts(125).tolist()
            [1, 10, 100]
        """
        most = max(1, int(self.largest * units))
        return np.unique(np.rint(np.geomspace(1, most, self.sizes)).astype(np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetMetric(Metric):
    """A correlation over subsets that no map has a say in."""

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the clean image and every subset's, with the map's relevance of the subset beside it."""
        protocol = protocols[0]
        assert isinstance(protocol, CorrelationProtocol)
        units = case.ranked.units(protocol, book.image)
        subsets, passes = book.once(
            (self.name, protocol.hash()),
            lambda: self.drawn(generator(case.seed, self.name, case.image.id), book, units, protocol),
        )
        values = units.pooled(case.saliency, "sum")
        sums = relevance(values, subsets)
        asked, x = with_clean(book.clean(), passes, sums)
        return Asked(passes=asked, x=x, warnings=map_warning(values, sums))

    @abstractmethod
    def drawn(self, rng: np.random.Generator, book: Book, units: Units, protocol: CorrelationProtocol) -> Drawn:
        """Returns the subsets of an image, after entering their passes into its book."""


@metric(
    "mu-fidelity",
    "rank correlation of the same over random cells of a grid (µFidelity, Bhatt 2020); higher is better",
    higher_is_better=True,
    bounds=(-1, 1),
)
@metric(
    "faithfulness-correlation",
    "Pearson correlation of a random subset's relevance and the drop without it (Bhatt 2020); higher is better",
    higher_is_better=True,
    bounds=(-1, 1),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class FaithfulnessCorrelation(SubsetMetric):
    """corr_S(Σ_{i∈S} φ_i, f(x) − f(x_S)) over subsets of one law (Bhatt, Weller & Moura, IJCAI 2020)."""

    def drawn(self, rng: np.random.Generator, book: Book, units: Units, protocol: CorrelationProtocol) -> Drawn:
        """Returns `runs` subsets of `subset_size` units, or of each unit with probability `share`."""
        assert isinstance(protocol, SubsetProtocol)
        if protocol.share is not None:
            chosen = rng.random((protocol.runs, units.count)) < protocol.share
            subsets = [np.flatnonzero(row) for row in chosen]
        else:
            size = fitting("subset_size", protocol.subset_size or 1, units.count)
            subsets = [rng.choice(units.count, size, replace=False, shuffle=False) for _ in range(protocol.runs)]
        passes = [book.removed_units(protocol.baseline, units, s, np.array([len(s)])) for s in subsets]
        return subsets, np.concatenate(passes)

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the correlation of the relevance beside each pass and its drop from the clean one."""
        protocol = protocols[0]
        assert isinstance(protocol, CorrelationProtocol)
        return Measured(value=protocol.value(asked.x[1:], values[0] - values[1:]))


@metric(
    "sensitivity-n",
    "the same correlation for random sets of n units, mean over n (Ancona 2018); higher is better",
    higher_is_better=True,
    bounds=(-1, 1),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityN(SubsetMetric):
    """corr_{|S|=n}(Σ_{i∈S} φ_i, f(x) − f(x_S)) for each n, and its mean over n (Ancona et al., ICLR 2018).

    The sets of one run are the first n units of one random order: of each size they are uniform, as the paper's are,
    and as one growing set they are one step map.
    """

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the clean image, once for each n with n's share of the units beside it, and every subset's."""
        protocol = protocols[0]
        assert isinstance(protocol, SensitivityProtocol)
        units = case.ranked.units(protocol, book.image)
        asked = SubsetMetric.request(self, case, book, protocols)
        counts = protocol.counts(units.count)
        return Asked(
            passes=np.concatenate([np.full(len(counts), asked.passes[0], np.int32), asked.passes[1:]]),
            x=np.concatenate([counts / units.count, asked.x[1:]]),
            warnings=asked.warnings,
        )

    def drawn(self, rng: np.random.Generator, book: Book, units: Units, protocol: CorrelationProtocol) -> Drawn:
        """Returns the first n units, for each n, of each of `runs` random orders."""
        assert isinstance(protocol, SensitivityProtocol)
        counts = protocol.counts(units.count)
        orders = [rng.permutation(units.count) for _ in range(protocol.runs)]
        passes = [book.removed_units(protocol.baseline, units, order, counts) for order in orders]
        return [order[:n] for order in orders for n in counts], np.concatenate(passes)

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the mean correlation, and the correlations over n / U as its curve."""
        protocol = protocols[0]
        assert isinstance(protocol, SensitivityProtocol)
        sizes = len(asked.x) // (protocol.runs + 1)
        sums, drops = asked.x[sizes:].reshape(-1, sizes), values[0] - values[sizes:].reshape(-1, sizes)
        found = np.array([protocol.value(sums[:, k], drops[:, k]) for k in range(sizes)])
        return Measured(value=float(found.mean()), curve=Curve(fractions=asked.x[:sizes], values=found))


def fitting(name: str, wanted: int, units: int) -> int:
    """Returns how many units are wanted, if there are so many.

    Raises:
        InputError: There are not.
    """
    if wanted > units:
        raise InputError(f"{name}={wanted} is more than the {units} units there are; set {name} to 1..{units}")
    return wanted
