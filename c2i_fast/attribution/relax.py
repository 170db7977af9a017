"""RELAX (Wickstrøm et al., 2023): which parts of an image carry its representation, whatever the classes are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, check_batch
from c2i_fast.attribution.masked import MaskedMethod, soft_plan
from c2i_fast.attribution.masks import RiseMasks
from c2i_fast.attribution.rise import kept_share, mask_chunks
from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.types import Doubles, Floats, Tap

_SMALLEST_NORM = 1e-8  # of the product of two lengths, as in torch's cosine similarity


class Relax(MaskedMethod):
    """R = Σ_n m_n s_n / Σ_n m_n and U = Σ_n m_n (s_n − R)², s_n the cosine of h(x) and h(baseline·(1 − m_n) + x·m_n).

    h is a layer's values, averaged over its grid where it has one; m_n are RISE's masks, one set for all images. R is
    the map. U, a weighted sum of squares as the authors' running update has it, goes to `relax-uncertainty`. The target
    plays no part. Sums are taken about the mean of s in float64, so nothing cancels. Passes: M + 1 an image.

    Options: `layer` (None: the last with a grid), `masks` (M, 3000), `grid` (7), `p` (0.5), `baseline`, and `threshold`
    (`median`, `mean`, `otsu`, `triangle`; None): U-RELAX, R where U is at most that threshold of U and 0 elsewhere.
    """

    name: ClassVar[str] = "relax"
    own_target: ClassVar[bool] = True  # a representation, and no class
    further: ClassVar[tuple[str, ...]] = ("relax-uncertainty",)
    defaults: ClassVar[Mapping[str, Any]] = {
        "layer": None,
        "masks": 3000,
        "grid": 7,
        "p": 0.5,
        "baseline": "mean",
        "threshold": None,
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._set = {"masks": self.at_least_one("masks"), "grid": self.at_least_one("grid")}
        self._p = kept_share(self.name, self.options["p"])
        self._threshold = threshold_of(self.options["threshold"])
        self.further_maps: Mapping[str, Floats] = {}

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns R, float32 (N, *space), and leaves U in `further_maps`; see `Method.explain`."""
        check_batch(ids, images, targets)
        masks = RiseMasks(images.shape[2:], **self._set, p=self._p, seed=self.context.seed)
        similar = self._similarities(ids, images, masks)
        both = [importance_and_uncertainty(masks, row) for row in similar]
        importance, uncertainty = (
            np.array([pair[which] for pair in both], np.float64).reshape(len(images), *masks.space) for which in (0, 1)
        )
        self.further_maps = {self.further[0]: uncertainty.astype(np.float32)}
        if self._threshold is not None:
            for one, unsure in zip(importance, uncertainty, strict=True):
                one[unsure > self._threshold(unsure)] = 0
        return importance.astype(np.float32)

    def _similarities(self, ids: Sequence[str], images: Floats, masks: RiseMasks) -> Doubles:
        """Returns s, float64 (N, M)."""
        similar = np.empty((len(images), len(masks)))
        if not len(images):
            return similar
        tap: Tap = self.taps().embedding(self.options["layer"])
        clean = self.features(tap, images)
        plans = [soft_plan(self.baseline(i, image), image) for i, image in zip(ids, images, strict=True)]
        for chosen in mask_chunks(masks):
            grids = masks.grids[chosen]
            work = np.indices((len(plans), len(grids)), np.int32).reshape(2, -1).T.copy()
            shown = tap.passes.blend(plans, grids, masks.axes(chosen), work)
            self.passes_used += len(work)
            similar[:, chosen] = cosine(clean[work[:, 0]], shown).reshape(len(plans), -1)
        return similar


def cosine(first: Floats, second: Floats) -> Doubles:
    """Returns the cosine of the angle between rows of two arrays (P, D), float64 (P,); 0 where one is all zeros.

    Example:
        >>> cosine(np.array([[1, 0], [0, 0]], np.float32), np.array([[1, 1], [1, 1]], np.float32)).round(4)
        array([0.7071, 0.    ])
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    similarity: Doubles = np.einsum("pd,pd->p", a, b) / np.maximum(lengths, _SMALLEST_NORM)
    return similarity


def importance_and_uncertainty(masks: RiseMasks, similar: Doubles) -> tuple[Doubles, Doubles]:
    """Returns R and U, float64 (*space), of similarities (M,). What no mask shows has R = mean(s), U = 0."""
    centre = float(similar.mean())
    apart = similar - centre
    shown = masks.weighted_sum(np.ones(len(masks)))
    first, second = masks.weighted_sum(apart), masks.weighted_sum(apart**2)
    mean = np.divide(first, shown, out=np.zeros_like(first), where=shown > 0)
    return centre + mean, np.maximum(second - first * mean, 0)


def threshold_of(name: str | None) -> Callable[[Doubles], float] | None:
    """Returns what `threshold` means: a function of U's values; None for none.

    Example:
        >>> threshold_of("mean")(np.array([1.0, 2.0, 6.0]))
        3.0
    """
    own: dict[str, Callable[[Doubles], Any]] = {"mean": np.mean, "median": np.median}
    if name is None:
        return None
    if name in own:
        return lambda values: float(own[name](values))
    if name not in ("otsu", "triangle"):
        raise InputError(f"relax: threshold is one of mean, median, otsu and triangle, got {name!r}")
    try:
        from skimage import filters
    except ImportError as error:
        raise MissingDependencyError("scikit-image", "explain") from error
    found = getattr(filters, f"threshold_{name}")
    return lambda values: float(found(values)) if np.ptp(values) > 0 else float(values.max())
