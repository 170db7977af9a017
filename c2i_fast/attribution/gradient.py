"""The plain gradient (Simonyan et al., 2013), through captum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Need, check_batch
from c2i_fast.attribution.torch_model import checked_logits, module_of, network_input, require, undisturbed
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch


class Gradient:
    """S[p] = Σ_c |∂ logit_target / ∂ x[c, p]|, x the normalised input: absolute values, summed over channels.

    The logit is the uncalibrated one (of a network that returns probabilities, their logarithm), so a temperature
    cannot change the order of pixels. One forward and one backward pass an image; images of one call share a batch.
    """

    name: ClassVar[str] = "gradient"
    needs: ClassVar[Need] = "torch"
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, context: Context) -> None:
        context.settings(Gradient)
        self.passes_used = 0
        self._module = module_of(context, self.name)
        self._preprocessing, self._activation = context.preprocessing, context.activation
        self._saliency = require("captum.attr", "captum").Saliency

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns absolute gradients, float32 (N, *space); see `Method.explain`."""
        import torch

        check_batch(ids, images, targets)

        def logits(x: torch.Tensor) -> torch.Tensor:
            return checked_logits(self._module(x), self._preprocessing, targets, self._activation)

        with undisturbed(self._module), torch.enable_grad():
            x = network_input(images, self._preprocessing, self._module)
            chosen = torch.as_tensor(np.asarray(targets, np.int64), device=x.device)
            gradient: torch.Tensor = self._saliency(logits).attribute(x, target=chosen, abs=True)
        self.passes_used += len(images)
        maps: Floats = gradient.detach().float().sum(dim=1).cpu().numpy()
        return maps
