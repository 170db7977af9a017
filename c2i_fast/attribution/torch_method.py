"""What gradient methods share: from images to one attribution a value, and from those to one a place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Method, Need, check_batch
from c2i_fast.attribution.follow import followed_tensor
from c2i_fast.attribution.torch_model import checked_logits, module_of, network_input, require, undisturbed
from c2i_fast.errors import InputError
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch

REDUCTIONS = ("abs-sum", "sum")


class TorchMethod(Method):
    """A method on a torch module through captum; a subclass says what each value of the input is worth.

    Every one has the option `channels`: `abs-sum`, Σ_c |a_c|, or `sum`, the signed Σ_c a_c.
    """

    needs: ClassVar[Need] = "torch"
    defaults: ClassVar[Mapping[str, Any]]

    def __init__(self, context: Context) -> None:
        self._settings = context.settings(type(self))
        if self._settings["channels"] not in REDUCTIONS:
            raise InputError(f"{self.name}: channels is {' or '.join(REDUCTIONS)}, got {self._settings['channels']!r}")
        self.passes_used = 0
        self._context = context
        self._module = module_of(context, self.name)
        self._captum = require("captum.attr", "captum")

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns attributions with the channels summed, float32 (N, *space); see `Method.explain`."""
        import torch

        check_batch(ids, images, targets)
        with undisturbed(self._module), torch.enable_grad():
            x = self._input(images)
            chosen = torch.as_tensor(np.asarray(targets, np.int64), device=x.device)
            values = self._attributions(ids, images, x, chosen).detach().float()
        maps: Floats = (values.abs() if self._settings["channels"] == "abs-sum" else values).sum(dim=1).cpu().numpy()
        return maps

    @abstractmethod
    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Returns what each value of the network's input x (N, C, *space) is worth, the same shape."""

    def _input(self, images: Floats) -> torch.Tensor:
        return network_input(images, self._context.preprocessing, self._module)

    def _followed(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Returns what the map follows of x (N, C, *space) and targets (N,), (N,)."""
        return followed_output(self._module(x), targets, self._context)


def followed_output(output: object, targets: torch.Tensor, context: Context) -> torch.Tensor:
    """Returns what maps follow of a network's output (N, classes) and targets (N,), (N,); the logit unless told."""
    logits = checked_logits(output, context.preprocessing, targets.cpu().numpy(), context.activation)
    return followed_tensor(
        context.follow or "logit", logits, targets, calibrator=context.calibrator, activation=context.activation
    )
