"""RISE as Calibrate to Interpret runs it: hard masks, so that what is shown is either the image or the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, check_batch
from c2i_fast.attribution.masked import MaskedMethod
from c2i_fast.attribution.rise import kept_share
from c2i_fast.attribution.upsample import cubic_axis
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles, Floats, PerturbationPlan

_MASKS_A_CALL = 256
_MASKS_A_SUM = 32  # as many become float64 at a time: 13 MB for pictures of 224×224


class HardMasks:
    """M masks of zeros and ones: a Bernoulli(p) grid, upsampled by cubic convolution, 1 above 0.5, rolled cyclically.

    Shifts are uniform in [0, ⌈size/grid⌉), as RISE's. Cubic convolution is OpenCV's (a = −0.75, half-pixel).

    Args:
        space: sizes of the image's axes.
        masks: M; the first masks of a longer set are those of a shorter one.
        grid: cells an axis.
        p: probability that a cell is kept.
        seed: of the set, which no image enters.

    Example:
        >>> HardMasks((6,), masks=1, grid=2, p=1.0, seed=0).made(slice(None)).tolist()
        [[True, True, True, True, True, True]]
    """

    def __init__(self, space: Sequence[int], *, masks: int, grid: int, p: float, seed: int) -> None:
        self.space = tuple(space)
        rank = len(self.space)
        drawn = generator(seed, "rise-c2i", None).random((masks, rank + grid**rank))
        cells = [-(-size // grid) for size in self.space]
        self.shifts = (drawn[:, :rank] * cells).astype(np.int64)
        self.grids = (drawn[:, rank:] < p).reshape(masks, *(grid,) * rank)
        self._upsampling = [cubic_axis(size, grid) for size in self.space]

    def __len__(self) -> int:
        return len(self.grids)

    def made(self, chosen: slice) -> NDArray[np.bool_]:
        """Returns the chosen masks at full size, (m, *space); True is kept."""
        smooth = self.grids[chosen].astype(np.float64)
        for matrix in self._upsampling:  # takes the first axis of the grid away and appends it at full size
            smooth = np.tensordot(smooth, matrix, axes=(1, 1))
        hard: NDArray[np.bool_] = smooth > 0.5
        for mask, shift in zip(hard, self.shifts[chosen], strict=True):
            mask[...] = np.roll(mask, shift, axis=tuple(range(mask.ndim)))
        return hard


class RiseC2I(MaskedMethod):
    """S = minmax Σ_i score(m_i ? image : baseline) · m_i / (area(m_i) · M), m_i from `HardMasks`, area = mean of m_i.

    The baseline is `zero` in normalised space. One set of masks serves all images and read-outs, where the paper's own
    code draws fresh masks for each arm. A mask that keeps nothing counts nothing. Passes: M an image.

    Options: `masks` (M, 4000), `grid` (8), `p` (0.6), `baseline`.
    """

    name: ClassVar[str] = "rise-c2i"
    defaults: ClassVar[Mapping[str, Any]] = {"masks": 4000, "grid": 8, "p": 0.6, "baseline": "mean"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._set = {"masks": self.at_least_one("masks"), "grid": self.at_least_one("grid")}
        self._p = kept_share(self.name, self.options["p"])

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns maps in [0, 1], float32 (N, *space); see `Method.explain`."""
        check_batch(ids, images, targets)
        masks = HardMasks(images.shape[2:], **self._set, p=self._p, seed=self.context.seed)
        baselines = [self.baseline(i, image) for i, image in zip(ids, images, strict=True)]
        total: Doubles = np.zeros((len(images), *masks.space))
        for first in range(0, len(masks), _MASKS_A_CALL) if len(images) else ():
            kept = masks.made(slice(first, first + _MASKS_A_CALL))
            flat = kept.reshape(len(kept), -1)
            weights = flat.mean(axis=1)
            for i, image in enumerate(images):
                scores = self._scores(image, baselines[i], kept, int(targets[i]))
                shares = np.divide(scores, weights, out=np.zeros(len(kept)), where=weights > 0) / len(masks)
                for some in range(0, len(flat), _MASKS_A_SUM):
                    block = slice(some, some + _MASKS_A_SUM)
                    total[i] += (shares[block] @ flat[block]).reshape(masks.space)
        return np.array([minmax(one) for one in total], np.float32).reshape(len(images), *masks.space)

    def _scores(self, image: Floats, baseline: Floats, kept: NDArray[np.bool_], target: int) -> Doubles:
        plans = [
            PerturbationPlan(start=image, end=baseline, step_map=mask[None].view(np.uint8), intervals=1)
            for mask in kept
        ]  # step 0 where the mask is 0: there image 1 shows the baseline
        work = np.array([(i, 1) for i in range(len(plans))], np.int32)
        return self.read(self.passes.select(plans, work), np.full(len(plans), target))


def minmax(values: NDArray[np.floating]) -> Doubles:
    """Returns (v − min)/(max − min), float64; zeros where all are equal.

    Example:
        >>> minmax(np.array([2, 4, 3])), minmax(np.ones(2))
        (array([0. , 1. , 0.5]), array([0., 0.]))
    """
    low, high = float(values.min()), float(values.max())
    scaled: Doubles = (np.asarray(values, np.float64) - low) / (high - low if high > low else 1)
    return scaled
