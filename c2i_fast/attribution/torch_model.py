"""What every torch method needs of a module: its input from pixels, its logits, and to be left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, check_targets
from c2i_fast.engines.torch_head import class_logits
from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.types import Activation, Floats, Preprocessing

if TYPE_CHECKING:
    import torch


def require(module: str, package: str) -> Any:
    """Returns the imported module; `MissingDependencyError` where `package` is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(package, "explain") from error


def module_of(context: Context, method: str) -> torch.nn.Module:
    """Returns the context's module; an `InputError` says what to use where there is none."""
    require("torch", "torch")
    if context.module is None:
        raise InputError(
            f"{method} needs gradients, so a torch model (torchvision:, timm:, .pt2 or module:callable); "
            "for an ONNX model use rise, or score maps made elsewhere"
        )
    return context.module


@contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """Holds the module in eval mode with frozen parameters, and puts both back at the end.

    Frozen parameters save the weight gradients, which nobody reads; eval mode keeps batch-norm statistics untouched
    and images independent of each other.
    """
    modes = [(part, part.training) for part in module.modules()]
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for part, _ in modes:
            part.training = False  # not eval(), which programs loaded from .pt2 refuse
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, training in modes:
            part.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)


def network_input(images: Floats, preprocessing: Preprocessing, module: torch.nn.Module) -> torch.Tensor:
    """Returns (pixels − mean)/std, channels reversed for BGR, on the module's device and ready for gradients."""
    import torch

    mean, std = (v.reshape(-1, *(1,) * (images.ndim - 2)) for v in preprocessing.channel_stats(images.shape[1]))
    normalised = (images - mean) / std
    if preprocessing.bgr:
        normalised = normalised[:, ::-1]
    weight = next(module.parameters(), torch.empty(0))
    tensor = torch.from_numpy(np.array(normalised, np.float32, order="C"))
    return tensor.to(weight.device, weight.dtype).requires_grad_()


def checked_logits(
    output: object, preprocessing: Preprocessing, targets: NDArray[Any], activation: Activation = "softmax"
) -> torch.Tensor:
    """Returns `class_logits` of a network output that must be one (N, K) tensor holding every target."""
    import torch

    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        came = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise InputError(f"expected the model to return one tensor (N, classes), got {came}")
    logits = class_logits(output, preprocessing, activation)
    check_targets(targets, logits.shape[1])
    return logits
