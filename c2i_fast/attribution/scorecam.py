"""Score-CAM (Wang et al., 2020) as masked passes: every channel of a layer is a soft mask, given as its small grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import check_batch
from c2i_fast.attribution.masked import MaskedMethod, soft_plan
from c2i_fast.attribution.upsample import aligned_axis, linear_axis, resized
from c2i_fast.types import Doubles, Floats

_MASKS_A_CALL = 256
_TINY = 1e-8  # of pytorch-grad-cam's min-max, so that a channel of tiny values is not blown up


class ScoreCam(MaskedMethod):
    """S = up(ReLU(Σ_k w_k A_k)), w = softmax_k(score(baseline·(1 − m_k) + image·m_k)), m_k = minmax(up(A_k)).

    A is the layer's output of the clean image, `up` linear interpolation to the image. m_k is affine in A_k and the
    rows of the interpolation sum to 1, so the scaling is done on the grid and the engine does the rest: no mask is made
    at full size. A constant channel is a mask of zeros; all of them share one pass. Passes: channels that vary + 2.

    Options: `layer` (None: the last with a grid), `align_corners` (False: half-pixel, as the authors' code; True: as
    pytorch-grad-cam), `baseline`.
    """

    name: ClassVar[str] = "scorecam"
    defaults: ClassVar[Mapping[str, Any]] = {"layer": None, "align_corners": False, "baseline": "mean"}

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns Score-CAM maps ≥ 0, float32 (N, *space); see `Method.explain`."""
        check_batch(ids, images, targets)
        if not len(images):
            return np.zeros((0, *images.shape[2:]), np.float32)
        features = self.features(self.taps().features(self.options["layer"]), images)
        maps = []
        for i, (image_id, image) in enumerate(zip(ids, images, strict=True)):
            weights = self.weights(image, self.baseline(image_id, image), features[i], int(targets[i]))
            maps.append(np.maximum(np.tensordot(weights, features[i].astype(np.float64), axes=1), 0))
        return resized(np.array(maps), images.shape[2:], first=1).astype(np.float32)

    def weights(self, image: Floats, baseline: Floats, channels: Floats, target: int) -> Doubles:
        """Returns w of one image's channels (C, *g), float64 (C,), their sum 1."""
        up = aligned_axis if self.options["align_corners"] else linear_axis_clamped
        axes = [up(size, cells) for size, cells in zip(image.shape[1:], channels.shape[1:], strict=True)]
        grids, varies = unit_grids(channels, axes)
        shown = np.concatenate([grids[varies], np.zeros((int(not varies.all()), *grids.shape[1:]), np.float32)])
        scores = np.empty(len(shown))
        plan, targets = soft_plan(baseline, image), np.array([target])
        for first in range(0, len(shown), _MASKS_A_CALL):
            part = shown[first : first + _MASKS_A_CALL]
            repeated = [np.broadcast_to(a.astype(np.float32), (len(part), *a.shape)) for a in axes]
            scores[first : first + len(part)] = self.blended([plan], targets, part, repeated)[0]
        spread_out = np.full(len(channels), scores[-1])  # the constant ones; overwritten where there are none
        spread_out[varies] = scores[: int(varies.sum())]
        exponentials = np.exp(spread_out - spread_out.max())
        weights: Doubles = exponentials / exponentials.sum()
        return weights


def linear_axis_clamped(out: int, source: int) -> Doubles:
    """Returns `linear_axis` with its borders clamped."""
    return linear_axis(out, source, "clamp")


def unit_grids(channels: Floats, axes: Sequence[Doubles]) -> tuple[Floats, NDArray[np.bool_]]:
    """Returns grids whose upsampled maps have minimum 0 and maximum 1, float32 (C, *g), and which channels vary.

    The extremes of the upsampled map lie within those of the grid but need not equal them. Between neighbouring cells
    the map is multilinear, so on the elements that fall there it is extreme at the outermost of them: only those rows
    of each matrix are computed, at most two a cell.

    Args:
        channels: (C, *g).
        axes: interpolation matrices (size_d, g_d), rows of at most two neighbouring weights that sum to 1.

    Example:
        >>> halves = np.array([[0.75, 0.25], [0.25, 0.75]])
        >>> unit_grids(np.array([[0, 1], [2, 2]], np.float32), [halves])
        (array([[-0.5,  1.5],
               [ 0. ,  0. ]], dtype=float32), array([ True, False]))
    """
    maps = channels.astype(np.float64)
    for matrix in axes:  # takes the first axis of the grid away and appends its extreme elements
        maps = np.tensordot(maps, matrix[_outermost(matrix)], axes=(1, 1))
    flat = maps.reshape(len(channels), -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    varies: NDArray[np.bool_] = high > low
    per_channel = (-1, *(1,) * (channels.ndim - 1))
    grids = (channels - low.reshape(per_channel)) / (high - low + _TINY).reshape(per_channel)
    grids[~varies] = 0
    return grids.astype(np.float32), varies


def _outermost(matrix: Doubles) -> NDArray[np.bool_]:
    """Which rows are the first or the last of those that fall between the same two cells."""
    begins = (matrix != 0).argmax(axis=1)
    change = np.flatnonzero(np.diff(begins))
    chosen = np.zeros(len(matrix), bool)
    chosen[[0, -1, *change, *(change + 1)]] = True
    return chosen
