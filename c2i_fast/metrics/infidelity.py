"""Infidelity: how far a map is from predicting what perturbations of the input do (Yeh et al., NeurIPS 2019).

E_I[(Iᵀφ − (f(x) − f(x − I)))²] over random perturbations I of the normalised input x. φ is read in those units, a
slope: what the read-out loses for each unit the input loses. Relevance that has the input multiplied in (gradient ×
input, Shapley values) is no slope; nor is the size of most maps, which is why ours rescales them by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.metrics.base import Asked, MapCase, Measured, Metric, metric
from c2i_fast.metrics.correlation import with_clean
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.units import Units
from c2i_fast.protocols import Protocol
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class InfidelityProtocol(Protocol):
    """Which perturbations, and in what units the map is.

    Attributes:
        perturbation: `square`: a random window shows the baseline, I = x − baseline there; or `noise`: I is normal.
        size: of the window, as a share of each axis; or the noise's standard deviation, in normalised units.
        runs: how many perturbations.
        scaling: `optimal` multiplies the map by the β that makes its infidelity least, E[(Iᵀφ)Δf]/E[(Iᵀφ)²]; `none`
            takes it as it is.
        baseline: what windows show.
    """

    kind: ClassVar[str] = "infidelity"
    settable: ClassVar[tuple[str, ...]] = ("baseline", "perturbation", "runs", "scaling", "size", "target")

    perturbation: Literal["square", "noise"] = "square"
    size: float = 0.25
    runs: int = 100
    scaling: Literal["optimal", "none"] = "optimal"
    baseline: str = "mean"

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        if self.size == 0 or (self.perturbation == "square" and self.size > 1):
            most = " and at most 1, a share of each axis" if self.perturbation == "square" else ""
            return f"perturbation={self.perturbation} needs a size above 0{most}; got {self.size}"
        if self.perturbation == "noise" and self.baseline != "mean":
            return f"perturbation=noise has no use for baseline={self.baseline}"
        return None


def moved(perturbations: Sequence[Floats], saliency: NDArray[Any]) -> Doubles:
    """Returns Iᵀφ of perturbations (C, *space), float64 (n,); a map (*space) holds for every channel alike.

    Example:
        >>> moved([np.ones((3, 2, 2), np.float32)], np.full((2, 2), 0.5, np.float32)).tolist()
        [6.0]
    """
    slopes = np.ascontiguousarray(np.broadcast_to(saliency, np.shape(perturbations[0])), np.float64).ravel()
    return np.array([np.asarray(perturbation, np.float64).ravel() @ slopes for perturbation in perturbations])


def infidelity(predicted: Doubles, drops: Doubles, scaling: str = "none") -> float:
    """Returns the mean of (predicted − drop)², or its least value over one factor for all of `predicted`.

    Example:
        >>> predicted, drops = np.array([1.0, 2.0]), np.array([2.0, 4.0])
        >>> infidelity(predicted, drops), infidelity(predicted, drops, "optimal")
        (2.5, 0.0)
    """
    if scaling == "optimal":
        size = np.abs(predicted).max()
        if size > 0:  # a map of zeros predicts no change at any scale
            predicted = predicted / size  # whose squares cannot underflow
            predicted = predicted * (predicted @ drops) / (predicted @ predicted)
    return float(np.mean((predicted - drops) ** 2))


@metric(
    "infidelity",
    "mean squared error of the change that the map predicts for a perturbed input (Yeh 2019); lower is better",
    higher_is_better=False,
    bounds=(0, np.inf),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Infidelity(Metric):
    """E_I[(Iᵀφ − (f(x) − f(x − I)))²]."""

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the clean image and the perturbed ones, with Iᵀφ beside them."""
        protocol = protocols[0]
        assert isinstance(protocol, InfidelityProtocol)
        rng = generator(case.seed, self.name, case.image.id)
        draw = _squares if protocol.perturbation == "square" else _noise
        windows, perturbations, removed = book.once((self.name, protocol.hash()), lambda: draw(rng, book, protocol))
        slopes = np.array(np.broadcast_to(case.saliency, book.image.shape), np.float64)
        pairs = zip(windows, perturbations, strict=True)
        predicted = np.concatenate([moved([change], slopes[window]) for window, change in pairs])
        passes, x = with_clean(book.clean(), removed, predicted)
        return Asked(passes=passes, x=x, warnings=() if slopes.any() else ("zero map",))

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the mean squared error of what is beside each pass as its drop from the clean one."""
        protocol = protocols[0]
        assert isinstance(protocol, InfidelityProtocol)
        return Measured(value=infidelity(asked.x[1:], values[0] - values[1:], protocol.scaling))


Drawn = tuple[list[tuple[slice, ...]], list[Floats], Ints]
"""The window of each perturbation, what it is there (elsewhere 0), and its pass."""


def _squares(rng: np.random.Generator, book: Book, protocol: InfidelityProtocol) -> Drawn:
    space = book.image.shape[1:]
    sides = [max(1, round(protocol.size * length)) for length in space]
    starts = [
        rng.integers(0, length - side, protocol.runs, endpoint=True) for length, side in zip(space, sides, strict=True)
    ]
    pixels = Units(members=None, places=(1, *space))
    index: NDArray[np.int64] = np.arange(pixels.count).reshape(space)
    whole = book.given.normalised() - book.given.normalised(book.baseline(protocol.baseline))
    windows, passes = [], []
    for corner in zip(*starts, strict=True):
        window = tuple(slice(int(start), int(start) + side) for start, side in zip(corner, sides, strict=True))
        order = index[window].ravel()
        passes.append(book.removed_units(protocol.baseline, pixels, order, np.array([order.size])))
        windows.append((slice(None), *window))
    return windows, [whole[window] for window in windows], np.concatenate(passes)


def _noise(rng: np.random.Generator, book: Book, protocol: InfidelityProtocol) -> Drawn:
    normalised, everywhere = book.given.normalised(), (slice(None),)
    perturbations, passes = [], []
    for _ in range(protocol.runs):
        change = np.float32(protocol.size) * rng.standard_normal(normalised.shape, np.float32)
        perturbations.append(change)
        passes.append(book.direct(book.given.pixels_of(normalised - change), 1.0))
    return [everywhere] * protocol.runs, perturbations, np.array(passes, np.int32)
