"""The gradient of a model that has learnt nothing: the sanity check of Adebayo et al. (2018)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from c2i_fast.attribution.base import Context
from c2i_fast.attribution.gradient import Gradient
from c2i_fast.attribution.torch_model import module_of
from c2i_fast.random_numbers import generator

if TYPE_CHECKING:
    import torch


class Randomised(Gradient):
    """The map of `gradient` under re-initialised weights: a control that sees the image and the architecture.

    Every parameter is drawn anew from a normal of its own mean and spread, which keeps signals at the scale they had
    however deep the network. The class followed is still that of the trained model. Options: those of `gradient`.
    """

    name: ClassVar[str] = "randomised"
    defaults: ClassVar[Mapping[str, Any]] = Gradient.defaults

    def __init__(self, context: Context) -> None:
        super().__init__(replace(context, module=reinitialised(module_of(context, self.name), context.seed)))


def reinitialised(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Returns a copy whose parameters are random, each a function of the seed and its name alone."""
    import torch

    made = copy.deepcopy(module)
    with torch.no_grad():
        for name, values in made.named_parameters():
            drawn = generator(seed, "randomised", name).standard_normal(tuple(values.shape), np.float32)
            centre, spread = values.double().mean(), values.double().std(correction=0)
            values.copy_(torch.as_tensor(drawn).to(values) * spread.to(values) + centre.to(values))
    return made
