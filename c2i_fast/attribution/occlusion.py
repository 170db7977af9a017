"""Occlusion: how far the score falls when a part of the image becomes the baseline. Windows, or superpixels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, check_batch
from c2i_fast.attribution.masked import MaskedMethod, soft_plan
from c2i_fast.errors import InputError
from c2i_fast.perturb.units import superpixels
from c2i_fast.types import Doubles, Floats, PerturbationPlan

_MASKS_A_CALL = 256


class Occlusion(MaskedMethod):
    """S[p] = mean over the windows w that hold p of score(image) − score(image with w at the baseline).

    Zeiler and Fergus, 2013; windows, strides and their mean as in captum's `Occlusion`. Windows start at multiples of
    the stride until the axis is covered; the last may reach over the edge. All channels of a pixel go together.

    A window is the product of one interval an axis, so it is a blend of a grid of two cells an axis: one plan an image
    however many windows there are, and no mask is ever made on the host. Passes: windows + 1 an image.

    Options: `window` (pixels along every axis; None: a seventh of each), `stride` (None: half a window), `baseline`.
    """

    name: ClassVar[str] = "occlusion"
    defaults: ClassVar[Mapping[str, Any]] = {"window": None, "stride": None, "baseline": "mean"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        for option in ("window", "stride"):
            if self.options[option] is not None:
                self.at_least_one(option)

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns occlusion maps, float32 (N, *space); see `Method.explain`."""
        check_batch(ids, images, targets)
        windows = [self._windows(size) for size in images.shape[2:]]
        counts = tuple(map(len, windows))
        plans = [soft_plan(image, self.baseline(i, image)) for i, image in zip(ids, images, strict=True)]
        drops = np.empty((len(images), math.prod(counts)))
        clean = self.clean(images, targets) if plans else np.zeros(0)
        for chosen, axes in _hidden(windows) if plans else ():
            grids = np.zeros((len(axes[0]), 2 ** len(axes)), np.float32)
            grids[:, 0] = 1  # the cell that is inside along every axis
            grids = grids.reshape(-1, *(2,) * len(axes))
            drops[:, chosen] = clean[:, None] - self.blended(plans, targets, grids, axes)
        return _mean_over_windows(drops.reshape(-1, *counts), windows).astype(np.float32)

    def _windows(self, size: int) -> NDArray[np.bool_]:
        """Returns which elements of an axis each window holds, (windows, size)."""
        window = min(self.options["window"] or math.ceil(size / 7), size)
        stride = self.options["stride"] or math.ceil(window / 2)
        if stride > window:
            raise InputError(f"occlusion: a stride of {stride} leaves gaps between windows of {window}")
        starts = stride * np.arange(math.ceil((size - window) / stride) + 1)
        place = np.arange(size)
        return (place >= starts[:, None]) & (place < starts[:, None] + window)


def _hidden(windows: Sequence[NDArray[np.bool_]]) -> Iterator[tuple[slice, list[Floats]]]:
    """Yields windows by the call, with their `axes`: an element belongs to cell 0 inside the window, else to cell 1."""
    pairs = [np.stack([inside, ~inside], axis=2).astype(np.float32) for inside in windows]
    counts = tuple(map(len, windows))
    for first in range(0, math.prod(counts), _MASKS_A_CALL):
        chosen = np.arange(first, min(first + _MASKS_A_CALL, math.prod(counts)))
        index = np.unravel_index(chosen, counts)
        yield slice(first, first + len(chosen)), [pair[i] for pair, i in zip(pairs, index, strict=True)]


def _mean_over_windows(drops: Doubles, windows: Sequence[NDArray[np.bool_]]) -> Doubles:
    """Returns (N, *space) from (N, windows of each axis): the sum over windows is one product an axis."""
    total = drops
    for inside in windows:  # takes the first axis of windows away and appends its elements
        total = np.tensordot(total, inside.astype(np.float64), axes=(1, 0))
    held = [inside.sum(axis=0).astype(np.float64) for inside in windows]
    mean: Doubles = total / reduce(np.multiply.outer, held)
    return mean


class SuperpixelOcclusion(MaskedMethod):
    """S[p] = score(image) − score(image with p's superpixel at the baseline); SLIC segments (`superpixels`).

    Segments overlap nowhere and follow no grid, so each is a plan with a step map of one bit. Passes: segments + 1.

    Options: `segments` (about how many, 50), `baseline`.
    """

    name: ClassVar[str] = "superpixel-occlusion"
    defaults: ClassVar[Mapping[str, Any]] = {"segments": 50, "baseline": "mean"}

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns maps that are constant in each segment, float32 (N, H, W); see `Method.explain`."""
        check_batch(ids, images, targets)
        segments = self.at_least_one("segments")
        if not len(images):
            return np.zeros((0, *images.shape[2:]), np.float32)
        clean = self.clean(images, targets)
        labels = [superpixels(image, segments) for image in images]
        plans = [
            PerturbationPlan(start=image, end=hidden, step_map=(unit_of != unit)[None].astype(np.uint8), intervals=1)
            for hidden, image, unit_of in zip(map(self.baseline, ids, images), images, labels, strict=True)
            for unit in range(unit_of.max() + 1)
        ]  # all images in one call, so that few batches are padded
        counts = [int(unit_of.max()) + 1 for unit_of in labels]
        work = np.array([(plan, 1) for plan in range(len(plans))], np.int32)
        scores = self.read(self.passes.select(plans, work), np.repeat(targets, counts))
        hidden_scores = np.split(scores, np.cumsum(counts)[:-1])
        maps = [(before - after)[one] for before, after, one in zip(clean, hidden_scores, labels, strict=True)]
        return np.array(maps, np.float32)
