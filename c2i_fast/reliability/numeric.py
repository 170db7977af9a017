"""The numeric interval: how far a mean of sampled areas is from the mean of the full protocol on the same images.

It says nothing of other images; that is the sampling interval, `intervals.mean_interval` of the same values, whose
between-image variance already holds the numeric error. The two are shown side by side and never added:

| number | its value and half-difference of each image | numeric interval | sampling interval |
| --- | --- | --- | --- |
| mean of one curve | as estimated | `numeric_interval` of them | `mean_interval` of the values |
| gap | deletion-lerf − deletion, both attributes, signs kept | the same | the same |
| paired difference of two methods | first − second, likewise | the same | the same |
| raw beside calibrated | each by itself, or the difference likewise | the same | the same |
| sampled beside full protocol | the full one has half-difference 0 | the same | the same |
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.reliability.intervals import Estimate
from c2i_fast.types import Doubles


def numeric_interval(values: NDArray[Any], half_differences: NDArray[Any]) -> Estimate:
    """Returns the mean of N estimated areas with its 95 % interval for the mean of the N true areas.

    Args:
        values: (N,) `SampledArea.value`, or differences of such.
        half_differences: (N,) `SampledArea.half_difference`, or the same differences of them.

    Example:
        >>> e = numeric_interval(np.array([0.25, 0.75]), np.array([0.01, -0.01]))
        >>> e.mean, [round(end, 4) for end in e.ci95]
        (0.5, [0.4696, 0.5304])
    """
    mean = float(np.mean(values))
    half = float(numeric_half_width(half_differences))
    return Estimate(mean=mean, ci95=(mean - half, mean + half), n=len(values))


def numeric_half_width(half_differences: NDArray[Any]) -> Doubles:
    """Returns t(ν) · √(Σ h²) / N over the last axis, (…, N) → (…).

    h² states each image's variance with one degree of freedom and images are independent. ν is half-way between
    Satterthwaite's (Σ h²)² / Σ h⁴, too low by what squares of one degree scatter, and 3 (Σ h²)² / Σ h⁴ − 2, which takes
    that out for normal errors and is too high for others; between 1 and N.

    Example:
        >>> round(float(numeric_half_width(np.full(1000, 0.01))), 6)
        0.000621
    """
    from scipy.special import stdtrit

    squares = np.asarray(half_differences, np.float64) ** 2
    images = squares.shape[-1]
    largest = squares.max(-1, keepdims=True)
    relative = squares / np.where(largest > 0, largest, 1)  # squares of squares may underflow
    total, fourth = relative.sum(-1), (relative**2).sum(-1)
    freedom = np.clip(2 * total**2 / np.where(fourth > 0, fourth, 1) - 1, 1, images)
    width: Doubles = stdtrit(freedom, 0.975) * np.sqrt(squares.sum(-1)) / images
    return width
