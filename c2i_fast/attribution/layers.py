"""Which layers a network runs, in which order, and which of them carries the picture's grid last."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2i_fast.attribution.torch_model import undisturbed
from c2i_fast.errors import InputError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A sub-module as seen in one forward pass.

    Attributes:
        name: dotted, as in `named_modules`.
        kind: its class name.
        shape: of its last output, without N; None where that is not a tensor.
        calls: how often it ran.
        convolution: "is" a 2-D convolution, "has" one inside, or "" neither.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    calls: int
    convolution: str

    @property
    def has_grid(self) -> bool:
        """Whether its output is (C, h, w) with more than one position."""
        return self.shape is not None and len(self.shape) == 3 and self.shape[1] * self.shape[2] > 1


def trace(module: torch.nn.Module, x: torch.Tensor) -> list[Layer]:
    """Returns the sub-modules that ran on `x`, in the order in which they (last) finished. One forward pass."""
    import torch

    seen: dict[str, Layer] = {}

    def watch(name: str) -> Callable[[torch.nn.Module, Any, Any], None]:
        def hook(part: torch.nn.Module, _: Any, output: Any) -> None:
            calls = seen.pop(name).calls + 1 if name in seen else 1
            shape = tuple(output.shape[1:]) if isinstance(output, torch.Tensor) else None
            inside = any(isinstance(child, torch.nn.Conv2d) for child in part.modules())
            convolution = "is" if isinstance(part, torch.nn.Conv2d) else "has" if inside else ""
            seen[name] = Layer(name=name, kind=type(part).__name__, shape=shape, calls=calls, convolution=convolution)

        return hook

    handles = [part.register_forward_hook(watch(name)) for name, part in module.named_modules() if name]
    try:
        with undisturbed(module), torch.no_grad():
            module(x)
    finally:
        for handle in handles:
            handle.remove()
    return list(seen.values())


def last_convolutional(layers: list[Layer], method: str = "gradcam") -> Layer:
    """Returns the layer Grad-CAM reads by default: the outermost block that ends with the last convolution.

    That is, of the sub-modules that are or hold a 2-D convolution and return a grid, the one that finishes last:
    `layer4` of a ResNet, `features` of a VGG or MobileNet, the convolution itself in a flat network.

    Raises:
        InputError: there is none, or attention blocks follow it (a vision transformer's grid is in its tokens).
    """
    convolutions = [i for i, layer in enumerate(layers) if layer.convolution == "is" and layer.has_grid]
    if not convolutions:
        raise InputError(f"{method} needs a 2-D convolution with a grid to look at, and this model runs none; try rise")
    tail = layers[convolutions[-1] :]
    if any("Attention" in layer.kind for layer in tail):
        raise InputError(
            f"{method}: after its last convolution this model works on tokens (attention blocks), and turning tokens "
            "back into a grid is not supported; name a convolutional layer with `layer`, or use rise"
        )
    usable = [layer for layer in tail if layer.convolution and layer.has_grid and layer.calls == 1]
    if not usable:
        raise InputError(f"{method}: the last convolution runs several times in one pass; name a layer with `layer`")
    return usable[-1]


def default_layer(layers: list[Layer]) -> Layer | None:
    """Returns `last_convolutional`, None where there is none."""
    try:
        return last_convolutional(layers)
    except InputError:
        return None


def named(layers: list[Layer], name: str, method: str = "gradcam") -> Layer:
    """Returns the layer of that name; an `InputError` where it did not run just once or returns no grid."""
    found = {layer.name: layer for layer in layers}
    if name not in found:
        close = difflib.get_close_matches(name, found, n=5, cutoff=0.4)
        hint = f"close to it: {', '.join(close)}" if close else f"the last ones are: {', '.join(list(found)[-5:])}"
        raise InputError(f"{method}: no layer {name!r} runs in this model; {hint}")
    layer = found[name]
    if not layer.has_grid:
        raise InputError(f"{method}: layer {name!r} returns {layer.shape} an image, expected a grid (channels, h, w)")
    if layer.calls > 1:
        raise InputError(f"{method}: layer {name!r} runs {layer.calls} times in one pass, so its output is not one map")
    return layer
