"""Tetrominoes on correlated backgrounds: images of which it is known what their class hangs on (XAI-TRIS).

Clark, Budding, Haufe: XAI-TRIS: non-linear image benchmarks to quantify false positive post-hoc attribution of feature
importance, 2023; rebuilt from the description of its data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.results.files import write_atomically
from c2i_fast.types import Doubles, frozen

SIZE = 64
CLASS_NAMES = ("T", "L")
SHAPES = (np.array([[1, 0], [1, 1], [1, 0]]), np.array([[1, 0], [1, 0], [1, 1]]))
CORNERS = ((8, 8), (32, 40))
"""Top left corners (row, column) of T and L where they stand still."""
BACKGROUND_SIGMA = 10.0
SHAPE_SIGMA = 1.5
MASK_THRESHOLD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What the images show. The default is the paper's RIGID with shapes of twice its size, easier to see and to learn.

    Attributes:
        placement: `linear`, each class at its own fixed place; or `rigid`, turned by a random multiple of 90° and put
            anywhere.
        alpha: share of the shapes in the mixture α·P + (1 − α)·B, both of unit Frobenius norm; 0 leaves backgrounds.
        scale: pixels to a tetromino's square; above 3 its edges are smoothed (σ = 1.5 pixels).
    """

    placement: Literal["linear", "rigid"] = "rigid"
    alpha: float = 0.5
    scale: int = 8

    def __post_init__(self) -> None:
        fits = self.scale >= 1 and 3 * self.scale <= SIZE - (CORNERS[1][0] if self.placement == "linear" else 0)
        if not fits or not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1] and 3·scale fit into the image, got {self}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tetrominoes:
    """Images with their labels and their truth.

    Attributes:
        ids: names of the images.
        images: uint8 (N, 64, 64, 1), grey; pixel value 127.5 is the zero of the mixture.
        labels: int64 (N,), 0 = T and 1 = L, taking turns.
        masks: bool (N, 64, 64), where the shape is: its smoothed pattern is at least 0.05.
    """

    ids: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name in ("images", "labels", "masks"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, first: int, end: int) -> Tetrominoes:
        """Returns images first ≤ i < end; of balanced classes where both are even."""
        chosen = slice(first, end)
        return replace(
            self,
            ids=self.ids[chosen],
            images=self.images[chosen],
            labels=self.labels[chosen],
            masks=self.masks[chosen],
        )

    def save(self, path: Path) -> None:
        """Writes an .npz that `--images` takes: `images`, `labels` and `ids`; `masks` are for whoever wants them."""

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, images=self.images, labels=self.labels, ids=np.array(self.ids), masks=self.masks)

        write_atomically(path, write)


def make_tetrominoes(count: int, *, seed: int, scenario: Scenario | None = None) -> Tetrominoes:
    """Returns `count` images. One set is normalised as a whole, so take the parts for fitting and testing from one set.

    X = α·P/‖P‖ + (1 − α)·B/‖B‖, scaled to [−1, 1] by max |X|, then to 0..255.

    Example:
        >>> make_tetrominoes(4, seed=0).labels
        array([0, 1, 0, 1])
    """
    scenario = scenario or Scenario()
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    patterns = _patterns(labels, scenario, rng)
    shapes = patterns / np.linalg.norm(patterns)
    backgrounds = _backgrounds(count, rng)
    mixture = scenario.alpha * shapes + (1 - scenario.alpha) * backgrounds / np.linalg.norm(backgrounds)
    grey = np.rint(127.5 + 127.5 * mixture / np.abs(mixture).max()).astype(np.uint8)
    ids = tuple(f"tetromino-{number:05d}" for number in range(count))
    return Tetrominoes(ids=ids, images=grey[..., None], labels=labels, masks=patterns >= MASK_THRESHOLD)


def _patterns(labels: NDArray[np.int64], scenario: Scenario, rng: np.random.Generator) -> Doubles:
    """Returns the shapes alone, float64 (N, 64, 64) in [0, 1]."""
    enlarged = [np.kron(shape, np.ones((scenario.scale, scenario.scale))) for shape in SHAPES]
    patterns = np.zeros((len(labels), SIZE, SIZE))
    for pattern, label in zip(patterns, labels, strict=True):
        shape, corner = enlarged[label], CORNERS[label]
        if scenario.placement == "rigid":
            shape = np.rot90(shape, int(rng.integers(4)))
            corner = (int(rng.integers(SIZE + 1 - shape.shape[0])), int(rng.integers(SIZE + 1 - shape.shape[1])))
        row, column = corner
        pattern[row : row + shape.shape[0], column : column + shape.shape[1]] = shape
    return _blurred(patterns, SHAPE_SIGMA) if scenario.scale > 3 else patterns


def _backgrounds(count: int, rng: np.random.Generator) -> Doubles:
    """Returns smooth noise, float64 (N, 64, 64), which knows nothing of the labels."""
    return _blurred(rng.normal(0, 0.5, (count, SIZE, SIZE)), BACKGROUND_SIGMA)


def _blurred(images: Doubles, sigma: float) -> Doubles:
    """Returns the images under a Gaussian with mirrored borders, as two matrix products: fast for wide Gaussians."""
    from scipy.ndimage import gaussian_filter1d

    matrix = gaussian_filter1d(np.eye(SIZE), sigma, axis=0)
    blurred: Doubles = matrix @ images @ matrix.T
    return blurred
