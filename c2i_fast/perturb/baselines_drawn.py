"""Baselines that are drawn, and the mean of each segment. A draw's address is (seed, image id, baseline)."""

from __future__ import annotations

import numpy as np

from c2i_fast.perturb.baseline import Given
from c2i_fast.perturb.units import superpixels
from c2i_fast.random_numbers import generator
from c2i_fast.types import Floats

SEGMENTS = 100


def noise(given: Given) -> Floats:
    """Returns Gaussian noise of the preprocessing's mean and standard deviation, so N(0, 1) once normalised; unclipped.

    Example:
        >>> from c2i_fast.types import Preprocessing
        >>> given = Given(pixels=np.zeros((1, 64, 64), np.float32), preprocessing=Preprocessing(std=(0.5,)), image="a")
        >>> round(float(noise(given).std()), 1)
        0.5
    """
    numbers = generator(given.seed, "baseline noise", given.image)
    return given.pixels_of(numbers.standard_normal(given.pixels.shape, np.float32))


def uniform(given: Given) -> Floats:
    """Returns values drawn from [0, 1), one for each pixel and channel."""
    return generator(given.seed, "baseline uniform", given.image).random(given.pixels.shape, np.float32)


def superpixel_mean(given: Given) -> Floats:
    """Returns each channel's mean over the pixel's SLIC segment, of about 100 (`superpixels`)."""
    members = superpixels(given.pixels, SEGMENTS)
    flat = members.ravel()
    means = [np.bincount(flat, channel.ravel()) / np.bincount(flat) for channel in given.pixels]
    return np.stack([mean[members] for mean in means]).astype(np.float32)
