"""The heuristic does what it says, and what it cannot do is shown."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.perturb.bisection import bisect


def test_a_step_is_found_by_halving():
    x = np.linspace(0, 1, 225)
    asked: list[int] = []

    def step(points):
        asked.extend(points)
        return (np.asarray(points) < 77).astype(float)

    curve = bisect(x, step, 12)
    assert len(curve.values) == len(asked) == len(set(asked)) == 12
    assert curve.area() == pytest.approx(np.trapezoid(step(np.arange(225)), x), abs=1 / 224)


def test_with_all_points_it_is_the_protocol():
    x = np.sort(np.random.default_rng(0).random(20))
    values = np.random.default_rng(1).random(20)
    curve = bisect(x, lambda k: values[k], 50)
    np.testing.assert_array_equal(curve.fractions, x)
    assert curve.area() == pytest.approx(np.trapezoid(values, x))


def test_where_nothing_seems_to_move_the_widest_gap_is_halved():
    x = np.linspace(0, 1, 17)
    assert np.diff(bisect(x, lambda k: np.zeros(len(k)), 5).fractions).tolist() == [0.25] * 4


def test_a_bump_between_equal_values_is_missed_which_is_why_there_is_no_interval():
    x = np.linspace(0, 1, 225)
    values = np.where((np.arange(225) > 60) & (np.arange(225) < 110), 1.0, 0.0)
    values[0] = 0.5  # it keeps looking here
    found = bisect(x, lambda k: values[k], 10).area()
    assert abs(found - np.trapezoid(values, x)) > 0.1


@pytest.mark.parametrize(("points", "size"), [(2, 10), (5, 2)])
def test_it_needs_three_points(points, size):
    with pytest.raises(InputError, match="bisection needs 3 points or more"):
        bisect(np.linspace(0, 1, size), lambda k: np.zeros(len(k)), points)
