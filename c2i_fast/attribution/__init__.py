"""Saliency methods: from images and targets to maps. Importing this room imports no torch.

Read `base.py` for what a method is; then `rise.py` (masks through the engine; `masked.py` is what the others of that
kind share), `gradient.py`, `gradcam.py` and `opticam.py` (torch), and `controls.py` (what every method must beat). A
method is added here with one line.

Example:
    >>> import numpy as np
    >>> images, targets = np.zeros((1, 3, 3, 3), np.float32), np.array([0])
    >>> METHODS["center"](Context()).explain(["a.png"], images, targets)[0, 1]
    array([0.29289323, 1.        , 0.29289323], dtype=float32)
"""

from __future__ import annotations

from c2i_fast.attribution.base import Context, Method
from c2i_fast.registry import Registry

__all__ = ["CONTROLS", "METHODS", "OPTIMISES", "Context", "Method"]

METHODS: Registry[type[Method]] = Registry("method")
METHODS.add_lazy("rise", "c2i_fast.attribution.rise:Rise", "mean of random soft masks weighted by the target's score")
METHODS.add_lazy(
    "rise-c2i",
    "c2i_fast.attribution.rise_c2i:RiseC2I",
    "RISE as in Calibrate to Interpret: hard masks, cubic and rolled, weighted by 1/area",
)
METHODS.add_lazy("occlusion", "c2i_fast.attribution.occlusion:Occlusion", "fall of the score where a window is hidden")
METHODS.add_lazy(
    "superpixel-occlusion",
    "c2i_fast.attribution.occlusion:SuperpixelOcclusion",
    "fall of the score where a SLIC superpixel is hidden",
)
METHODS.add_lazy(
    "cam", "c2i_fast.attribution.cam:Cam", "class activation map of a pooled linear head, exact, through any engine"
)
METHODS.add_lazy(
    "scorecam", "c2i_fast.attribution.scorecam:ScoreCam", "a layer's channels weighted by the score that each keeps up"
)
METHODS.add_lazy(
    "relax", "c2i_fast.attribution.relax:Relax", "what carries the representation itself, and how unsure that is"
)
METHODS.add_lazy(
    "gradient", "c2i_fast.attribution.gradient:Gradient", "absolute gradient of the target's logit (torch)"
)
METHODS.add_lazy(
    "input-x-gradient",
    "c2i_fast.attribution.input_x_gradient:InputXGradient",
    "the input times its gradient, summed over channels (torch)",
)
METHODS.add_lazy(
    "integrated-gradients",
    "c2i_fast.attribution.integrated_gradients:IntegratedGradients",
    "gradients along a line from a baseline to the image; complete (torch)",
)
METHODS.add_lazy(
    "smoothgrad", "c2i_fast.attribution.smoothgrad:SmoothGrad", "mean gradient at noisy copies of the image (torch)"
)
METHODS.add_lazy(
    "lrp", "c2i_fast.attribution.lrp:Lrp", "relevance handed down layer by layer, the epsilon rule (torch)"
)
METHODS.add_lazy("gradcam", "c2i_fast.attribution.gradcam:GradCam", "Grad-CAM at the last convolutional block (torch)")
METHODS.add_lazy(
    "gradcam++", "c2i_fast.attribution.gradcam:GradCamPlusPlus", "Grad-CAM with positive, curved weights (torch)"
)
METHODS.add_lazy("xgradcam", "c2i_fast.attribution.gradcam:XGradCam", "Grad-CAM weighted by activations (torch)")
METHODS.add_lazy("hirescam", "c2i_fast.attribution.gradcam:HiResCam", "activations times gradients, by place (torch)")
METHODS.add_lazy("layercam", "c2i_fast.attribution.gradcam:LayerCam", "activations times positive gradients (torch)")
METHODS.add_lazy(
    "opticam", "c2i_fast.attribution.opticam:OptiCam", "channel weights optimised to keep the score up (torch)"
)
METHODS.add_lazy(
    "meaningful-perturbation",
    "c2i_fast.attribution.meaningful:MeaningfulPerturbation",
    "the smallest smooth mask whose blurring takes the score away (torch)",
)
METHODS.add_lazy("random", "c2i_fast.attribution.controls:RandomNoise", "control: uniform noise, a value a pixel")
METHODS.add_lazy("smooth-random", "c2i_fast.attribution.controls:SmoothRandom", "control: a 7×7 random grid, upsampled")
METHODS.add_lazy("sobel", "c2i_fast.attribution.controls:Sobel", "control: edge strength of the image itself")
METHODS.add_lazy("center", "c2i_fast.attribution.controls:Center", "control: nearness to the middle")
METHODS.add_lazy("canny", "c2i_fast.attribution.controls:Canny", "control: Canny's edges of the image itself, 0 or 1")
METHODS.add_lazy(
    "superpixel-random",
    "c2i_fast.attribution.controls:SuperpixelRandom",
    "control: a random value for each of 64 superpixels",
)
METHODS.add_lazy(
    "randomised",
    "c2i_fast.attribution.randomised:Randomised",
    "control: gradient of the model with random weights (torch)",
)

CONTROLS = ("random", "smooth-random", "sobel", "center")

OPTIMISES: dict[str, tuple[str, ...]] = {"opticam": ("average-drop", "average-gain", "increase-in-confidence")}
"""Methods, those whose maps come in as files too, and the metrics they optimise: no independent judges of them."""
