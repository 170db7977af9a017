"""Sampled areas: unbiased exactly, by going through every start there is; probabilities, seeds, what tolerance does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c2i_fast.errors import InputError
from c2i_fast.perturb.sampled import (
    Sample,
    SampledArea,
    SampledDesign,
    design,
    draw,
    inclusion,
    sample_at,
    spacing_for,
    trapezoid_weights,
)
from c2i_fast.random_numbers import generator

examples = settings(deadline=None, derandomize=True, max_examples=30)
X = np.linspace(0, 1, 225)


def rough(seed: int, points: int = 225) -> np.ndarray:
    """A curve that falls, and jumps about."""
    rng = np.random.default_rng(seed)
    walk = 4 - 8 * np.linspace(0, 1, points) + np.cumsum(rng.normal(0, 0.4, points))
    return 1 / (1 + np.exp(-walk))


def starts_that_matter(plan: SampledDesign, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every sample that `first` in [0, 1) can give, as a start in the middle of its stretch, and the stretch's length.

    A sample changes where a mark crosses the end of a point's chance: at the fractional parts of the running sums, and
    half a turn before them for the opposed sample.
    """
    chances = inclusion(plan, coarse)
    ends = np.cumsum(np.where(chances == 1, 0, chances)) % 1
    edges = np.unique(np.concatenate([[0, 1], ends, (ends + 0.5) % 1]))
    lengths = np.diff(edges)
    return edges[:-1] + lengths / 2, lengths


def expectation(plan: SampledDesign, values: np.ndarray, coarse: np.ndarray) -> float:
    starts, lengths = starts_that_matter(plan, coarse)
    samples = [sample_at(plan, coarse, start) for start in starts]
    return float(sum(p * s.area(values[s.points]).value for s, p in zip(samples, lengths, strict=True)))


# ------------------------------------------------------------------------------------------------ unbiased


@pytest.mark.parametrize("spacing", [0.002, 0.01, 0.05, 0.3, 10.0])
def test_the_expectation_is_the_trapezoid_of_all_points(spacing):
    values = rough(0)
    plan = replace(design(X, 0.001), spacing=spacing)
    assert expectation(plan, values, values[plan.coarse]) == pytest.approx(np.trapezoid(values, X), abs=1e-12)


