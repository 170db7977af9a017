"""From what a torch network returns to raw logits, the same for every engine and for gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.types import SIGMOID_MARGIN, Activation, Preprocessing

if TYPE_CHECKING:
    import torch


def class_logits(
    output: torch.Tensor, preprocessing: Preprocessing, activation: Activation = "softmax"
) -> torch.Tensor:
    """Returns raw logits (…, K) of a network's output (…, K + drop_class), in the output's type.

    Leading classes are dropped. Of probabilities the logarithm is taken, of a sigmoid's log p − log(1 − p), p kept
    2⁻²⁴ from 0 and 1.

    Example:
        >>> import torch
        >>> class_logits(torch.tensor([[0.9, 0.75]]), Preprocessing(outputs="probabilities", drop_class=1), "sigmoid")
        tensor([[1.0986]])
    """
    kept = output[..., preprocessing.drop_class :]
    if preprocessing.outputs == "logits":
        return kept
    if activation == "sigmoid":
        return kept.clamp(SIGMOID_MARGIN, 1 - SIGMOID_MARGIN).logit()
    # An exact zero has no logarithm; below the smallest normal number the gradient is 0 and not NaN.
    return kept.clamp_min(kept.new_tensor(np.finfo(np.float32).tiny)).log()
