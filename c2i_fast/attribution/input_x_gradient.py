"""Input × gradient (Shrikumar et al., 2016), through captum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from c2i_fast.attribution.torch_method import TorchMethod
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch


class InputXGradient(TorchMethod):
    """S[p] = Σ_c x[c, p] · ∂F / ∂x[c, p], x the normalised input: the first-order share of each place in F(x) − F(0).

    One forward and one backward pass an image. Options: `channels` (sum).
    """

    name: ClassVar[str] = "input-x-gradient"
    defaults: ClassVar[Mapping[str, Any]] = {"channels": "sum"}

    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.passes_used += len(x)
        product: torch.Tensor = self._captum.InputXGradient(self._followed).attribute(
            x, additional_forward_args=targets
        )
        return product
