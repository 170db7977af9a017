"""What a removed element becomes. Every baseline is an image in the units of the fused graph's `pixels`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.registry import Registry
from c2i_fast.types import Floats, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """What a baseline is made from.

    Attributes:
        pixels: the image, float32 (C, *space).
        image: its id, and `seed`: the address of random numbers.
        elsewhere: what returns the baselines that are not made of the image, by name.
    """

    pixels: Floats
    preprocessing: Preprocessing
    image: str = ""
    seed: int = 0
    elsewhere: Mapping[str, Callable[[], Floats]] = field(default_factory=dict)

    def normalised(self, pixels: Floats | None = None) -> Floats:
        """Returns the image, or other `pixels`, as the network is fed it, before any reversal of its channels."""
        mean, std = self._stats()
        return np.asarray(((self.pixels if pixels is None else pixels) - mean) / std)

    def pixels_of(self, normalised: Floats) -> Floats:
        """Returns what `normalised` values are in the units of `pixels`."""
        mean, std = self._stats()
        return np.asarray(normalised * std + mean, np.float32)

    def _stats(self) -> tuple[Floats, Floats]:
        mean, std = self.preprocessing.channel_stats(len(self.pixels))
        return _per_channel(mean, self.pixels), _per_channel(std, self.pixels)


Baseline = Callable[[Given], Floats]
BASELINES: Registry[Baseline] = Registry("baseline")

BLUR_LENGTH, BLUR_SIGMA = 11, 5.0


def baseline_image(name: str, given: Given) -> Floats:
    """Returns the baseline `name` of one image (C, *space), float32, the same shape.

    Example:
        >>> given = Given(pixels=np.zeros((1, 2, 2), np.float32), preprocessing=Preprocessing(mean=(0.5,)))
        >>> baseline_image("mean", given).max()
        np.float32(0.5)
    """
    if name in given.elsewhere:
        made = given.elsewhere[name]()
        if made.shape != given.pixels.shape:
            raise InputError(
                f"baseline {name} of image {given.image}: expected the image's shape {given.pixels.shape}, got "
                f"{made.shape}; bring it to that size"
            )
        return np.ascontiguousarray(made, np.float32)
    made = BASELINES["file:PATH" if name.startswith("file:") else name](given)
    return np.ascontiguousarray(np.broadcast_to(made, given.pixels.shape), np.float32)


def check_baseline(name: str) -> str:
    """Returns the name of a baseline, or `file:PATH` if there is such a path; an `InputError` otherwise."""
    if not name.startswith("file:"):
        BASELINES[name]
    elif not Path(name.removeprefix("file:")).exists():
        raise InputError(f"baseline {name}: there is nothing at that path; mend it")
    return name


def _per_channel(values: Floats, image: Floats) -> Floats:
    return values.reshape(-1, *(1,) * (image.ndim - 1))


def _mean(given: Given) -> Floats:
    return _per_channel(given.preprocessing.channel_stats(len(given.pixels))[0], given.pixels)


def _image_mean(given: Given) -> Floats:
    means = given.pixels.reshape(len(given.pixels), -1).mean(axis=1, dtype=np.float64)
    return _per_channel(means.astype(np.float32), given.pixels)


def _sample_min(given: Given) -> Floats:
    return given.pixels_of(np.full_like(given.pixels, given.normalised().min()))


def _sample_mean(given: Given) -> Floats:
    """What the first step of `running_mean` fills in."""
    return given.pixels_of(np.full_like(given.pixels, given.normalised().mean(dtype=np.float64)))


def _sample_max(given: Given) -> Floats:
    return given.pixels_of(np.full_like(given.pixels, given.normalised().max()))


def blur_kernel() -> Floats:
    """Returns RISE's 11-point kernel along one axis: a Gaussian of σ = 5 with reflecting ends, sum 1.

    Its outer product with itself is the published 11×11 kernel.
    """
    from scipy import ndimage  # imported here: `import c2i_fast` stays light

    delta = np.zeros(BLUR_LENGTH)
    delta[BLUR_LENGTH // 2] = 1
    return np.asarray(ndimage.gaussian_filter1d(delta, BLUR_SIGMA), np.float32)


def _blur(given: Given) -> Floats:
    """Blurs the normalised image with zero padding, as RISE's insertion substrate, and maps it back to pixels."""
    return given.pixels_of(_convolved(given.normalised(), blur_kernel(), "constant"))


