"""ROAD, remove and debias (Rong et al., ICML 2022): the change of the read-out when pixels are removed and imputed.

For percentages q the q % most (MoRF) or least (LeRF) relevant pixels are imputed from the rest (`imputer.py`), and
Gaussian noise is added to them. Each value is the mean over q of f(x_q) − f(x); the combined score is (LeRF − MoRF)/2,
as pytorch-grad-cam's. The paper plots accuracy over q; a mean change needs no label and is a number for each image.

Noise depends on (seed, image, percentage) and not on the method or the order: all maps meet the same noise, so their
differences carry less of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.metrics.base import Asked, MapCase, Measured, Metric, metric
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.imputer import impute
from c2i_fast.perturb.order import pixel_order
from c2i_fast.perturb.sets import key_of
from c2i_fast.protocols import CurveProtocol, Order, Protocol, Ties
from c2i_fast.random_numbers import generator
from c2i_fast.types import Curve, Doubles, Floats

PERCENTAGES = (10, 20, 30, 40, 50, 70, 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadProtocol(Protocol):
    """Which pixels are removed, and what noise they get.

    Attributes:
        order: `morf` removes the most relevant pixels, `lerf` the least.
        percentages: of the pixels that are removed, rising.
        ties: `index` and `reverse-index` remove exactly ⌊q·HW/100⌋ pixels, ties in that order; `together` removes all
            at or above the map's (100 − q)th percentile, and for LeRF all at or below its qth, however many these are.
        noise: standard deviation of what is added to imputed pixels.
        space: in which units `noise` is: `pixel`, or `normalised`. Imputation itself is the same in both.
    """

    kind: ClassVar[str] = "road"
    settable: ClassVar[tuple[str, ...]] = ("noise", "space", "target", "ties")

    order: Order = "morf"
    percentages: tuple[float, ...] = PERCENTAGES
    ties: Ties = "index"
    noise: float = 0.01
    space: Literal["pixel", "normalised"] = "pixel"


def removals(saliency: Floats, protocol: RoadProtocol) -> list[NDArray[np.bool_]]:
    """Returns the removed pixels (H, W) at each percentage.

    Args:
        saliency: (H, W), or (C, H, W), which is summed over its channels.
        protocol: its order, percentages and ties are used.

    Example:
        >>> removals(np.array([[1, 2, 3, 4.0]], np.float32), RoadProtocol(name="", metric="", percentages=(50,)))
        [array([[False, False,  True,  True]])]
    """
    saliency = saliency.sum(axis=0) if saliency.ndim == 3 else saliency
    if protocol.ties == "together":
        return [_at_or_above(saliency, q, protocol.order) for q in protocol.percentages]
    order = pixel_order(saliency, protocol.ties)
    order = order if protocol.order == "morf" else order[::-1]
    ranks = np.empty(order.size, np.int64)
    ranks[order] = np.arange(order.size)
    return [(ranks < int(q * order.size / 100)).reshape(saliency.shape) for q in protocol.percentages]


def _at_or_above(saliency: Floats, percentage: float, order: Order) -> NDArray[np.bool_]:
    """The map is first scaled to [0, 1], and LeRF is of 1 less it, in float32: where that rounds, so does grad-cam."""
    low, high = saliency.min(), saliency.max()
    scaled = (saliency - low) / (high - low) if high > low else np.zeros_like(saliency)
    scaled = scaled if order == "morf" else 1 - scaled
    return np.asarray(scaled >= np.percentile(scaled, 100 - percentage))


class RoadMetric(Metric):
    """The mean change under one order; under two, (LeRF − MoRF)/2."""

    __slots__ = ()

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the imputed images of each order, each followed by the clean one."""
        passes: list[int] = []
        x: list[float] = []
        warnings = dict.fromkeys(case.ranked.ranked(_PIXELS, book.image).warnings)
        for protocol in protocols:
            assert isinstance(protocol, RoadProtocol)
            for percentage, removed in zip(protocol.percentages, removals(case.saliency, protocol), strict=True):
                passes.append(imputed_pass(book, removed, percentage, protocol))
                x.append(float(removed.mean()))
                if removed.all():
                    warnings[f"nothing left to impute from at {percentage:g} %"] = None
            passes.append(book.clean())
            x.append(np.nan)
        lengths = tuple(len(p.percentages) + 1 for p in protocols if isinstance(p, RoadProtocol))
        return Asked(passes=np.array(passes, np.int32), x=np.array(x), lengths=lengths, warnings=tuple(warnings))

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the mean over percentages of f(x_q) − f(x), and these changes over the removed share."""
        ends = np.cumsum(asked.lengths)[:-1]
        changes = [part[:-1] - part[-1] for part in np.split(values, ends)]
        shares = np.split(asked.x, ends)[0][:-1]
        made = changes[0] if len(changes) == 1 else (changes[1] - changes[0]) / 2
        return Measured(value=float(made.mean()), curve=Curve(fractions=shares, values=made))


def imputed_pass(book: Book, removed: NDArray[np.bool_], percentage: float, protocol: RoadProtocol) -> int:
    """Returns the pass of an image whose removed pixels are imputed and get their noise; each is made once."""
    name = ("road", key_of(removed[None], book.image.shape), percentage, protocol.noise, protocol.space)
    return book.once(name, lambda: book.direct(_noisy(book, removed, percentage, protocol), float(removed.mean())))


def _noisy(book: Book, removed: NDArray[np.bool_], percentage: float, protocol: RoadProtocol) -> Floats:
    image, given = impute(book.image, removed), book.given
    if not protocol.noise:
        return image
    numbers = generator(given.seed, "road", given.image, round(10 * percentage))
    noise = numbers.standard_normal(image.shape, np.float32) * np.float32(protocol.noise)
    if protocol.space == "normalised":
        noise *= given.preprocessing.channel_stats(len(image))[1].reshape(-1, 1, 1)
    return np.where(removed, image + noise, image)


_PIXELS = CurveProtocol(name="", metric="")

metric(
    "road-morf",
    "mean change while the most relevant pixels are imputed (Rong et al.); lower is better",
    higher_is_better=False,
    bounds=(-1, 1),
)(RoadMetric)
metric(
    "road-lerf",
    "mean change while the least relevant pixels are imputed; higher is better",
    higher_is_better=True,
    bounds=(-1, 1),
)(RoadMetric)
metric(
    "road-combined",
    "(road-lerf − road-morf) / 2; higher is better",
    protocols=("road-morf", "road-lerf"),
    higher_is_better=True,
    bounds=(-1, 1),
)(RoadMetric)
