"""Grad-CAM (Selvaraju et al., 2017), through pytorch-grad-cam."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Need, check_batch
from c2i_fast.attribution.layers import last_convolutional, named, trace
from c2i_fast.attribution.torch_model import checked_logits, module_of, network_input, require, undisturbed
from c2i_fast.errors import InputError
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch


class GradCam:
    """S = ReLU(Σ_k α_k A_k), α_k the spatial mean of ∂ logit_target / ∂ A_k, A the activations of one layer.

    Scaled to [0, 1] and resized to (H, W) by pytorch-grad-cam (bilinear, half-pixel). The logit is the uncalibrated
    one. One forward and one backward pass an image, and one forward pass to find the layer.

    Options: `layer`, a dotted module name; None takes the outermost block that ends with the last convolution.
    """

    name: ClassVar[str] = "gradcam"
    needs: ClassVar[Need] = "torch"
    defaults: ClassVar[Mapping[str, Any]] = {"layer": None}

    def __init__(self, context: Context) -> None:
        self._wanted: str | None = context.settings(GradCam)["layer"]
        self.passes_used = 0
        self.layer: str | None = None
        self._module = module_of(context, self.name)
        self._preprocessing, self._activation = context.preprocessing, context.activation
        self._library = require("pytorch_grad_cam", "grad-cam")

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns Grad-CAM maps in [0, 1], float32 (N, H, W); see `Method.explain`."""
        import torch

        check_batch(ids, images, targets)
        if images.ndim != 4:
            raise InputError(
                f"gradcam reads pictures (N, C, H, W), got {images.shape}; for signals use rise or gradient"
            )
        x = network_input(images, self._preprocessing, self._module)
        layer = self._module.get_submodule(self._find_layer(x))
        with undisturbed(self._module), torch.enable_grad():
            cam = self._library.GradCAM(model=self._module, target_layers=[layer])
            # What follows gets a copy, lest an in-place ReLU change the activations that were just recorded.
            copying = layer.register_forward_hook(lambda part, inputs, output: output.clone())
            try:
                maps = cam(input_tensor=x, targets=[self._logit_of(target) for target in targets])
            finally:
                copying.remove()
                cam.activations_and_grads.release()
        self.passes_used += len(images)
        return np.asarray(maps, np.float32)

    def _find_layer(self, x: torch.Tensor) -> str:
        """Returns the layer's name, looked for on the first image of the first call and kept."""
        if self.layer is None:
            layers = trace(self._module, x[:1])
            self.passes_used += 1
            self.layer = (last_convolutional(layers) if self._wanted is None else named(layers, self._wanted)).name
        return self.layer

    def _logit_of(self, target: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Returns what pytorch-grad-cam calls a target: one image's output (classes,) → the number to explain."""
        chosen = np.array([target])
        return lambda output: checked_logits(output[None], self._preprocessing, chosen, self._activation)[
            0, int(target)
        ]
