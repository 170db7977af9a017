"""Smooth ECE against the kernel written out with its reflections."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import bisect

from c2i_fast.calibration.measures import smooth_accuracy, smooth_ece, smooth_ece_at
from c2i_fast.errors import InputError
from tests.calibration.test_measures_binned import outcomes, stored

quick = settings(deadline=None, max_examples=40)
MIDPOINTS = (np.arange(4000) + 0.5) / 4000


def slow_field(confidence, values, sigma):
    """(1/N) Σ v_i K_σ(t, c_i) at midpoints; images of each sample at ±c + 2k."""
    field = np.zeros(len(MIDPOINTS))
    for c, value in zip(confidence, values, strict=True):
        for k in range(-4, 5):
            for image in (c + 2 * k, -c + 2 * k):
                field += value * np.exp(-0.5 * ((MIDPOINTS - image) / sigma) ** 2)
    return field / (len(confidence) * sigma * np.sqrt(2 * np.pi))


def slow_smooth_ece_at(confidence, correct, sigma):
    return np.abs(slow_field(confidence, confidence - correct, sigma)).mean()


@quick
@given(outcomes(), st.sampled_from([0.01, 0.05, 0.3, 1.0]))
def test_it_is_the_integral_of_the_reflected_gaussian(outcome, sigma):
    # abs=2e-5: at σ = 0.01 a cell of 2⁻¹⁴ widens the kernel by 5e-6 of itself, and midpoints miss kinks by as much
    assert smooth_ece_at(*outcome, sigma) == pytest.approx(slow_smooth_ece_at(*outcome, sigma), abs=2e-5)


def test_the_fixed_point_is_one():
    rng = np.random.default_rng(0)
    c = rng.random(80)
    a = rng.random(80) < c**1.5
    expected = bisect(lambda s: slow_smooth_ece_at(c, a, s) - s, 0.005, 1, xtol=1e-9)
    assert smooth_ece(c, a) == pytest.approx(expected, abs=1e-6)
    assert smooth_ece_at(c, a, smooth_ece(c, a)) == pytest.approx(smooth_ece(c, a), abs=1e-8)


def test_points_at_the_ends_count_once():
    # Half of the samples have residual 0.7, at 0.7; the other half, at 1, have none. No kernel can change that.
    sure, right = np.repeat([1.0, 0.7], 50), np.repeat([1, 0], 50)
    assert smooth_ece_at(sure, right, 0.1) == pytest.approx(0.35, abs=1e-9)
    for end in (0.0, 1.0):
        assert smooth_ece_at([end] * 4, [1 - end] * 4, 0.05) == pytest.approx(1, abs=1e-9)
        assert smooth_ece([end] * 4, [1 - end] * 4) == pytest.approx(1, abs=1e-9)


@quick
@given(outcomes())
def test_bounds_and_monotony(outcome):
    values = [smooth_ece_at(*outcome, sigma) for sigma in (0.001, 0.01, 0.1, 1.0)]
    assert all(wide <= narrow + 1e-9 for narrow, wide in itertools.pairwise(values))
    confidence, correct = outcome
    bias = abs((confidence - correct).mean())
    assert bias - 1e-9 <= smooth_ece(*outcome) <= np.abs(confidence - correct).mean() + 1e-4
    assert smooth_ece(*outcome) <= 1 + 1e-9


@quick
@given(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=20))
def test_constant_confidence_is_one_gap(confidence, correct):
    sure = [confidence] * len(correct)
    assert smooth_ece(sure, correct) == pytest.approx(abs(confidence - np.mean(correct)), abs=1e-6)


@quick
@given(outcomes(), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(outcome, random):
    order = list(range(len(outcome[0])))
    random.shuffle(order)
    assert smooth_ece(outcome[0][order], outcome[1][order]) == pytest.approx(smooth_ece(*outcome), abs=1e-8)


def test_a_calibrated_model_has_less_the_more_samples():
    rng = np.random.default_rng(1)
    seen = {}
    for n in (300, 300_000):
        c = rng.random(n)
        seen[n] = smooth_ece(c, rng.random(n) < c)
        assert seen[n] < n ** (-1 / 3)
    assert 0 < seen[300_000] < seen[300] / 4
    assert smooth_ece(c, c) == 0  # the truth itself


def test_the_curve_is_the_kernel_mean():
    rng = np.random.default_rng(2)
    c = rng.random(50)
    a = (rng.random(50) < c).astype(float)
    curve = smooth_accuracy(c, a, 0.05, points=16)
    mean = MIDPOINTS + slow_field(c, a - c, 0.05) / slow_field(c, np.ones(50), 0.05)
    np.testing.assert_allclose(curve.accuracy, np.clip(np.interp(curve.at, MIDPOINTS, mean), 0, 1), atol=1e-3)
    np.testing.assert_allclose(smooth_accuracy(c, c, 0.3).accuracy, np.linspace(0, 1, 513), atol=1e-9)
    assert np.trapezoid(smooth_accuracy(c, a, 0.05).density, dx=1 / 512) == pytest.approx(1, abs=1e-6)
    assert curve.sigma == 0.05


def test_the_curve_ends_where_no_sample_is_within_reach():
    curve = smooth_accuracy([0.9, 0.95], [1, 0], 0.02)
    assert np.isnan(curve.accuracy[:200]).all()
    assert np.isfinite(curve.accuracy[450:]).all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf, 1e-5])
def test_widths_that_are_none(sigma):
    with pytest.raises(InputError, match="kernel width of at least"):
        smooth_ece_at([0.5], [1], sigma)


def test_points_must_divide():
    with pytest.raises(InputError, match="divides 16384, got 100"):
        smooth_accuracy([0.5], [1], 0.1, points=100)


@pytest.mark.parametrize("name", ["cifar", "imagenet"])
def test_it_equals_the_exact_integral_stored(oracles, name):
    for case, _, _, c, a, expected in stored(oracles, name):
        key = "smECE_exact_reflected_gaussian"
        assert smooth_ece_at(c, a, 0.05) == pytest.approx(expected[f"{key}_sigma0.05"], abs=1e-6), case
        assert smooth_ece_at(c, a, 0.1) == pytest.approx(expected[f"{key}_sigma0.1"], abs=1e-6), case
        assert smooth_ece(c, a) == pytest.approx(expected[f"{key}_fixed_point"], abs=1e-6), case
