"""Max-sensitivity: how far a method's map moves when the image hardly does (Yeh et al., NeurIPS 2019).

max over runs of ‖φ(x + δ) − φ(x)‖₂ / ‖φ(x)‖₂, δ uniform in ±radius of the normalised input: 0 and above, lower is
steadier. It is a property of the method, not of one map: it needs the method, and a map of it for every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Method
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles, Floats, Preprocessing

RADIUS = 0.02


def max_sensitivity(
    method: Method,
    ids: Sequence[str],
    images: Floats,
    targets: NDArray[np.integer],
    preprocessing: Preprocessing,
    *,
    runs: int = 10,
    radius: float = RADIUS,
    seed: int = 0,
) -> Doubles:
    """Returns the max-sensitivity of a method on each image, float64 (N,); infinite where φ(x) is 0 and moves.

    Args:
        method: from `METHODS`; random numbers of its own are those of the image's id in every run.
        ids: of the images, the key of δ.
        images: float32 (N, C, *space) in pixels.
        targets: class indices (N,).
        preprocessing: whose standard deviations make δ of a normalised input one of pixels.
        runs: how many δ an image.
        radius: of the cube that δ is drawn from, in normalised units.
        seed: of δ.

    Example:
        >>> from c2i_fast.attribution import METHODS, Context
        >>> images, pre = np.random.default_rng(0).random((1, 3, 8, 8), np.float32), Preprocessing()
        >>> max_sensitivity(METHODS["center"](Context()), ["a.png"], images, np.array([0]), pre).tolist()
        [0.0]
    """
    std = preprocessing.channel_stats(images.shape[1])[1].reshape(-1, *(1,) * (images.ndim - 2))
    streams = [generator(seed, "max-sensitivity", image) for image in ids]

    def moved() -> Iterable[Floats]:
        for _ in range(runs):
            yield np.stack([radius * rng.uniform(-1, 1, images.shape[1:]) * std for rng in streams])

    still = method.explain(ids, images, targets)
    others = (method.explain(ids, (images + delta).astype(np.float32), targets) for delta in moved())
    return largest_move(still, others)


def largest_move(still: Floats, others: Iterable[Floats]) -> Doubles:
    """Returns max ‖φ' − φ‖₂ / ‖φ‖₂ of each map, float64 (N,), from maps (N, …) and those of every run.

    Example:
        >>> largest_move(np.array([[3.0, 4.0]]), [np.array([[3.0, 3.0]]), np.array([[3.0, 6.0]])]).tolist()
        [0.4]
    """
    base = still.reshape(len(still), -1).astype(np.float64)
    largest = np.zeros(len(base))
    for other in others:
        largest = np.maximum(largest, np.linalg.norm(other.reshape(base.shape).astype(np.float64) - base, axis=1))
    size = np.linalg.norm(base, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(largest > 0, largest / size, 0.0)
