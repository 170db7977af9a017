"""What a metric is: which passes it wants for a map, and what it makes of their read-outs.

To add one, write one file in this folder: a function from curves to a number under `@curve_metric(…)`, or a class with
`request` and `measure` under `@metric(…)`. Every file here is imported when metrics are first asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from c2i_fast.data.source import Image
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.curve import RankedMap, request_curve
from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.registry import Registry
from c2i_fast.types import Curve, Doubles, Floats, Ints

Follows = Literal["value", "complement", "nothing"]
"""What is read of each pass: the target's read-out p; 1 − p, exact where p is all but 1; or no pass at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapCase:
    """One map of one image: all that a metric may look at before any pass.

    Attributes:
        image: with its id, pixels and labels.
        method: whose map it is.
        ranked: the map, and its rankings.
        seed: of the run; random numbers are keyed by it, the image id and the metric, never by the method.
    """

    image: Image
    method: str
    ranked: RankedMap
    seed: int = 0

    @property
    def saliency(self) -> Floats:
        """The map, float32 (*space), or (C, *space) where channels have maps of their own."""
        return self.ranked.saliency


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """What a metric wants read.

    Attributes:
        passes: int32 (m,), of the image's book; renumbered to the image's passes when that is closed.
        x: float64 (m,), what belongs to each of them: the x of a curve, the relevance of a subset, ….
        lengths: how many of them belong to each protocol; all to the first by default.
        warnings: what a reader of the score should know of the map.
    """

    passes: Ints
    x: Doubles
    lengths: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """A metric's value on one map under one read-out.

    Attributes:
        curve: what the value sums up, where it is one curve.
        half_difference: of a value that is estimated from some of its points, half the difference of two estimates;
            0 where it is exact.
    """

    value: float
    curve: Curve | None = None
    half_difference: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric(ABC):
    """A number that judges a map.

    Attributes:
        name: on the command line and in every row.
        higher_is_better: the direction of a better map.
        protocols: the names of the protocols it needs, looked up in the preset; the first is its rows'. By default one
            of its own name.
        follows: what is read of its passes.
        bounds: of the value, for read-outs in [0, 1].
        needs: what an image must have beside its pixels: `region` (a mask or boxes).
    """

    name: str
    higher_is_better: bool
    protocols: tuple[str, ...] = ()
    follows: Follows = "value"
    bounds: tuple[float, float] = (-np.inf, np.inf)
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocols", self.protocols or (self.name,))

    def check(self, protocols: Sequence[Protocol]) -> None:  # noqa: B027 (most metrics need nothing)
        """Raises a `MissingDependencyError` where the metric needs a package that is not there."""

    @abstractmethod
    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked | None:
        """Returns what is to be read, after entering it into the image's book; None where it cannot judge the map."""

    @abstractmethod
    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the metric of the read-outs (m,) of what was asked; pure, so that kept logits can be read again."""


METRICS: Registry[Metric] = Registry("metric")

Combine = Callable[..., Curve | float]
C = TypeVar("C", bound=Combine)
M = TypeVar("M", bound=type[Metric])


def metric(name: str, summary: str, **fields: Any) -> Callable[[M], M]:
    """Returns a decorator that registers a class of metric under a name.

    Args:
        name: of the metric.
        summary: the line that `c2i-fast list metrics` prints.
        fields: the other attributes of `Metric`.
    """

    def register(kind: M) -> M:
        METRICS.add(name, kind(name=name, **fields), summary)
        return kind

    return register


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveMetric(Metric):
    """A number made of one or more curves of the same map.

    Attributes:
        combine: from those curves to the one whose summary is the value, or to the value itself.
        linear: whether that is a sum of the curves with fixed factors, so that estimated areas may take their place.
    """

    combine: Combine
    linear: bool = False

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the points of its curves, one after the other, each with the clean image where it is relative."""
        x, passes, warnings = [], [], dict[str, None]()
        for protocol in protocols:
            assert isinstance(protocol, CurveProtocol)
            curve_x, curve_passes, said = request_curve(book, case.ranked, protocol)
            clean = [] if protocol.value == "readout" else [book.clean()]
            x.append(np.append(curve_x, [np.nan] * len(clean)))
            passes.append(np.append(curve_passes, clean).astype(np.int32))
            warnings |= dict.fromkeys(said)
        lengths = tuple(len(part) for part in passes)
        return Asked(passes=np.concatenate(passes), x=np.concatenate(x), lengths=lengths, warnings=tuple(warnings))

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the combined curve and its summary."""
        ends = np.cumsum(asked.lengths)[:-1]
        parts = zip(protocols, np.split(asked.x, ends), np.split(values, ends), strict=True)
        curves = [_followed(protocol, x, read) for protocol, x, read in parts if isinstance(protocol, CurveProtocol)]
        made = self.combine(*curves)
        if isinstance(made, Curve):
            return Measured(value=summarised(made, protocols[0]), curve=made)
        return Measured(value=float(made), curve=curves[0])


def curve_metric(
    name: str,
    summary: str,
    *,
    curves: tuple[str, ...],
    higher_is_better: bool,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    linear: bool = False,
) -> Callable[[C], C]:
    """Returns a decorator that registers a function from curves to a number, or to a curve to be summed up.

    Args:
        name: of the metric.
        summary: the line that `c2i-fast list metrics` prints.
        curves: names of the preset's protocols that the function takes the curves of.
        higher_is_better: the direction of a better map.
        bounds: of the value, for read-outs in [0, 1].
        linear: whether it returns a sum of the curves with fixed factors; then `--tolerance` may estimate it.
    """

    def register(function: C) -> C:
        made = CurveMetric(
            name=name,
            protocols=curves,
            combine=function,
            higher_is_better=higher_is_better,
            bounds=bounds,
            linear=linear,
        )
        METRICS.add(name, made, summary)
        return function

    return register


def _followed(protocol: CurveProtocol, x: Doubles, values: Doubles) -> Curve:
    """Returns the curve of what the protocol follows: the read-outs, or their drop from or ratio to the clean one."""
    if protocol.value == "readout":
        return Curve(fractions=x, values=values)
    clean, values = values[-1], values[:-1]
    return Curve(fractions=x[:-1], values=clean - values if protocol.value == "drop" else values / clean)


def summarised(curve: Curve, protocol: Protocol) -> float:
    """Returns the one number that a protocol makes of a curve.

    Example:
        >>> curve = Curve(fractions=np.array([0, 0.5, 1]), values=np.array([1, 0.5, 0.0]))
        >>> summarised(curve, CurveProtocol(name="x", metric="deletion", summary="mean"))
        0.5
    """
    assert isinstance(protocol, CurveProtocol)
    if protocol.summary == "mean":
        return float(np.mean(curve.values))
    if protocol.summary == "above":
        return float(curve.fractions[-1] - curve.fractions[0]) - curve.area()
    return abs(curve.area()) if protocol.summary == "abs-trapezoid" else curve.area()
