"""SmoothGrad (Smilkov et al., 2017): the mean of gradients at noisy copies of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from c2i_fast.attribution.base import Context
from c2i_fast.attribution.torch_method import TorchMethod
from c2i_fast.errors import InputError
from c2i_fast.random_numbers import generator
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch

_COPIES_AT_ONCE = 32


class SmoothGrad(TorchMethod):
    """S[p] = Σ_c |1/M · Σ_i ∂F(x + n_i) / ∂x[c, p]|, n_i normal noise of σ = noise · (max x − min x), x normalised.

    The noise is drawn for each image's id, so batch mates do not matter, and the first copies of a larger set are those
    of a smaller one. captum's own noise comes from one global stream, so here captum makes the gradients only. M
    forward and backward passes an image.

    Options: `samples` (M, 50), `noise` (0.15; the paper has 0.1 to 0.2), `channels` (abs-sum).
    """

    name: ClassVar[str] = "smoothgrad"
    defaults: ClassVar[Mapping[str, Any]] = {"samples": 50, "noise": 0.15, "channels": "abs-sum"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._samples, self._noise = int(self._settings["samples"]), float(self._settings["noise"])
        if self._samples < 1 or not 0 <= self._noise < np.inf:
            raise InputError(f"smoothgrad: expected samples ≥ 1 and noise ≥ 0, got {self._samples} and {self._noise}")

    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch

        saliency = self._captum.Saliency(self._followed)
        means = torch.zeros_like(x, requires_grad=False)
        for row, image_id in enumerate(ids):
            one, random = x[row].detach(), generator(self._context.seed, self.name, image_id)
            spread = self._noise * float(one.max() - one.min())
            for first in range(0, self._samples, _COPIES_AT_ONCE):
                count = min(_COPIES_AT_ONCE, self._samples - first)
                noise = random.standard_normal((count, *one.shape), np.float32) * np.float32(spread)
                copies = (one + torch.from_numpy(noise).to(one)).requires_grad_()
                chosen = targets[row].expand(count)
                slopes = saliency.attribute(copies, additional_forward_args=chosen, abs=False)
                means[row] += slopes.sum(dim=0) / self._samples
        self.passes_used += len(x) * self._samples
        return means
