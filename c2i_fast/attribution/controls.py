"""Controls: maps that know nothing of the model. A method is worth what it scores above these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Method, Need, check_batch
from c2i_fast.attribution.upsample import resized
from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.perturb.units import superpixels
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles, Floats

_SMOOTH_GRID = 7  # RISE's cell, so that the floor is as smooth as what stands on it
_SUPERPIXELS = 64


class _Control(Method):
    """An image and its id in, a map out: no targets, no passes, no options."""

    needs: ClassVar[Need] = "nothing"
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, context: Context) -> None:
        context.settings(type(self))
        self.passes_used = 0
        self._seed = context.seed

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns one map an image, float32 (N, *space); see `Method.explain`."""
        check_batch(ids, images, targets)
        maps = [self._map(image_id, image) for image_id, image in zip(ids, images, strict=True)]
        return np.array(maps, np.float32).reshape(len(images), *images.shape[2:])

    @abstractmethod
    def _map(self, image_id: str, image: Floats) -> NDArray[Any]: ...


class RandomNoise(_Control):
    """Uniform noise in [0, 1), one value a pixel. Not a floor: scattered removal is adversarial."""

    name: ClassVar[str] = "random"

    def _map(self, image_id: str, image: Floats) -> Floats:
        return generator(self._seed, self.name, image_id).random(image.shape[1:], np.float32)


class SmoothRandom(_Control):
    """A uniform random grid of 7 cells an axis, upsampled linearly (half-pixel centres, borders clamped).

    The fair floor for smooth maps such as RISE's and Grad-CAM's.
    """

    name: ClassVar[str] = "smooth-random"

    def _map(self, image_id: str, image: Floats) -> Doubles:
        space = image.shape[1:]
        values = generator(self._seed, self.name, image_id).random((_SMOOTH_GRID,) * len(space))
        return resized(values, space)


class Sobel(_Control):
    """Gradient magnitude √Σ_d sobel_d² of the channel mean (Sobel's 3-wide stencils, borders repeated)."""

    name: ClassVar[str] = "sobel"

    def _map(self, image_id: str, image: Floats) -> Doubles:
        from scipy import ndimage

        grey = image.mean(axis=0, dtype=np.float64)
        slopes = [ndimage.sobel(grey, axis=axis) for axis in range(grey.ndim)]
        magnitude: Doubles = np.sqrt(np.sum(np.square(slopes), axis=0))
        return magnitude


class Canny(_Control):
    """1 on Canny's edges of the channel mean (σ = 1, borders repeated), 0 elsewhere. Pictures; a map of two values.

    The image is first scaled to [0, 1], so that scikit-image's thresholds (0.1 and 0.2) mean the same for all.
    """

    name: ClassVar[str] = "canny"

    def _map(self, image_id: str, image: Floats) -> Floats:
        if image.ndim != 3:
            raise InputError(f"canny looks for edges in pictures, and this image has shape {image.shape}; take sobel")
        try:
            from skimage.feature import canny
        except ImportError as error:
            raise MissingDependencyError("scikit-image", "explain") from error
        grey = image.mean(axis=0, dtype=np.float64)
        scaled = (grey - grey.min()) / (np.ptp(grey) or 1)
        edges = canny(scaled, sigma=1.0, mode="nearest")  # type: ignore[no-untyped-call]
        return np.asarray(edges, np.float32)


class SuperpixelRandom(_Control):
    """One uniform random value for each of about 64 superpixels (SLIC): it knows the image's shapes, not the model."""

    name: ClassVar[str] = "superpixel-random"

    def _map(self, image_id: str, image: Floats) -> Floats:
        segments = superpixels(image, _SUPERPIXELS)
        return generator(self._seed, self.name, image_id).random(int(segments.max()) + 1, np.float32)[segments]


class Center(_Control):
    """Nearness to the middle, 1 − d/d_max with d the distance in pixels: 0 in the corners, highest in the middle."""

    name: ClassVar[str] = "center"

    def _map(self, image_id: str, image: Floats) -> Doubles:
        offsets = [np.arange(size) - (size - 1) / 2 for size in image.shape[1:]]
        distance: Doubles = np.sqrt(np.sum(np.square(np.array(np.meshgrid(*offsets, indexing="ij"))), axis=0))
        nearness: Doubles = 1 - distance / max(distance.max(), 1e-9)
        return nearness