@examples
@given(
    hnp.arrays(np.float64, st.integers(2, 24), elements=st.just(0.0) | st.floats(1e-6, 1)),
    st.integers(0, 10**6),
    st.floats(1e-3, 1),
)
def test_it_is_so_for_any_x_any_values_and_any_coarse_values(gaps, seed, spacing):
    """Also for flat stretches of x, and where the values that steer the sampling are not the curve's own."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([[0], np.cumsum(gaps)])
    values, steering = rng.normal(0, 3, len(x)), rng.uniform(-0.5, 1.5, len(x))
    plan = replace(design(x, 0.001), spacing=spacing)
    scale = 1 + np.abs(values).max() * (1 + x[-1])
    expected = np.trapezoid(values, x)
    assert expectation(plan, values, steering[plan.coarse]) == pytest.approx(expected, abs=1e-9 * scale)


def test_each_of_the_two_estimates_is_unbiased_by_itself():
    values = rough(1)
    plan = replace(design(X, 0.001), spacing=0.03)
    starts, lengths = starts_that_matter(plan, values[plan.coarse])
    found = np.zeros(2)
    for start, length in zip(starts, lengths, strict=True):
        sample = sample_at(plan, values[plan.coarse], start)
        found += length * (sample.coefficients @ values[sample.points])
    np.testing.assert_allclose(found, np.trapezoid(values, X), atol=1e-12)


def test_the_estimate_is_the_formula_of_the_module():
    values = rough(2)
    plan = replace(design(X, 0.001), spacing=0.03)
    chances = inclusion(plan, values[plan.coarse])
    line = np.interp(X, X[plan.coarse], values[plan.coarse])
    weights = trapezoid_weights(X)
    sample = sample_at(plan, values[plan.coarse], 0.3)
    areas = []
    for start in (0.3, 0.8):
        area, reached = float(np.trapezoid(line, X)), 0.0
        for k in range(len(X)):
            if k in plan.coarse:
                continue
            if chances[k] == 1:
                area += weights[k] * (values[k] - line[k])
                continue
            before, reached = reached, reached + chances[k]
            if any(before <= mark < reached for mark in np.arange(start, 30)):
                assert k in sample.points
                area += weights[k] * (values[k] - line[k]) / chances[k]
        areas.append(area)
    found = sample.area(values[sample.points])
    assert found.value == pytest.approx(np.mean(areas), abs=1e-12)
    assert found.half_difference == pytest.approx((areas[0] - areas[1]) / 2, abs=1e-12)


def test_the_difference_says_no_less_than_the_error_on_rough_curves():
    """Over every start of 40 curves: E h² ≥ Var, and not more than four times it."""
    error = said = 0.0
    for seed in range(40):
        values = rough(seed)
        plan = replace(design(X, 0.001), spacing=0.02)
        starts, lengths = starts_that_matter(plan, values[plan.coarse])
        for start, length in zip(starts[::5], lengths[::5], strict=True):
            sample = sample_at(plan, values[plan.coarse], start)
            found = sample.area(values[sample.points])
            error += length * (found.value - np.trapezoid(values, X)) ** 2
            said += length * found.half_difference**2
    assert error < said < 4 * error


# ------------------------------------------------------------------------------------------------ probabilities


def test_points_are_drawn_as_often_as_is_said():
    values = rough(4)
    plan = replace(design(X, 0.001), spacing=0.02)
    chances = inclusion(plan, values[plan.coarse])
    expected = np.where(chances == 1, 1, 2 * chances)  # the two samples share no point
    rng = np.random.default_rng(0)
    times = np.zeros(len(X))
    for _ in range(4000):
        times[draw(plan, values[plan.coarse], rng).points] += 1
    np.testing.assert_allclose(times / 4000, expected, atol=0.035)
    assert times.sum() / 4000 == pytest.approx(expected.sum(), abs=0.3)


def test_probabilities_follow_what_the_coarse_values_allow():
    """Dense where the curve may move, thin where it is at 0 or 1, and nowhere without a chance."""
    plan = replace(design(X, 0.001), spacing=0.02)
    chances = inclusion(plan, np.array([1, 1, 0.5, 0.5, 0, 0]))
    inner = [(a + b) // 2 for a, b in zip(plan.coarse, plan.coarse[1:], strict=False)]
    flat, _, busy, _, bottom = chances[inner]
    assert busy / flat == pytest.approx((0.253 / 0.003) ** (1 / 3))
    assert flat == pytest.approx(bottom)
    assert chances[inner].min() > 0
    assert busy == pytest.approx(0.253 ** (1 / 3) / 224 / 0.04)
    assert (chances[plan.coarse] == 1).all()


def test_probabilities_depend_on_the_coarse_values_alone():
    values, others = rough(5), rough(6)
    plan = replace(design(X, 0.001), spacing=0.02)
    others[plan.coarse] = values[plan.coarse]
    drawn = [draw(plan, v[plan.coarse], np.random.default_rng(1)).points for v in (values, others)]
    np.testing.assert_array_equal(*drawn)


# ------------------------------------------------------------------------------------------------ seeds


def test_a_sample_belongs_to_its_address_whatever_is_drawn_before_it():
    plan = replace(design(X, 0.001), spacing=0.02)
    coarse = {name: rough(i)[plan.coarse] for i, name in enumerate("abc")}

    def drawn(order: str) -> dict[str, Sample]:
        return {name: draw(plan, coarse[name], generator(7, "fewer-passes", name)) for name in order}

    forwards, backwards = drawn("abc"), drawn("cba")
    for name in "abc":
        np.testing.assert_array_equal(forwards[name].points, backwards[name].points)
        np.testing.assert_array_equal(forwards[name].coefficients, backwards[name].coefficients)
    other = draw(plan, coarse["a"], generator(8, "fewer-passes", "a"))
    assert other.points.tolist() != forwards["a"].points.tolist()


# ------------------------------------------------------------------------------------------------ tolerance


def test_a_smaller_tolerance_takes_more_points_and_errs_less():
    values = [rough(seed) for seed in range(60)]
    points, errors = [], []
    for tolerance in (0.01, 0.003, 0.001, 0.0003):
        plan = design(X, tolerance)
        samples = [draw(plan, v[plan.coarse], np.random.default_rng(i)) for i, v in enumerate(values)]
        points.append(np.mean([len(s.points) for s in samples]))
        found = [s.area(v[s.points]).value - np.trapezoid(v, X) for s, v in zip(samples, values, strict=True)]
        errors.append(np.sqrt(np.mean(np.square(found))))
    assert points == sorted(points)
    assert errors == sorted(errors, reverse=True)


def test_at_a_thousandth_fewer_than_a_fifth_of_the_points_are_enough():
    plan = design(X, 0.001)
    points = [len(draw(plan, rough(i)[plan.coarse], np.random.default_rng(i)).points) for i in range(50)]
    assert 10 < np.mean(points) < 0.2 * 225


def test_no_tolerance_is_the_full_protocol_exactly():
    values = rough(7)
    sample = draw(design(X, 0), values[design(X, 0).coarse], np.random.default_rng(0))
    assert sample.points.tolist() == list(range(225))
    found = sample.area(values)
    assert found.value == pytest.approx(np.trapezoid(values, X), abs=1e-14)
    assert found.half_difference == 0


def test_spacing_grows_with_the_tolerance():
    assert spacing_for(0) == 0
    assert 0 < spacing_for(0.0005) < spacing_for(0.001) < spacing_for(0.01)
    assert design(X, 0.001).spacing == spacing_for(0.001)


@pytest.mark.parametrize("points", [2, 3, 5, 7])
def test_short_curves_are_taken_whole_where_the_coarse_grid_is_all_there_is(points):
    x = np.linspace(0, 1, points)
    plan = design(x, 1.0)
    values = rough(8, points)
    sample = draw(plan, values[plan.coarse], np.random.default_rng(0))
    assert {0, points - 1} <= set(sample.points)
    if len(plan.coarse) == points:
        assert sample.area(values).value == pytest.approx(np.trapezoid(values, x), abs=1e-14)


def test_the_mirror_has_the_same_area_from_the_same_points():
    """Insertion-lerf is deletion backwards; both are read from one sample."""
    x = np.sort(np.random.default_rng(0).uniform(0, 1, 225))
    x[0], x[-1] = 0, 1
    deletion = rough(9)
    insertion, fractions = deletion[::-1], 1 - x[::-1]
    plan = design(1 - fractions[::-1], 0.001)
    sample = draw(plan, insertion[::-1][plan.coarse], np.random.default_rng(0))
    same = draw(design(x, 0.001), deletion[plan.coarse], np.random.default_rng(0))
    np.testing.assert_array_equal(sample.points, same.points)
    assert sample.area(insertion[::-1][sample.points]).value == pytest.approx(
        same.area(deletion[same.points]).value, abs=1e-12
    )


def test_differences_of_areas_keep_their_signs():
    difference = SampledArea(value=0.5, half_difference=0.01) - SampledArea(value=0.2, half_difference=0.03)
    assert difference.value == pytest.approx(0.3)
    assert difference.half_difference == pytest.approx(-0.02)


# ------------------------------------------------------------------------------------------------ wrong input


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_is_a_number(tolerance):
    with pytest.raises(InputError, match="tolerance must be a number of at least 0"):
        design(X, tolerance)


@pytest.mark.parametrize("x", [[0.0], [0.0, 1.0, 0.5], [[0.0, 1.0]]])
def test_x_does_not_fall(x):
    with pytest.raises(InputError, match="two points or more whose x does not fall"):
        design(np.array(x), 0.001)


@pytest.mark.parametrize("coarse", [np.zeros(5), np.full(6, np.nan)])
def test_coarse_values_are_as_many_as_asked_for_and_finite(coarse):
    with pytest.raises(InputError, match="expected 6 finite values at the coarse points"):
        draw(design(X, 0.001), coarse, np.random.default_rng(0))
