"""Meaningful perturbation (Fong and Vedaldi, 2017): the smallest smooth mask whose blurring takes the score away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.adam import RowAdam
from c2i_fast.attribution.base import Context, Need, check_batch
from c2i_fast.attribution.masked import at_least_one
from c2i_fast.attribution.opticam import target_score
from c2i_fast.attribution.torch_model import module_of, network_input, undisturbed
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, Floats

if TYPE_CHECKING:
    import torch

_BLUR_RADIUS = 5  # an 11-point kernel


class MeaningfulPerturbation:
    """S = 1 − up(m*), m* the minimum over masks in [0, 1] of g(blur + up(m)·(image − blur)) + a·mean|1 − m| + b·TV(m).

    TV(m) = mean|m[i+1, j] − m[i, j]|^β + mean|m[i, j+1] − m[i, j]|^β. m is a small grid of ones at the start, up is
    bilinear (half-pixel); Adam, m put back into [0, 1] after every step, the last m is the answer. g is the target's
    score, blur the image under 11 points of a Gaussian an axis, borders reflected. The defaults are those of Calibrate
    to Interpret. Images share batches and nothing else; one whose gradient is not finite gets a map of NaN.

    Options: `grid` (28), `iterations` (600), `rate` (0.1), `sparsity` (a, 0.1), `smoothness` (b, 1), `power` (β, 3),
    `sigma` (of the blur in pixels, 2), `score` (`probability`, `logit`), `batch` (images together, 8).
    Passes: iterations forward and backward an image.
    """

    name: ClassVar[str] = "meaningful-perturbation"
    needs: ClassVar[Need] = "torch"
    own_target: ClassVar[bool] = True  # the option `score`
    defaults: ClassVar[Mapping[str, Any]] = {
        "grid": 28,
        "iterations": 600,
        "rate": 0.1,
        "sparsity": 0.1,
        "smoothness": 1.0,
        "power": 3.0,
        "sigma": 2.0,
        "score": "probability",
        "batch": 8,
    }

    def __init__(self, context: Context) -> None:
        self.options = context.settings(MeaningfulPerturbation)
        for option in ("grid", "iterations", "batch"):
            at_least_one(self.name, option, self.options[option])
        for option in ("rate", "power", "sigma"):
            if not float(self.options[option]) > 0:
                raise InputError(f"{self.name}: {option} must be above 0, got {self.options[option]}")
        if self.options["score"] not in ("probability", "logit"):
            raise InputError(f"{self.name}: score is probability or logit, got {self.options['score']!r}")
        self.passes_used, self.backwards_used = 0, 0
        self._context, self._module = context, module_of(context, self.name)

    @property
    def measured(self) -> dict[str, int]:
        """What the command's JSON tells besides passes and seconds: backward passes so far."""
        return {"backward_passes": self.backwards_used}

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns 1 − mask in [0, 1], float32 (N, H, W); see `Method.explain`."""
        check_batch(ids, images, targets)
        if images.ndim != 4:
            raise InputError(f"{self.name} reads pictures (N, C, H, W), got {images.shape}; for signals use occlusion")
        maps = np.empty((len(images), *images.shape[2:]), np.float32)
        with undisturbed(self._module):
            for first in range(0, len(images), self.options["batch"]):
                chosen = slice(first, first + self.options["batch"])
                maps[chosen] = self._explained(images[chosen], np.asarray(targets)[chosen])
        return maps

    def _explained(self, images: Floats, targets: NDArray[Any]) -> Floats:
        import torch

        image, blurred = (
            network_input(values, self._context.preprocessing, self._module).detach()
            for values in (images, np.asarray(_blurred(images, float(self.options["sigma"])), np.float32))
        )
        sides = [min(self.options["grid"], size) for size in images.shape[2:]]
        masks = image.new_ones(len(images), 1, *sides)
        adam, everyone = RowAdam(masks, float(self.options["rate"])), np.arange(len(images))
        for _ in range(self.options["iterations"]):
            now = masks.clone().requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.loss(now, image, blurred, targets).sum(), now)
            adam.climb(-slope, everyone)
            masks.clamp_(0, 1)
            self.passes_used += len(images)
            self.backwards_used += len(images)
        return np.asarray(1 - _upsampled(masks, image)[:, 0].cpu(), np.float32)

    def loss(
        self, masks: torch.Tensor, image: torch.Tensor, blurred: torch.Tensor, targets: NDArray[Any]
    ) -> torch.Tensor:
        """Returns what is minimised, (N,), of masks (N, 1, h, w); image and blurred as the network is fed them."""
        shown = blurred + _upsampled(masks, image) * (image - blurred)
        score = target_score(self._module(shown), targets, self._context, self.options["score"])
        hidden = (1 - masks).abs().mean(dim=(1, 2, 3))
        power = float(self.options["power"])
        rough = _mean_power(masks.diff(dim=2), power) + _mean_power(masks.diff(dim=3), power)
        loss: torch.Tensor = score + self.options["sparsity"] * hidden + self.options["smoothness"] * rough
        return loss


def _upsampled(masks: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import interpolate

    return interpolate(masks, tuple(image.shape[2:]), mode="bilinear", align_corners=False)


def _mean_power(steps: torch.Tensor, power: float) -> torch.Tensor:
    """Returns the mean of |step|^power of each image; 0 where a grid of one cell has no steps."""
    mean: torch.Tensor = (steps.abs() ** power).sum(dim=(1, 2, 3)) / max(1, steps[0].numel())
    return mean


def _blurred(images: Floats, sigma: float) -> Doubles:
    from scipy import ndimage

    blurred: Doubles = images.astype(np.float64)
    for axis in (2, 3):
        blurred = ndimage.gaussian_filter1d(blurred, sigma, axis=axis, mode="reflect", radius=_BLUR_RADIUS)
    return blurred
