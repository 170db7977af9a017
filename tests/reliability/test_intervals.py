"""Intervals that hold what they promise: by simulation, by SciPy, and by the algebra of the difference estimator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from c2i_fast.reliability.intervals import Estimate, corrected_mean, mean_interval, paired

examples = settings(deadline=None, derandomize=True, max_examples=80)
VALUES = hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-100, 100))


def covers(estimate: Estimate, truth: float) -> bool:
    low, high = estimate.ci95
    return low <= truth <= high


# ------------------------------------------------------------------------------------------------ a mean


@examples
@given(VALUES)
def test_the_interval_is_students(values):
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    half = stats.t.ppf(0.975, n - 1) * (variance / n) ** 0.5
    found = mean_interval(values)
    assert found.n == n
    assert found.mean == pytest.approx(mean, abs=1e-9)
    np.testing.assert_allclose(found.ci95, (mean - half, mean + half), atol=1e-9)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_the_mean_interval_covers_the_truth_95_times_in_100(n):
    rng = np.random.default_rng(n)
    hits = sum(covers(mean_interval(rng.normal(3, 2, n)), 3) for _ in range(2000))
    assert hits / 2000 == pytest.approx(0.95, abs=0.02)


def test_one_value_has_a_mean_and_no_interval():
    found = mean_interval(np.array([0.7]))
    assert found == Estimate(mean=0.7, ci95=None, n=1)
    assert found.to_dict() == {"mean": 0.7, "ci95": [None, None], "n": 1}


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval(np.full(5, 0.25)).ci95 == (0.25, 0.25)


def test_estimates_are_plain_json():
    content = mean_interval(np.array([1.0, 2.0, 3.0])).to_dict()
    assert list(content) == ["mean", "ci95", "n"]
    assert [type(v) for v in (content["mean"], *content["ci95"], content["n"])] == [float, float, float, int]


# ------------------------------------------------------------------------------------------------ differences


@examples
@given(st.integers(2, 30), st.integers(0, 10**6))
def test_paired_is_the_confidence_interval_of_the_paired_t_test(n, seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=n)
    second = first + rng.normal(0.1, 0.3, n)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    found = paired(first, second)
    assert found.mean == pytest.approx(np.mean(first - second))
    np.testing.assert_allclose(found.ci95, (expected.low, expected.high), rtol=1e-9)


def test_paired_takes_what_images_share_out_of_the_width():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 10, 50)
    first, second = difficulty + rng.normal(0, 0.1, 50), difficulty + 1
    low, high = paired(first, second).ci95
    assert high - low < 0.1
    assert high < -0.9


def test_paired_is_antisymmetric():
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 9))
    one, other = paired(first, second), paired(second, first)
    assert one.mean == pytest.approx(-other.mean)
    np.testing.assert_allclose(one.ci95, [-v for v in reversed(other.ci95)])


# ------------------------------------------------------------------------------------------------ a corrected mean


def corrected_by_definition(fast, fast_subset, reference) -> tuple[float, float]:
    """mean(fast) + mean(d) and s²/N + 2·cov(fast, d)/N + d²/m, by loops."""
    n, m = len(fast), len(reference)
    d = [float(r - f) for r, f in zip(reference, fast_subset, strict=True)]
    mean_fast, mean_subset, mean_d = sum(fast) / n, sum(fast_subset) / m, sum(d) / m
    spread = sum((f - mean_fast) ** 2 for f in fast) / (n - 1)
    shared = sum((f - mean_subset) * (x - mean_d) for f, x in zip(fast_subset, d, strict=True)) / (m - 1)
    rest = sum((x - mean_d) ** 2 for x in d) / (m - 1)
    return mean_fast + mean_d, max(spread / n + 2 * shared / n + rest / m, 0.0)


@examples
@given(st.integers(2, 40), st.data())
def test_the_corrected_mean_is_its_formula(n, data):
    m = data.draw(st.integers(2, n))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    fast = rng.random(n)
    reference = fast[:m] + rng.normal(0.05, 0.1, m)
    mean, variance = corrected_by_definition(fast, fast[:m], reference)
    half = stats.t.ppf(0.975, m - 1) * variance**0.5
    found = corrected_mean(fast, fast[:m], reference)
    assert (found.n, found.mean) == (n, pytest.approx(mean))
    np.testing.assert_allclose(found.ci95, (mean - half, mean + half), atol=1e-9)


@pytest.mark.parametrize("shared", [-0.4, 0.0, 0.6], ids=["shrinking", "unrelated", "growing"])
def test_the_corrected_mean_is_unbiased_and_covers_the_reference(shared):
    """A biased fast precision whose error depends on the value, a random subset in both: the bias goes."""
    rng = np.random.default_rng(7)
    means, hits = [], 0
    for _ in range(2000):
        fast = rng.normal(0.5, 0.2, 120)
        reference = fast + 0.07 + shared * (fast - 0.5) + rng.normal(0, 0.05, 120)
        subset = rng.permutation(120)[:30]
        found = corrected_mean(fast, fast[subset], reference[subset])
        means.append(found.mean)
        hits += covers(found, 0.57)
    assert np.mean(means) == pytest.approx(0.57, abs=4 * np.std(means) / 2000**0.5)
    assert hits / 2000 == pytest.approx(0.95, abs=0.025)


def test_on_all_images_the_corrected_mean_is_the_reference_mean():
    rng = np.random.default_rng(3)
    fast, reference = rng.random((2, 25))
    found = corrected_mean(fast, fast, reference)
    assert found.mean == pytest.approx(reference.mean())
    np.testing.assert_allclose(found.ci95, mean_interval(reference).ci95, rtol=1e-9)


def test_a_subset_of_one_corrects_the_mean_and_claims_no_interval():
    found = corrected_mean(np.array([0.5, 0.7]), np.array([0.5]), np.array([0.6]))
    assert found.mean == pytest.approx(0.7)
    assert found.ci95 is None
    assert found.n == 2


def test_a_fast_precision_that_errs_by_a_constant_is_corrected_without_widening():
    fast = np.random.default_rng(4).random(60)
    corrected, plain = corrected_mean(fast, fast[:20], fast[:20] + 0.25), mean_interval(fast)
    assert corrected.mean == pytest.approx(plain.mean + 0.25)
    ratio = np.ptp(corrected.ci95) / np.ptp(plain.ci95)
    assert ratio == pytest.approx(stats.t.ppf(0.975, 19) / stats.t.ppf(0.975, 59))
