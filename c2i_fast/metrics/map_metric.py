"""Metrics read off a map, with or without a region, that need no pass: one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from c2i_fast.metrics.base import METRICS, Asked, Follows, MapCase, Measured, Metric
from c2i_fast.metrics.otsu import check_installed, takes_otsu
from c2i_fast.perturb.book import Book
from c2i_fast.protocols import Protocol
from c2i_fast.types import Doubles

Function = Callable[..., float | None]
"""(saliency, protocol) → value, or (saliency, region, protocol) → value or None where an image has no answer."""

F = TypeVar("F", bound=Function)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapMetric(Metric):
    """A number of a map; its rows have the read-out `none`.

    A map with a channel axis is summed over its channels first.

    Attributes:
        function: takes the saliency in float64, the region where the metric needs one, and the protocol.
    """

    function: Function
    follows: Follows = "nothing"

    def check(self, protocols: Sequence[Protocol]) -> None:
        """Raises a `MissingDependencyError` where Otsu's threshold is wanted and scikit-image is not there."""
        if takes_otsu(protocols[0]):
            check_installed()

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked | None:
        """Returns no passes, and the value; None where the image has no region, or no answer."""
        saliency = case.saliency.astype(np.float64)
        if saliency.ndim == case.image.pixels.ndim:
            saliency = saliency.sum(0)
        if "region" not in self.needs:
            value = self.function(saliency, protocols[0])
        elif case.image.region is None:
            value = None
        else:
            value = self.function(saliency, case.image.region, protocols[0])
        if value is None:
            return None
        return Asked(passes=np.empty(0, np.int32), x=np.array([value]), warnings=doubts(saliency))

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the value."""
        return Measured(value=float(values[0]))


def doubts(saliency: Doubles) -> tuple[str, ...]:
    """Returns what a reader should know of a map.

    Example:
        >>> doubts(np.array([-1.0, -2.0])), doubts(np.zeros(2))
        (('no positive relevance',), ('constant map',))
    """
    low, high = saliency.min(), saliency.max()
    if saliency.size > 1 and low == high:
        return ("constant map",)
    return ("no positive relevance",) if high <= 0 else ()


def map_metric(
    name: str, summary: str, *, higher_is_better: bool, bounds: tuple[float, float], needs: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Returns a decorator that registers a function of a map.

    Args:
        name: of the metric, and of its protocol in a preset.
        summary: the line that `c2i-fast list metrics` prints.
        higher_is_better: the direction of a better map.
        bounds: of the value.
        needs: `("region",)` for a function of the map and a region.
    """

    def register(function: F) -> F:
        made = MapMetric(name=name, function=function, higher_is_better=higher_is_better, bounds=bounds, needs=needs)
        METRICS.add(name, made, summary)
        return function

    return register
