"""Class activation maps by gradients, through pytorch-grad-cam: Grad-CAM and four of its kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Method, Need, check_batch
from c2i_fast.attribution.layers import last_convolutional, named, trace
from c2i_fast.attribution.torch_method import followed_output
from c2i_fast.attribution.torch_model import module_of, network_input, require, undisturbed
from c2i_fast.errors import InputError
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch


class _Cam(Method):
    """S = ReLU(Σ_k w_k A_k), A the activations (K, h, w) of one layer, G = ∂F/∂A, F what is followed.

    Scaled to [0, 1] and resized to (H, W) by pytorch-grad-cam (bilinear, half-pixel). F is the uncalibrated logit
    unless told. One forward and one backward pass an image, and one forward pass to find the layer.

    Options: `layer`, a dotted module name; None takes the outermost block that ends with the last convolution.
    """

    needs: ClassVar[Need] = "torch"
    defaults: ClassVar[Mapping[str, Any]] = {"layer": None}
    kind: ClassVar[str]  # pytorch-grad-cam's class

    def __init__(self, context: Context) -> None:
        self._wanted: str | None = context.settings(type(self))["layer"]
        self.passes_used = 0
        self.layer: str | None = None
        self._module = module_of(context, self.name)
        self._context = context
        self._library = require("pytorch_grad_cam", "grad-cam")

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns maps in [0, 1], float32 (N, H, W); see `Method.explain`."""
        import torch

        check_batch(ids, images, targets)
        if images.ndim != 4:
            raise InputError(
                f"{self.name} reads pictures (N, C, H, W), got {images.shape}; for signals use rise or gradient"
            )
        x = network_input(images, self._context.preprocessing, self._module)
        layer = self._module.get_submodule(self._find_layer(x))
        with undisturbed(self._module), torch.enable_grad():
            cam = getattr(self._library, self.kind)(model=self._module, target_layers=[layer])
            # What follows gets a copy, lest an in-place ReLU change the activations that were just recorded.
            copying = layer.register_forward_hook(lambda part, inputs, output: output.clone())
            try:
                maps = cam(input_tensor=x, targets=[self._followed_of(target) for target in targets])
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
            wanted = self._wanted
            found = last_convolutional(layers, self.name) if wanted is None else named(layers, wanted, self.name)
            self.layer = found.name
        return self.layer

    def _followed_of(self, target: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Returns what pytorch-grad-cam calls a target: one image's output (classes,) → the number to explain."""
        import torch

        def followed(output: torch.Tensor) -> torch.Tensor:
            chosen = torch.tensor([int(target)], device=output.device)
            return followed_output(output[None], chosen, self._context)[0]

        return followed


class GradCam(_Cam):
    """Grad-CAM (Selvaraju et al., 2017): w_k is the spatial mean of G_k."""

    name: ClassVar[str] = "gradcam"
    kind: ClassVar[str] = "GradCAM"


class GradCamPlusPlus(_Cam):
    """Grad-CAM++ (Chattopadhay et al., 2018): w_k = Σ α ReLU(G_k), α = G²/(2G² + G³ · Σ A_k + 1e-6)."""

    name: ClassVar[str] = "gradcam++"
    kind: ClassVar[str] = "GradCAMPlusPlus"


class XGradCam(_Cam):
    """XGrad-CAM (Fu et al., 2020): w_k = Σ A_k G_k / (Σ A_k + 1e-7)."""

    name: ClassVar[str] = "xgradcam"
    kind: ClassVar[str] = "XGradCAM"


class HiResCam(_Cam):
    """HiResCAM (Draelos and Carin, 2020): w_k = G_k, place by place."""

    name: ClassVar[str] = "hirescam"
    kind: ClassVar[str] = "HiResCAM"


class LayerCam(_Cam):
    """LayerCAM (Jiang et al., 2021): w_k = ReLU(G_k), place by place."""

    name: ClassVar[str] = "layercam"
    kind: ClassVar[str] = "LayerCAM"