def _box_blur(given: Given) -> Floats:
    """Blurs by 11 points of a Gaussian of σ = 100, all but a box, with reflecting borders."""
    from scipy import ndimage

    delta = np.zeros(BLUR_LENGTH)
    delta[BLUR_LENGTH // 2] = 1
    kernel = np.asarray(ndimage.gaussian_filter1d(delta, 100.0), np.float32)
    return np.asarray(_convolved(given.pixels, kernel, "reflect"), np.float32)


def _convolved(image: Floats, kernel: Floats, border: str) -> Floats:
    from scipy import ndimage

    for axis in range(1, image.ndim):
        image = ndimage.convolve1d(image, kernel, axis=axis, mode=border)
    return image


def running_mean(given: Given, steps: NDArray[np.integer], intervals: int) -> Floats:
    """Returns what each value becomes when every step fills in the mean of the sample as it then is: (C, *space).

    The mean is over all channels of the normalised sample with all earlier steps done, so it drifts (Quantus's `mean`).

    Args:
        given: the image.
        steps: the step at which each value changes, (C, *space); n, `intervals`, for never.
        intervals: n.
    """
    values = given.normalised().astype(np.float64)
    index = np.broadcast_to(steps, values.shape).ravel()
    leaving = np.bincount(index, weights=values.ravel(), minlength=intervals + 1)
    moved = np.bincount(index, minlength=intervals + 1)
    total, means = values.sum(), np.empty(intervals + 1)
    for step in range(intervals + 1):
        means[step] = total / values.size
        total += moved[step] * means[step] - leaving[step]
    return given.pixels_of(means[index].reshape(values.shape).astype(np.float32))


def _another_image(given: Given) -> Floats:
    raise InputError("baseline another-image needs a source of images; score with the command, or with c2i_fast.score")


def _from_file(given: Given) -> Floats:
    raise InputError("baseline file:PATH needs a path in place of PATH, and images to look up in it; score with it")


BASELINES.add("mean", _mean, "the preprocessing mean: zero in the network's normalised space")
BASELINES.add("zero", _mean, "the same as mean")
BASELINES.add("image-mean", _image_mean, "each channel's mean over this image")
BASELINES.add("blur", _blur, "RISE's blur of the normalised image: 11 points, sigma 5, zero padding")
BASELINES.add("box-blur", _box_blur, "Calibrate to Interpret's blur: 11 points, sigma 100, reflecting borders")
BASELINES.add("black", lambda given: np.zeros_like(given.pixels), "pixel value 0")
BASELINES.add("white", lambda given: np.ones_like(given.pixels), "pixel value 1")
BASELINES.add("sample-min", _sample_min, "the smallest value of the normalised image, all channels together")
BASELINES.add("sample-max", _sample_max, "the largest value of the normalised image, all channels together")
BASELINES.add("running-mean", _sample_mean, "the mean of the normalised sample as it is at each step (it drifts)")
_DRAWN = "c2i_fast.perturb.baselines_drawn"
BASELINES.add_lazy("noise", f"{_DRAWN}:noise", "Gaussian of the preprocessing's mean and std, one draw an image")
BASELINES.add_lazy("uniform", f"{_DRAWN}:uniform", "uniform in [0, 1) for each pixel and channel, one draw an image")
BASELINES.add("another-image", _another_image, "another image of the same source, drawn once an image")
BASELINES.add_lazy("superpixel-mean", f"{_DRAWN}:superpixel_mean", "each SLIC segment's mean (100 segments)")
BASELINES.add("file:PATH", _from_file, "an .npz with images and ids, or a folder of <image id>.npy (counterfactuals)")
