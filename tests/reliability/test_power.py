"""Sample sizes that keep their power: by SciPy's noncentral t, by simulation, and with the pilot's own doubt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from c2i_fast.reliability.power import images_needed, spread_upper

examples = settings(deadline=None, derandomize=True, max_examples=40)


def power_of(n, effect, level) -> float:
    edge = stats.t.ppf(1 - level / 2, n - 1)
    return stats.nct(n - 1, np.sqrt(n) * effect).sf(edge)


@examples
@given(st.floats(0.05, 2), st.integers(1, 45), st.sampled_from([0.8, 0.95]))
def test_it_is_the_smallest_number_with_the_power(effect, comparisons, power):
    pilot = np.array([-1.0, 1.0] * 10)
    spread = pilot.std(ddof=1)
    need = images_needed(pilot, effect * spread, comparisons=comparisons, power=power)
    level = 0.05 / comparisons
    assert power_of(need.images, effect, level) >= power - 1e-6
    assert need.images == 2 or power_of(need.images - 1, effect, level) < power + 1e-6
    assert need.spread == pytest.approx(spread)
    assert need.images_upper >= need.images


def test_a_textbook_number():
    """d = 0.5, power 0.8, two-sided 0.05: 34 pairs (Cohen 1988)."""
    pilot = np.array([-1.0, 1.0] * 50)
    assert images_needed(pilot, 0.5 * pilot.std(ddof=1)).images == 34


@pytest.mark.slow
def test_so_many_images_see_it_so_often():
    rng = np.random.default_rng(0)
    pilot = rng.normal(size=60)
    pilot = 0.05 * (pilot - pilot.mean()) / pilot.std(ddof=1)
    need = images_needed(pilot, 0.01, comparisons=3)
    seen = stats.ttest_1samp(rng.normal(0.01, 0.05, (4000, need.images)), 0, axis=1).pvalue < 0.05 / 3
    assert seen.mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform"])
def test_the_upper_limit_holds_about_as_often_as_it_says(draw):
    """At 30 images: 0.90 for normal values, 0.83 where tails are heavy, more where there are none."""
    rng = np.random.default_rng(1)
    truth = {"normal": 1.0, "laplace": 2**0.5, "uniform": (1 / 12) ** 0.5}[draw]
    held = np.mean([spread_upper(getattr(rng, draw)(size=30)) >= truth for _ in range(3000)])
    assert 0.8 <= held <= 0.99


def test_quarter_the_difference_takes_sixteen_times_the_images():
    pilot = np.random.default_rng(2).normal(size=50)
    one, four = (images_needed(pilot, d).images for d in (0.01, 0.04))
    assert one / four == pytest.approx(16, rel=0.01)


def test_more_comparisons_power_or_sureness_take_more():
    pilot = np.random.default_rng(3).normal(size=30)
    base = images_needed(pilot, 0.1)
    assert images_needed(pilot, 0.1, comparisons=10).images > base.images
    assert images_needed(pilot, 0.1, power=0.95).images > base.images
    assert images_needed(pilot, 0.1, sure=0.99).images_upper > base.images_upper
    assert images_needed(pilot, 0.1, level=0.01).images > base.images


def test_equal_differences_need_two_images():
    need = images_needed(np.full(8, 0.3), 0.01)
    assert (need.spread, need.images, need.images_upper) == (0.0, 2, 2)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_small_a_pilot_is_refused(count):
    with pytest.raises(ValueError, match=f"at least 5 differences, got {count}"):
        images_needed(np.arange(float(count)), 0.01)


@pytest.mark.parametrize("wrong", [{"detect": 0.0}, {"power": 0.01}, {"level": 1.0}, {"sure": 0.3}, {"comparisons": 0}])
def test_numbers_out_of_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match="out of its range"):
        images_needed(**{"differences": np.arange(9.0), "detect": 0.1, **wrong})
