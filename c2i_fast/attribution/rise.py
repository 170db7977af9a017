"""RISE: which random masks keep the score up. All of its cost is masked passes, so it runs on any engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Need, check_batch, check_targets
from c2i_fast.attribution.masked import at_least_one, soft_plan
from c2i_fast.attribution.masks import RiseMasks
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, Floats, MaskedPasses, PerturbationPlan

# Masks an image in one call of the engine: a multiple of every usual batch size, so that only the last call pads.
_MASKS_A_CALL = 256
# Values of `axes` in one call: 32 MB in float32. Only long signals reach it.
_AXES_VALUES = 1 << 23


class Rise:
    """RISE (Petsiuk, Das, Saenko, 2018): S = 1/(M·p) · Σ_i score(baseline·(1 − m_i) + image·m_i) · m_i.

    The masks are those of the released code (`RiseMasks`), one set for all images of a run. The baseline is `zero` in
    normalised space, which is the preprocessing mean in pixels. The score is the context's read-out of the target.

    Options: `masks` (M, 4000), `grid` (cells an axis, 7), `p` (share kept, 0.5).
    """

    name: ClassVar[str] = "rise"
    needs: ClassVar[Need] = "passes"
    gives_fraction: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {"masks": 4000, "grid": 7, "p": 0.5}

    def __init__(self, context: Context) -> None:
        settings = context.settings(Rise)
        if context.passes is None:
            raise InputError("rise needs masked passes through an engine, and the context has none")
        self.passes_used = 0
        self._context = context
        self._passes: MaskedPasses = context.passes
        self._masks: RiseMasks | None = None
        self._count = at_least_one("rise", "masks", settings["masks"])
        self._grid = at_least_one("rise", "grid", settings["grid"])
        self._p = kept_share("rise", settings["p"])

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns RISE maps, float32 (N, *space), from N·M passes; see `Method.explain`."""
        check_batch(ids, images, targets)
        masks = self._masks_for(images.shape[2:])
        scores = self._scores(self._plans(images), masks, np.asarray(targets))
        maps = [masks.weighted_sum(row) / (len(masks) * self._p) for row in scores]
        return np.array(maps, np.float32).reshape(len(images), *images.shape[2:])

    def _masks_for(self, space: tuple[int, ...]) -> RiseMasks:
        if self._masks is None or self._masks.space != space:
            self._masks = RiseMasks(space, masks=self._count, grid=self._grid, p=self._p, seed=self._context.seed)
        return self._masks

    def _plans(self, images: Floats) -> list[PerturbationPlan]:
        channels, *space = images.shape[1:]
        mean = self._context.preprocessing.channel_stats(channels)[0].reshape(-1, *(1,) * len(space))
        start = np.broadcast_to(mean, images.shape[1:])
        return [soft_plan(start, image) for image in images]

    def _scores(self, plans: Sequence[PerturbationPlan], masks: RiseMasks, targets: NDArray[Any]) -> Doubles:
        """Returns the read-out of every masked image, float64 (N, M)."""
        scores = np.empty((len(plans), len(masks)))
        for chosen in mask_chunks(masks) if plans else ():
            grids = masks.grids[chosen]
            work = np.indices((len(plans), len(grids)), np.int32).reshape(2, -1).T.copy()
            logits = self._passes.blend(plans, grids, masks.axes(chosen), work)
            check_targets(targets, logits.shape[1])
            hidden = masks.perturbed_fraction(chosen)[work[:, 1]]
            scores[:, chosen] = self._context.read(logits, targets[work[:, 0]], hidden).reshape(len(plans), -1)
            self.passes_used += len(work)
        return scores


def mask_chunks(masks: RiseMasks) -> Iterator[slice]:
    """Yields the masks by the call of the engine: few enough that their `axes` stay small."""
    step = max(1, min(_MASKS_A_CALL, _AXES_VALUES // (sum(masks.space) * masks.grid)))
    return (slice(first, first + step) for first in range(0, len(masks), step))


def kept_share(method: str, p: Any) -> float:
    """Returns the probability of keeping a cell; an `InputError` where it is none.

    Example:
        >>> kept_share("rise", 0.5)
        0.5
    """
    if not 0 < float(p) <= 1:
        raise InputError(f"{method}: p is the share of cells kept, expected 0 < p ≤ 1, got {p}")
    return float(p)
