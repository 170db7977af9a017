"""Average drop, increase in confidence and average gain: one masked image beside the clean one.

The map, scaled to [0, 1], multiplies the image; with p the target's probability on the clean image and o that on the
masked one, average drop is [p − o]₊ / p and increase in confidence 1[o > p] (Chattopadhay et al., WACV 2018), average
gain [o − p]₊ / (1 − p) (Zhang et al., Opti-CAM, CVIU 2024). All are fractions; papers print them ×100. Gain is drop on
the complements q = 1 − p, which keep their digits where p is all but 1.

A mask of ones leaves the image as it is, bit for bit: it is the clean pass, and all three are exactly 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.metrics.base import Asked, MapCase, Measured, Metric, metric
from c2i_fast.perturb.book import Book
from c2i_fast.protocols import Protocol
from c2i_fast.types import Doubles, Floats

CONSTANT = "constant map"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskProtocol(Protocol):
    """How a map becomes a mask m in [0, 1]; the image shown is m · image + (1 − m) · baseline.

    Attributes:
        scaling: `min-max` of each map, where a constant map masks nothing; or `none`, for maps that are masks already.
        sign: `absolute` takes |map| first, `signed` the map as it is.
        baseline: what shows where the mask is 0. `black` multiplies the pixels by the mask, `zero` the normalised
            image.
    """

    settable: ClassVar[tuple[str, ...]] = ("baseline", "scaling", "sign", "target")

    scaling: Literal["min-max", "none"] = "min-max"
    sign: Literal["signed", "absolute"] = "signed"
    baseline: str = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioProtocol(MaskProtocol):
    """Of a change relative to where it started from.

    Attributes:
        eps: added to the denominator.
    """

    kind: ClassVar[str] = "mask-ratio"
    settable: ClassVar[tuple[str, ...]] = (*MaskProtocol.settable, "eps")

    eps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncreaseProtocol(MaskProtocol):
    """Of a count of changes.

    Attributes:
        margin: by how much the masked read-out must be above the clean one.
    """

    kind: ClassVar[str] = "mask-increase"
    settable: ClassVar[tuple[str, ...]] = (*MaskProtocol.settable, "margin")

    margin: float = 0.0


def mask_of(saliency: NDArray[Any], protocol: MaskProtocol, axes: int = 2) -> tuple[Doubles, bool]:
    """Returns the mask of a map, float64 (*space), and whether the map was constant and so masks nothing.

    Args:
        saliency: (*space), or (C, *space), of which the mean over channels is taken.
        protocol: how it is scaled.
        axes: how many `space` has.

    Example:
        >>> mask_of(np.array([[-1.0, 0.0, 3.0]]), MaskProtocol(name="x", metric="average-drop"))[0].tolist()
        [[0.0, 0.25, 1.0]]
    """
    values = saliency.astype(np.float64)
    values = np.abs(values) if protocol.sign == "absolute" else values
    values = values.mean(axis=0) if values.ndim > axes else values
    if protocol.scaling == "none":
        return values, False
    low, high = values.min(), values.max()
    return ((values - low) / (high - low), False) if high > low else (np.ones_like(values), True)


def masked(image: Floats, baseline: Floats, mask: Doubles) -> Floats:
    """Returns m · image + (1 − m) · baseline, float32 (C, *space): the image itself, bit for bit, where m is 1."""
    return np.asarray(image * mask + baseline * (1 - mask), np.float32)


def relative_drop(before: float, after: float, eps: float = 0.0) -> float:
    """Returns [before − after]₊ / (before + eps); 0 where nothing can drop.

    Example:
        >>> relative_drop(0.8, 0.6)  # doctest: +ELLIPSIS
        0.25...
    """
    drop = max(before - after, 0.0)
    return drop / (before + eps) if drop > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMetric(Metric):
    """What one masked image says of a map; the metrics of one mask share its pass."""

    def request(self, case: MapCase, book: Book, protocols: Sequence[Protocol]) -> Asked:
        """Returns the clean image and the masked one, with the masked-out share beside each."""
        protocol = protocols[0]
        assert isinstance(protocol, MaskProtocol)
        mask, constant = mask_of(case.saliency, protocol, book.image.ndim - 1)
        share = float(1 - mask.mean())
        shown = masked(book.image, book.baseline(protocol.baseline), mask)
        index = book.clean() if np.array_equal(shown, book.image) else book.direct(shown, share)
        return Asked(
            passes=np.array([book.clean(), index], np.int32),
            x=np.array([0.0, share]),
            warnings=(CONSTANT,) if constant else (),
        )


@metric(
    "average-gain",
    "share of the missing probability gained under the map as a mask (Opti-CAM); higher is better",
    higher_is_better=True,
    follows="complement",
    bounds=(0, 1),
)
@metric(
    "average-drop",
    "share of the target's probability lost under the map as a mask; lower is better",
    higher_is_better=False,
    bounds=(0, 1),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeDrop(MaskMetric):
    """[p − o]₊ / p of what is followed: the probability for the drop, its complement for the gain."""

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns the drop from the clean read-out to the masked one, relative to the clean one."""
        protocol = protocols[0]
        assert isinstance(protocol, RatioProtocol)
        return Measured(value=relative_drop(float(values[0]), float(values[1]), protocol.eps))


@metric(
    "increase-in-confidence",
    "1 where the target is likelier under the map as a mask, else 0; higher is better",
    higher_is_better=True,
    bounds=(0, 1),
)
@dataclass(frozen=True, slots=True, kw_only=True)
class Increase(MaskMetric):
    """1[o > p + margin]."""

    def measure(self, asked: Asked, values: Doubles, protocols: Sequence[Protocol]) -> Measured:
        """Returns 1 or 0; the mean over images is the share of them that became likelier."""
        protocol = protocols[0]
        assert isinstance(protocol, IncreaseProtocol)
        return Measured(value=float(values[1] > values[0] + protocol.margin))
