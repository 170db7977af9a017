"""What a removed element becomes. Every baseline is an image in the units of the fused graph's `pixels`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from c2i_fast.registry import Registry
from c2i_fast.types import Floats, Preprocessing

Baseline = Callable[[Floats, Preprocessing], Floats]
BASELINES: Registry[Baseline] = Registry("baseline")

BLUR_LENGTH, BLUR_SIGMA = 11, 5.0


def baseline_image(name: str, image: Floats, preprocessing: Preprocessing) -> Floats:
    """Returns the baseline `name` of one image (C, *space), float32, the same shape.

    Example:
        >>> baseline_image("mean", np.zeros((1, 2, 2), np.float32), Preprocessing(mean=(0.5,))).max()
        np.float32(0.5)
    """
    made = BASELINES[name](image, preprocessing)
    return np.ascontiguousarray(np.broadcast_to(made, image.shape), np.float32)


def _per_channel(values: Floats, image: Floats) -> Floats:
    return values.reshape(-1, *(1,) * (image.ndim - 1))


def _mean(image: Floats, preprocessing: Preprocessing) -> Floats:
    return _per_channel(preprocessing.channel_stats(len(image))[0], image)


def _image_mean(image: Floats, preprocessing: Preprocessing) -> Floats:
    return _per_channel(image.reshape(len(image), -1).mean(axis=1, dtype=np.float64).astype(np.float32), image)


def blur_kernel() -> Floats:
    """Returns RISE's 11-point kernel along one axis: a Gaussian of σ = 5 with reflecting ends, sum 1.

    Its outer product with itself is the published 11×11 kernel.
    """
    from scipy import ndimage  # imported here: `import c2i_fast` stays light

    delta = np.zeros(BLUR_LENGTH)
    delta[BLUR_LENGTH // 2] = 1
    return np.asarray(ndimage.gaussian_filter1d(delta, BLUR_SIGMA), np.float32)


def _blur(image: Floats, preprocessing: Preprocessing) -> Floats:
    """Blurs the normalised image with zero padding, as RISE's insertion substrate, and maps it back to pixels."""
    from scipy import ndimage

    mean, std = (_per_channel(v, image) for v in preprocessing.channel_stats(len(image)))
    blurred = (image - mean) / std
    for axis in range(1, image.ndim):
        blurred = ndimage.convolve1d(blurred, blur_kernel(), axis=axis, mode="constant")
    return np.asarray(blurred * std + mean, np.float32)


BASELINES.add("mean", _mean, "the preprocessing mean: zero in the network's normalised space")
BASELINES.add("zero", _mean, "the same as mean")
BASELINES.add("image-mean", _image_mean, "each channel's mean over this image")
BASELINES.add("blur", _blur, "RISE's blur of the normalised image: 11 points, sigma 5, zero padding")
BASELINES.add("black", lambda image, _: np.zeros_like(image), "pixel value 0")
BASELINES.add("white", lambda image, _: np.ones_like(image), "pixel value 1")
