"""Smooth calibration error: a kernel instead of bins, its width fixed by the error itself.

The kernel is a Gaussian on [0, 1] reflected at both ends, so a confidence of exactly 0 or 1 has the whole weight of 1
and not half or twice of it. That kernel is the heat kernel of the interval, and cosines are its eigenfunctions:
convolving with width σ multiplies the coefficient of cos(nπt) by exp(−n²π²σ²/2). Two cosine transforms do it, and the
reflections are all there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.error import check_outcomes
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

# Samples are split between neighbouring nodes, which keeps mass and mean and widens the kernel by less than one cell:
# a relative error of about (1/(CELLS·σ))²/8, below 1e-6 from σ = 0.02 on.
CELLS = 1 << 14
NARROWEST = 1 / CELLS


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothCurve:
    """Accuracy as a smooth function of confidence.

    Attributes:
        at: float64 (n,), confidences from 0 to 1.
        accuracy: float64 (n,), the diagonal plus the kernel mean of the gap; NaN where no sample is within reach.
        density: float64 (n,), of the samples; its integral over [0, 1] is 1.
        sigma: width of the kernel.
    """

    at: Doubles
    accuracy: Doubles
    density: Doubles
    sigma: float


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Returns smECE, the error at the width σ* that equals it, in [0, 1], lower is better.

    smECE_σ = ∫₀¹ |(1/N) Σ_i K_σ(t, c_i)(c_i − a_i)| dt with the reflected Gaussian K_σ; it falls as σ grows, so there
    is one σ* with smECE_σ* = σ* (Błasiok, Nakkiran 2023, "Smooth ECE"). Within 1e-4 of the exact value, 1e-6 unless it
    is tiny. A calibrated model has about N^(−1/3).

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.

    Raises:
        InputError: as `check_outcomes`.

    Example:
        >>> round(smooth_ece([1.0] * 50 + [0.7] * 50, [1] * 50 + [0] * 50), 4)
        0.35
    """
    return _fixed_point(_spectrum(*_residuals(confidence, correct)))


def smooth_ece_at(confidence: ArrayLike, correct: ArrayLike, sigma: float) -> float:
    """Returns smECE_σ at a given kernel width, in [0, 1]; see `smooth_ece`.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.
        sigma: the width, at least 2⁻¹⁴.

    Raises:
        InputError: as `check_outcomes`, or a width that is too small.

    Example:
        >>> round(smooth_ece_at([0.9, 0.1], [0, 0], 0.01), 6)
        0.5
    """
    return _integral(_spectrum(*_residuals(confidence, correct)), _check_width(sigma))


def smooth_accuracy(confidence: ArrayLike, correct: ArrayLike, sigma: float, points: int = 512) -> SmoothCurve:
    """Returns t + Σ_i K_σ(t, c_i)(a_i − c_i) / Σ_i K_σ(t, c_i) on `points` + 1 equidistant t, within [0, 1].

    The gap is smoothed and not the accuracy, which would be pulled off the diagonal wherever samples are unevenly
    spread: a calibrated model stays on it whatever the width.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.
        sigma: the width, at least 2⁻¹⁴.
        points: a divisor of 2¹⁴.

    Raises:
        InputError: as `check_outcomes`; a width that is too small; points that do not divide.

    Example:
        >>> curve = smooth_accuracy([0.75] * 4, [1, 1, 1, 0], sigma=0.05, points=4)
        >>> curve.at[3], round(float(curve.accuracy[3]), 6)
        (np.float64(0.75), 0.75)
    """
    sure, right = check_outcomes(confidence, correct, shares=True)
    if points < 1 or CELLS % points:
        raise InputError(f"expected a number of points that divides {CELLS}, got {points}")
    width = _check_width(sigma)
    step = CELLS // points
    density = _smoothed(_spectrum(sure, np.ones(len(sure))), width)[::step]
    gap = _smoothed(_spectrum(sure, right - sure), width)[::step]
    reached = density > 1e-9  # a thousand times the rounding of the transforms
    at, accuracy = np.linspace(0, 1, points + 1), np.full(points + 1, np.nan)
    accuracy[reached] = np.clip(at[reached] + gap[reached] / density[reached], 0, 1)
    return SmoothCurve(at=at, accuracy=accuracy, density=density, sigma=width)


def _residuals(confidence: ArrayLike, correct: ArrayLike) -> tuple[Doubles, Doubles]:
    sure, right = check_outcomes(confidence, correct, shares=True)
    return sure, sure - right


def _check_width(sigma: float) -> float:
    if not (np.isfinite(sigma) and sigma >= NARROWEST):
        raise InputError(f"expected a kernel width of at least {NARROWEST:g}, got {sigma:g}")
    return float(sigma)


def _spectrum(places: Doubles, values: Doubles) -> Doubles:
    """(1/N) Σ_i v_i·cos(nπ c_i) for n = 0..CELLS."""
    from scipy.fft import dct

    at = places * CELLS
    cell = np.minimum(at.astype(np.intp), CELLS - 1)
    upper = at - cell
    mass = np.bincount(cell, values * (1 - upper), CELLS + 1) + np.bincount(cell + 1, values * upper, CELLS + 1)
    mass[[0, -1]] *= 2  # the transform counts both ends half
    return np.asarray(dct(mass, type=1)) / (2 * len(places))


def _smoothed(spectrum: Doubles, sigma: float) -> Doubles:
    """The sum of v_i·K_σ(t, c_i)/N at equidistant nodes t, one more than it has cosines."""
    from scipy.fft import dct

    # The constant and the last cosine have twice the norm, and the transform counts just these two half: they cancel.
    decay = np.exp(-0.5 * (np.pi * sigma * np.arange(len(spectrum))) ** 2)
    return np.asarray(dct(spectrum * decay, type=1))


def _integral(spectrum: Doubles, sigma: float) -> float:
    # exp(−40) of the cosine number 9/πσ is left. Nodes 32 times as close see where the sign changes to 1 % of σ.
    nodes = min(CELLS, 1 << int(np.ceil(np.log2(32 * 9 / (np.pi * sigma)))))
    return float(np.trapezoid(np.abs(_smoothed(spectrum[: nodes + 1], sigma)), dx=1 / nodes))


def _fixed_point(spectrum: Doubles) -> float:
    """The error at σ*; where σ* is below the narrowest kernel, the error at that one, which is smaller still."""
    from scipy.optimize import brentq

    narrow = _integral(spectrum, NARROWEST)
    if narrow <= NARROWEST:
        return narrow
    # smECE_1 ≤ 1, with equality only where every residual is 1.
    if _integral(spectrum, 1.0) >= 1:
        return 1.0
    sigma = float(brentq(lambda s: _integral(spectrum, s) - s, NARROWEST, 1.0, xtol=1e-10))
    return _integral(spectrum, sigma)
