"""The plain gradient (Simonyan et al., 2013), through captum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from c2i_fast.attribution.torch_method import TorchMethod
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch


class Gradient(TorchMethod):
    """S[p] = Σ_c |∂F / ∂x[c, p]|, x the normalised input and F what is followed.

    Unless told, F is the uncalibrated logit (of a network that returns probabilities, their logarithm), so a
    temperature cannot change the order of pixels. One forward and one backward pass an image; images of one call share
    a batch. Options: `channels` (abs-sum).
    """

    name: ClassVar[str] = "gradient"
    defaults: ClassVar[Mapping[str, Any]] = {"channels": "abs-sum"}

    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.passes_used += len(x)
        saliency = self._captum.Saliency(self._followed)
        gradient: torch.Tensor = saliency.attribute(x, additional_forward_args=targets, abs=False)
        return gradient
