"""The numeric interval: its formula, and that it covers what it promises to cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from c2i_fast.perturb.sampled import design, draw
from c2i_fast.reliability.numeric import numeric_half_width, numeric_interval


def test_it_is_the_sum_of_squares_with_satterthwaites_freedom():
    h = np.array([0.1, -0.2, 0.05, 0.15])
    values = np.array([0.3, 0.4, 0.5, 0.6])
    squares = h**2
    freedom = 2 * squares.sum() ** 2 / (squares**2).sum() - 1
    half = stats.t.ppf(0.975, min(max(freedom, 1), 4)) * np.sqrt(squares.sum()) / 4
    found = numeric_interval(values, h)
    assert (found.mean, found.n) == (pytest.approx(0.45), 4)
    np.testing.assert_allclose(found.ci95, (0.45 - half, 0.45 + half))


def test_one_image_has_one_degree_of_freedom_and_equal_ones_have_n():
    assert numeric_half_width(np.array([0.01])) == pytest.approx(stats.t.ppf(0.975, 1) * 0.01)
    assert numeric_half_width(np.full(9, 0.01)) == pytest.approx(stats.t.ppf(0.975, 9) * 0.01 / 3)


def test_full_protocols_have_an_interval_of_no_width():
    assert numeric_interval(np.array([0.2, 0.4]), np.zeros(2)).ci95 == (
        pytest.approx(0.3),
        pytest.approx(0.3),
    )


def test_tiny_differences_do_not_vanish():
    assert numeric_half_width(np.array([1e-100, 1e-100])) > 0


def test_leading_axes_are_intervals_of_their_own():
    h = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(numeric_half_width(h), [numeric_half_width(row) for row in h])


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_it_covers_what_it_should_for_normal_errors_of_unequal_size(n):
    """Two independent estimates with errors of image-wise scales from 1 to 30."""
    rng = np.random.default_rng(n)
    scale = 10 ** rng.uniform(0, 1.5, n)
    first, second = rng.normal(size=(2, 6000, n)) * scale
    covered = np.abs((first + second).mean(1) / 2) <= numeric_half_width((first - second) / 2)
    assert covered.mean() > 0.93


def test_it_covers_the_full_protocol_on_rough_curves():
    x = np.linspace(0, 1, 225)
    rng = np.random.default_rng(0)
    walks = 3 - 6 * x + np.cumsum(rng.normal(0, 0.4, (60, 225)), axis=1)
    curves = 1 / (1 + np.exp(-walks))
    plan = replace(design(x, 0.001), spacing=0.03)
    hits = 0
    for _ in range(40):
        chosen = rng.integers(0, 60, 30)
        areas = []
        for i in chosen:
            sample = draw(plan, curves[i, plan.coarse], rng)
            areas.append(sample.area(curves[i, sample.points]))
        found = numeric_interval([a.value for a in areas], [a.half_difference for a in areas])
        low, high = found.ci95
        hits += low <= np.trapezoid(curves[chosen], x).mean() <= high
    assert hits >= 36
