"""Layer-wise relevance propagation (Bach et al., 2015), the ε-rule, through captum."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from c2i_fast.attribution.base import Context
from c2i_fast.attribution.torch_method import TorchMethod, followed_output
from c2i_fast.errors import InputError
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch

# Sums with the ε-rule that captum does not list, and layers that only hand values on (in eval mode).
_SUMS = {"AvgPool1d", "AdaptiveAvgPool1d"}
_HANDED_ON = {"Flatten", "Unflatten", "Identity", "Dropout1d", "Dropout2d", "Dropout3d", "StochasticDepth", "DropPath"}
# One number in, one out: relevance passes as it is.
_POINTWISE = {"ReLU6", "LeakyReLU", "ELU", "SELU", "SiLU", "GELU", "Hardswish", "Hardtanh", "Sigmoid", "Softplus"}
_POINTWISE |= {"Hardsigmoid", "Mish", "PReLU", "Softsign"}


class Lrp(TorchMethod):
    """S[p] = Σ_c R[c, p], relevance handed down from F layer by layer: R_i = Σ_j x_i w_ij / (z_j + ε sign z_j) · R_j.

    z_j = Σ_i x_i w_ij + b_j, so biases keep their share; pointwise activations pass relevance on. Works on networks of
    layers that have a rule (convolutions, linear layers, pooling, batch norm, pointwise activations), each used once;
    others are refused by name. Two forward passes and one backward an image. Of a probability, R starts at ∂F/∂z · F of
    the classes.

    Options: `epsilon` (1e-9; Calibrate to Interpret has 3), `channels` (sum).
    """

    name: ClassVar[str] = "lrp"
    defaults: ClassVar[Mapping[str, Any]] = {"epsilon": 1e-9, "channels": "sum"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._epsilon = float(self._settings["epsilon"])
        if not 0 < self._epsilon < float("inf"):
            raise InputError(f"lrp: epsilon must be positive, got {self._epsilon}")
        # A copy of its own: captum hangs rules on layers, and an in-place activation would spoil what it kept.
        self._module = copy.deepcopy(self._module)
        for part in self._module.modules():
            if getattr(part, "inplace", False):
                setattr(part, "inplace", False)  # noqa: B010  # a type checker takes the attribute for a sub-module

    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self._give_rules()
        try:
            relevance: torch.Tensor = self._captum.LRP(_scored(self._module, self._context)).attribute(
                x, additional_forward_args=targets
            )
        except RuntimeError as error:
            if "used more than once" not in str(error):
                raise
            raise InputError(
                "lrp needs every layer used once a pass, and this model uses one several times; use another method"
            ) from error
        self.passes_used += 2 * len(x)
        return relevance

    def _give_rules(self) -> None:
        """Gives every layer its rule, which captum takes away after each call; an `InputError` where there is none."""
        from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
        from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

        for name, layer in self._module.named_modules():
            kind = type(layer).__name__
            if next(layer.children(), None) is not None or type(layer) in SUPPORTED_NON_LINEAR_LAYERS:
                continue
            if type(layer) in SUPPORTED_LAYERS_WITH_RULES or kind in _SUMS:
                layer.rule = EpsilonRule(self._epsilon)
            elif kind in _HANDED_ON:
                layer.rule = EpsilonRule()
            elif kind in _POINTWISE:
                layer.rule = IdentityRule()
            else:
                raise InputError(
                    f"lrp has no rule for layer {name or 'the whole model'!r} ({kind}); use integrated-gradients or "
                    "rise, or score maps made elsewhere"
                )


def _scored(module: torch.nn.Module, context: Context) -> torch.nn.Module:
    """Returns a module (x, targets) → what is followed, with `module` as its child, where captum looks for layers."""
    import torch

    class Scored(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = module

        def forward(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            return followed_output(self.network(x), targets, context)

    return Scored()
