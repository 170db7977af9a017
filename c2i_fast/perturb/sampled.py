"""The area of a curve from a few of its points, unbiased for the protocol's own area.

Two phases. First a coarse grid of the protocol's points. Its values v give c, the straight lines between them, and how
rough the curve may be between: a probability of mean c varies by at most c(1 − c). Then residual points, drawn by two
systematic samples in proportion to (weight × roughness), whose inclusion probabilities π are known before any of them
is evaluated. With the trapezoid's weights w, each sample s estimates the area without bias (Horvitz and Thompson 1952),

    A_s = Σ_k w_k c_k + Σ_{k in s} w_k (v_k − c_k) / π_k,

and the value is the mean of the two. Half their difference says how far it may be off (`reliability.numeric`). The two
are opposed, half a turn apart, so that every stretch of two spacings holds a point of each; that makes the value more
exact than two independent samples would be, and the difference an upper estimate of its error.
Everything is linear in the values, so one sample serves every read-out, and differences of curves are differences of
what is returned here.

Points are ordered by the share that is at the baseline, as the passes are: a curve that starts at the baseline is the
same points backwards, so deletion and its mirror share one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, Ints, frozen

COARSE = 6
BEND = 1.3  # curves fall early: coarse points at (i/5)^1.3 of the way
FLOOR = 0.003  # of the roughness, so that flat stretches are looked at too
# Spacing = SCALE · tolerance^POWER, fitted by benchmarks/tolerance.py: with it 95 % of the means over 1000 images fall
# within the tolerance for the roughest method and read-out of the tuning images (CIFAR-10, resnet20).
SCALE = 42.2
POWER = 1.187
IMAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledDesign:
    """What is the same for every image under one protocol.

    Attributes:
        x: float64 (n+1,), non-decreasing; the area is taken over it.
        weights: float64 (n+1,), the trapezoid's.
        coarse: int32 (g,), the points every image is asked for first, ascending, with both ends.
        lines: float64 (n+1, g): lines @ coarse values = c, the straight lines between them.
        spacing: how much weight × roughness goes by for one residual point; 0 takes every point.
    """

    x: Doubles
    weights: Doubles
    coarse: Ints
    lines: Doubles
    spacing: float

    def __post_init__(self) -> None:
        for name in ("x", "weights", "coarse", "lines"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The points of one curve and what each counts for.

    Attributes:
        points: int32 (P,), ascending, the coarse ones among them.
        coefficients: float64 (2, P): the two estimates of the area are coefficients @ values.
    """

    points: Ints
    coefficients: Doubles

    def __post_init__(self) -> None:
        for name in ("points", "coefficients"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def area(self, values: NDArray[Any]) -> SampledArea:
        """Returns the estimated area from the values at `points`, (P,)."""
        first, second = self.coefficients @ np.asarray(values, np.float64)
        return SampledArea(value=float(first + second) / 2, half_difference=float(first - second) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledArea:
    """An estimated area. Sums and differences of several are taken attribute by attribute, signs included.

    Attributes:
        value: the mean of the two estimates, unbiased for the area over all points.
        half_difference: half of first − second, with its sign; its square is the stated variance of `value`.
    """

    value: float
    half_difference: float

    def __sub__(self, other: SampledArea) -> SampledArea:
        """Returns the difference, e.g. the gap: area(deletion-lerf) − area(deletion)."""
        return SampledArea(value=self.value - other.value, half_difference=self.half_difference - other.half_difference)


def trapezoid_weights(x: NDArray[Any]) -> Doubles:
    """Returns w (n+1,) with Σ w_k v_k = the trapezoid of v over x.

    Example:
        >>> trapezoid_weights(np.array([0, 0.5, 1])).tolist()
        [0.25, 0.5, 0.25]
    """
    half = np.diff(np.asarray(x, np.float64)) / 2
    weights: Doubles = np.append(half, 0) + np.append(0, half)
    return weights


def spacing_for(tolerance: float) -> float:
    """Returns the spacing at which 95 % of the means over 1000 images were within `tolerance` of the full protocol's.

    A power law fitted to the roughest tuning curves; the error shrinks with the square root of the images.
    """
    return float(SCALE * tolerance**POWER)


def design(x: NDArray[Any], tolerance: float) -> SampledDesign:
    """Returns which points of a protocol are asked for first, and how densely the others are sampled.

    Args:
        x: (n+1,) what the area is taken over, in the order of the share at the baseline. For a curve that starts at
            the baseline give `1 - fractions[::-1]` and read its values backwards.
        tolerance: of the mean over 1000 images, in the units of the area; 0 takes every point.

    Raises:
        InputError: A negative or non-finite tolerance, or fewer than two points or falling x.

    Example:
        >>> design(np.linspace(0, 1, 225), 0.001).coarse.tolist()
        [0, 28, 68, 115, 168, 224]
    """
    x = np.asarray(x, np.float64)
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance must be a number of at least 0, such as 0.001; got {tolerance}")
    if x.ndim != 1 or len(x) < 2 or not (np.diff(x) >= 0).all():
        raise InputError(f"a curve needs two points or more whose x does not fall, got x of shape {x.shape}")
    aims = x[0] + (x[-1] - x[0]) * (np.arange(COARSE) / (COARSE - 1)) ** BEND
    nearest = np.abs(x[:, None] - aims).argmin(0)
    coarse = np.unique(np.concatenate([[0], nearest, [len(x) - 1]])).astype(np.int32)
    lines = np.stack([np.interp(x, x[coarse], unit) for unit in np.eye(len(coarse))], axis=1)
    lines[coarse] = np.eye(len(coarse))  # also where several points have one x
    return SampledDesign(
        x=x,
        weights=trapezoid_weights(x),
        coarse=coarse,
        lines=lines,
        spacing=spacing_for(tolerance),
    )


def inclusion(plan: SampledDesign, coarse: NDArray[Any]) -> Doubles:
    """Returns the probability (n+1,) with which each point is in one of the two samples; 1 for points always taken.

    w_k · (c_k(1 − c_k) + 0.003)^⅓ over twice the spacing: for a curve whose increments have variance c(1 − c) the
    error of systematic sampling is least where points are as dense as the cube root. From ½ on a point is taken
    always: it would be in one of two opposed samples for certain.

    Args:
        plan: from `design`.
        coarse: (g,) the raw probability of the target at the coarse points. Any number is fit to be sampled by, a
            probability gives the least variance; values are cut to [0, 1].

    Raises:
        InputError: Values of another shape or that are not finite.
    """
    coarse = np.asarray(coarse, np.float64)
    if coarse.shape != plan.coarse.shape or not np.isfinite(coarse).all():
        raise InputError(f"expected {len(plan.coarse)} finite values at the coarse points, got {coarse.shape}")
    level = plan.lines @ np.clip(coarse, 0, 1)
    size = plan.weights * np.cbrt(level * (1 - level) + FLOOR)
    probability = np.where(size >= plan.spacing, 1.0, size / (2 * plan.spacing or 1))
    probability[plan.coarse] = 1
    return probability


def draw(plan: SampledDesign, coarse: NDArray[Any], random: np.random.Generator) -> Sample:
    """Returns the points of one curve: the coarse ones, and those drawn.

    Args:
        plan: from `design`.
        coarse: (g,) as in `inclusion`.
        random: of this image and family of passes, so that no sample depends on what is scored beside it.

    Example:
        >>> plan = design(np.linspace(0, 1, 225), 0.001)
        >>> sample = draw(plan, np.array([0.9, 0.6, 0.3, 0.2, 0.1, 0.1]), np.random.default_rng(0))
        >>> round(sample.area(1 - plan.x[sample.points]).value, 12)  # a straight line is met exactly
        0.5
    """
    return sample_at(plan, coarse, random.random())


def sample_at(plan: SampledDesign, coarse: NDArray[Any], start: float) -> Sample:
    """Returns the sample of a given start in [0, 1): `draw` with the chance taken out."""
    probability = inclusion(plan, coarse)
    certain = probability == 1
    chances = np.where(certain, 0.0, probability)
    # What an evaluated residual counts for, w/π, in each of the two samples; nothing where it is not evaluated.
    counts = np.where(certain, plan.weights, np.zeros((2, 1)))
    counts[:, plan.coarse] = 0
    for row, mark in zip(counts, (start, (start + 0.5) % 1), strict=True):
        chosen = _systematic(chances, mark)
        row[chosen] = plan.weights[chosen] / chances[chosen]
    taken = certain | counts.any(0)
    coefficients = counts.copy()
    coefficients[:, plan.coarse] = (plan.weights - counts) @ plan.lines
    return Sample(points=np.flatnonzero(taken).astype(np.int32), coefficients=coefficients[:, taken])


def _systematic(chances: Doubles, start: float) -> NDArray[np.intp]:
    """Returns the points that hold one of start, start + 1, … when their chances are laid end to end."""
    ends = np.cumsum(chances)
    chosen: NDArray[np.intp] = np.searchsorted(ends, np.arange(start, ends[-1]), side="right")
    return chosen[chosen < len(ends)]  # rounding may put the last mark on the very end
