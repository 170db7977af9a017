"""What changes at one go: pixels, single values, patches, tokens, time windows, grid cells or superpixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.protocols import Unit
from c2i_fast.types import Floats


class HasUnits(Protocol):
    """Any protocol that says what changes at one go."""

    @property
    def unit(self) -> Unit:
        """What it is."""

    @property
    def unit_size(self) -> int | None:
        """Its side or number, for those that have one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """A partition of an image's places.

    Attributes:
        members: intp, the unit of each place, (1, *space) or, where channel values are units, (C, *space); None where
            each place is a unit of its own.
        places: the shape of `members`.
        sizes: int64 (U,), how many places each unit has; None where all have one.
    """

    members: NDArray[np.intp] | None
    places: tuple[int, ...]
    sizes: NDArray[np.int64] | None = None

    @property
    def count(self) -> int:
        """U."""
        return int(np.prod(self.places)) if self.sizes is None else len(self.sizes)

    def held(self, order: NDArray[np.intp], counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many places the first `counts` (n+1,) units of an order hold: int64 (n+1,)."""
        return counts if self.sizes is None else np.append(0, np.cumsum(self.sizes[order]))[counts]

    def pooled(self, saliency: Floats, how: str) -> NDArray[np.floating]:
        """Returns the units' saliency (U,), the sum or mean over their places.

        Args:
            saliency: (*space), or (C, *space) where every channel has its own; summed over channels where these move
                together, repeated where they do not.
            how: `sum` or `mean`.
        """
        own_channels = saliency.ndim == len(self.places)
        if self.places[0] == 1:
            values = saliency.sum(axis=0) if own_channels else saliency
        else:
            values = np.broadcast_to(saliency, self.places)
        if self.members is None:
            return np.ascontiguousarray(values).ravel()
        weights = values.ravel().astype(np.float64)
        totals = np.asarray(np.bincount(self.members.ravel(), weights, self.count), np.float64)
        return totals / self.sizes if how == "mean" and self.sizes is not None else totals

    def spread(self, per_unit: NDArray[np.generic]) -> NDArray[np.generic]:
        """Returns what is known of each unit (U,) at each of its places."""
        return per_unit.reshape(self.places) if self.members is None else per_unit[self.members]


def units_of(protocol: HasUnits, image: Floats) -> Units:
    """Returns the units of an image (C, *space) under a protocol.

    Raises:
        InputError: Tokens that do not divide the image, windows of a picture, segments of a signal, more cells than
            pixels.
        MissingDependencyError: Superpixels without scikit-image.

    Example:
        >>> from c2i_fast.protocols import CurveProtocol
        >>> protocol = CurveProtocol(name="x", metric="deletion", unit="patch", unit_size=2)
        >>> units_of(protocol, np.zeros((3, 2, 3), np.float32)).members.tolist()
        [[[0, 0, 1], [0, 0, 1]]]
    """
    space, size = image.shape[1:], protocol.unit_size or 1
    if protocol.unit == "pixel":
        return Units(members=None, places=(1, *space))
    if protocol.unit == "channel":
        return Units(members=None, places=image.shape)
    if protocol.unit == "superpixel":
        return _of_members(superpixels(image, size))
    if protocol.unit == "grid":
        return _of_members(cells(space, size))
    if protocol.unit == "token" and any(s % size for s in space):
        raise InputError(f"tokens of side {size} do not divide an image of {space}; set unit_size, or unit=patch")
    if (protocol.unit == "window") != (len(space) == 1):
        raise InputError(
            f"unit={protocol.unit} does not fit images of shape {space}; signals take window, others patch"
        )
    return _of_members(patches(space, size, centred=grid_of(protocol) == "centred"))


def grid_of(protocol: HasUnits) -> str:
    """Returns where the patches of a protocol begin; `start` for protocols that leave no choice."""
    return str(getattr(protocol, "unit_grid", "start"))


def patches(space: tuple[int, ...], side: int, *, centred: bool = False) -> NDArray[np.intp]:
    """Returns the patch of each place (*space), in row order; those at the far edges, or at both, may be short."""
    index = np.zeros(space, np.intp)
    for axis, length in enumerate(space):
        missing = (-length % side) // 2 if centred else 0
        along = ((np.arange(length) + missing) // side).reshape([-1 if a == axis else 1 for a in range(len(space))])
        index = index * -(-length // side) + along
    return index


def cells(space: tuple[int, ...], number: int) -> NDArray[np.intp]:
    """Returns the cell of each place (*space), `number` cells an axis: its centre's, ⌊(i + ½) · number / length⌋.

    Raises:
        InputError: An axis shorter than the grid.

    Example:
        >>> cells((5,), 2).tolist()
        [0, 0, 1, 1, 1]
    """
    if min(space) < number:
        raise InputError(f"a grid of {number} cells an axis does not fit an image of {space}; set a smaller unit_size")
    index = np.zeros(space, np.intp)
    for axis, length in enumerate(space):
        along = ((2 * np.arange(length) + 1) * number // (2 * length)).reshape(
            [-1 if a == axis else 1 for a in range(len(space))]
        )
        index = index * number + along
    return index


def superpixels(image: Floats, segments: int) -> NDArray[np.intp]:
    """Returns the SLIC segment of each place (H, W), about `segments` of them (scikit-image; Achanta et al., 2012)."""
    if image.ndim != 3:
        raise InputError(f"superpixels are of pictures, and this image has shape {image.shape}; signals take window")
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise MissingDependencyError("scikit-image", "explain") from error
    picture = np.moveaxis(image, 0, -1).astype(np.float64)
    low, high = picture.min(), picture.max()
    picture = (picture - low) / (high - low or 1)
    colours = picture.shape[-1] == 3
    made = slic(picture, n_segments=segments, start_label=0, channel_axis=-1, convert2lab=colours)
    return np.unique(made, return_inverse=True)[1].reshape(image.shape[1:]).astype(np.intp)


def _of_members(members: NDArray[np.intp]) -> Units:
    members = members[None]
    return Units(members=members, places=members.shape, sizes=np.bincount(members.ravel()))
