"""CAM (Zhou et al., 2016), where it is exact: a network that ends in a global mean and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, check_batch, check_targets
from c2i_fast.attribution.masked import MaskedMethod
from c2i_fast.attribution.upsample import resized
from c2i_fast.types import Floats


class Cam(MaskedMethod):
    """S = up(Σ_k W[target, k]·A_k): the mean of the low-resolution map is the target's logit less its bias.

    A is what the global mean reads; no gradient is needed, and Grad-CAM of such a network is ReLU(S) up to a positive
    factor. Signed: what speaks against the class is negative. Upsampled linearly (half-pixel). One pass an image.
    """

    name: ClassVar[str] = "cam"
    own_target: ClassVar[bool] = True  # the logit, in closed form
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.layer, self._weights = self.taps().linear_head()

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns class activation maps, float32 (N, *space); see `Method.explain`."""
        check_batch(ids, images, targets)
        check_targets(targets, len(self._weights))
        if not len(images):
            return np.zeros((0, *images.shape[2:]), np.float32)
        features = self.features(self.taps().features(self.layer), images)
        maps = np.einsum("nk,nk...->n...", self._weights[targets], features.astype(np.float64))
        return resized(maps, images.shape[2:], first=1).astype(np.float32)
