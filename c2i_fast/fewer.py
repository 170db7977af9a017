"""Fewer passes: areas estimated from some of a curve's points, for `score --tolerance`.

    plan        the whole protocol, as ever; nothing is run for that
    first       the coarse points of every curve, and all passes of what cannot be sampled
    then        points drawn by what the coarse ones say; see `perturb/sampled.py`
    value       mean of two unbiased estimates of the area, half their difference beside it

What is drawn depends on the seed, the image, the method and the coarse values, never on batches or on other images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from c2i_fast.errors import UsageError
from c2i_fast.metrics.base import CurveMetric, Measured, summarised
from c2i_fast.metrics.measures import Measure
from c2i_fast.perturb.plan import ImagePlan, Request
from c2i_fast.perturb.sampled import Sample, SampledDesign, design, draw, inclusion
from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.random_numbers import generator
from c2i_fast.types import Curve, Doubles, Ints

Family = tuple[str, str, str]
"""(method, head or tail of its order, protocol): curves whose points are the same passes share one sample."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """The points of one curve of a request, in the order of the share that is at the baseline.

    Attributes:
        design: which points are asked for first, and how densely the others are drawn.
        passes: int32 (n+1,), indices into the image's passes.
    """

    family: Family
    design: SampledDesign
    passes: Ints

    @property
    def coarse(self) -> Ints:
        """The passes every image is asked for first."""
        return self.passes[self.design.coarse]


def can_be_sampled(measure: Measure) -> bool:
    """Returns whether a measure is a sum of areas of read-outs under trapezoids, each over a share from 0 to 1."""
    return (
        isinstance(measure.metric, CurveMetric)
        and measure.metric.linear
        and all(_samplable(protocol) for protocol in measure.protocols)
    )


def _samplable(protocol: Protocol) -> bool:
    return (
        isinstance(protocol, CurveProtocol)
        and (protocol.summary, protocol.value, protocol.ends) == ("trapezoid", "readout", "both")
        and protocol.x in ("fraction", "step")
    )


def check_tolerance(tolerance: float | None, measures: Sequence[Measure]) -> None:
    """Raises a `UsageError` where a tolerance is no number, or no measure has an area that can be estimated."""
    if tolerance is None:
        return
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance is an error of a mean area, for example 0.001; got {tolerance:g}")
    if not any(can_be_sampled(measure) for measure in measures):
        names = ", ".join(dict.fromkeys(measure.metric.name for measure in measures))
        raise UsageError(f"--tolerance estimates areas under curves of read-outs, and {names} have none; leave it out")


def stretches(request: Request, tolerance: float) -> list[Stretch]:
    """Returns the curves of a request as they are sampled."""
    found = []
    ends = np.cumsum(request.lengths)[:-1]
    parts = zip(request.protocols, np.split(request.x, ends), np.split(request.passes, ends), strict=True)
    for protocol, x, passes in parts:
        assert isinstance(protocol, CurveProtocol)
        from_image = protocol.start == "image"
        side = "head" if from_image == (protocol.order == "morf") else "tail"
        shares = x if from_image else 1 - x[::-1]
        grid = (protocol.baseline, protocol.unit, str(protocol.unit_size), protocol.counts, str(len(x)))
        found.append(
            Stretch(
                family=(request.method, side, " ".join(grid)),
                design=_design(np.round(shares, 12).tobytes(), tolerance),
                passes=passes if from_image else passes[::-1],
            )
        )
    return found


@lru_cache(maxsize=64)  # the same for every image
def _design(shares: bytes, tolerance: float) -> SampledDesign:
    return design(np.frombuffer(shares), tolerance)


@dataclass(slots=True, kw_only=True)
class Fewer:
    """One image's passes, of which only some are run.

    Attributes:
        plan: of the whole protocol.
        curves: the curves of each request that is sampled, by its number in the plan.
        samples: of each family, once they are drawn.
    """

    plan: ImagePlan
    curves: Mapping[int, Sequence[Stretch]]
    samples: dict[Family, Sample]

    @classmethod
    def of(cls, plan: ImagePlan, measures: Sequence[Measure], tolerance: float) -> Self:
        """Returns an image's plan with those of its requests that can be sampled laid out."""
        able = {(m.metric.name, m.protocols) for m in measures if can_be_sampled(m)}
        curves = {
            number: stretches(request, tolerance)
            for number, request in enumerate(plan.requests)
            if (request.metric, request.protocols) in able
        }
        return cls(plan=plan, curves=curves, samples={})

    def first(self) -> Ints:
        """Returns the passes that are run first: what cannot be sampled, the clean image, and all coarse points."""
        whole = [r.passes for number, r in enumerate(self.plan.requests) if number not in self.curves]
        coarse = [stretch.coarse for stretch in self._stretches()]
        return np.unique(np.concatenate([[self.plan.clean], *whole, *coarse])).astype(np.int32)

    def draw(self, image: str, probability: Doubles, seed: int) -> None:
        """Draws the points of every family of curves.

        Args:
            image: its id.
            probability: raw, of the target, (P,) by pass; known at the coarse points.
            seed: of the run.
        """
        for stretch in self._stretches():
            if stretch.family not in self.samples:
                random = generator(seed, "fewer-passes", "\0".join((image, *stretch.family)))
                self.samples[stretch.family] = draw(stretch.design, probability[stretch.coarse], random)

    def then(self) -> Ints:
        """Returns the passes that are run then: the points drawn that are not among the first."""
        points = [self._points(stretch) for stretch in self._stretches()]
        return np.setdiff1d(np.concatenate([np.empty(0, np.int32), *points]), self.first()).astype(np.int32)

    def most(self) -> float:
        """Returns the passes to expect of the roughest curves, of raw probability ½ all along."""
        families = {stretch.family: stretch.design for stretch in self._stretches()}
        halves = (inclusion(own, np.full(len(own.coarse), 0.5)) for own in families.values())
        drawn = sum(float(np.minimum(1, 2 * chances).sum()) for chances in halves)
        coarse = sum(len(own.coarse) for own in families.values())
        return len(self.first()) + drawn - coarse

    def measure(self, number: int, measure: Measure, values: Doubles) -> Measured | None:
        """Returns a metric from the read-outs (P,) of the passes that were run; None where it is not sampled.

        Its value is the mean of two unbiased estimates of the metric over all points.
        """
        own, metric = self.curves.get(number), measure.metric
        if own is None or not isinstance(metric, CurveMetric):
            return None
        areas = [self.samples[stretch.family].area(values[self._points(stretch)]) for stretch in own]
        first, second = (
            _of_areas(metric, measure.protocol, [area.value + sign * area.half_difference for area in areas])
            for sign in (1, -1)
        )
        curve = self._curve(own[0], measure.protocol, values) if len(own) == 1 else None
        return Measured(value=(first + second) / 2, curve=curve, half_difference=(first - second) / 2)

    def points(self, number: int) -> int:
        """Returns how many points a request's value is made of."""
        return sum(len(self._points(stretch)) for stretch in self.curves[number])

    def _stretches(self) -> Iterator[Stretch]:
        return (stretch for own in self.curves.values() for stretch in own)

    def _points(self, stretch: Stretch) -> Ints:
        return stretch.passes[self.samples[stretch.family].points]

    def _curve(self, stretch: Stretch, protocol: Protocol, values: Doubles) -> Curve:
        """Returns the points that were run, along the protocol's own x."""
        shares, read = stretch.design.x[self.samples[stretch.family].points], values[self._points(stretch)]
        if isinstance(protocol, CurveProtocol) and protocol.start == "baseline":
            shares, read = 1 - shares[::-1], read[::-1]
        return Curve(fractions=shares, values=read)


def _of_areas(metric: CurveMetric, protocol: Protocol, areas: Sequence[float]) -> float:
    """Returns what a linear metric makes of curves with these areas: flat ones have them as well as any."""
    ends = np.array([0.0, 1.0])
    made = metric.combine(*(Curve(fractions=ends, values=np.full(2, area)) for area in areas))
    assert isinstance(made, Curve)
    return summarised(made, protocol)
