"""α equals its definition by loops and the krippendorff package; its bootstrap equals α of resampled images."""

from __future__ import annotations

import json
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from c2i_fast.reliability.agreement import agreement, kendall_w, krippendorff_alpha, method_ranks

examples = settings(deadline=None, derandomize=True, max_examples=60)
GOLDEN = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 3, 2, 4]]).T
CASES = ("signal_no_ties", "pure_noise", "strong_signal", "ties_rounded", "small")


def alpha_by_loops(ratings, level) -> float:
    """1 − D_o/D_e with δ² looked up in the marginal counts, pair by pair."""
    units = [[v for v in row if np.isfinite(v)] for row in ratings]
    units = [row for row in units if len(row) >= 2]
    pooled = [v for row in units for v in row]
    n = len(pooled)
    values = sorted(set(pooled))
    count = {v: pooled.count(v) for v in values}

    def squared(c, k) -> float:
        if level == "interval":
            return (c - k) ** 2
        between = [count[g] for g in values if min(c, k) <= g <= max(c, k)]
        return 0.0 if c == k else (sum(between) - (count[c] + count[k]) / 2) ** 2

    observed = 0.0
    for row in units:
        for a, b in product(range(len(row)), repeat=2):
            observed += squared(row[a], row[b]) / (len(row) - 1) if a != b else 0.0
    expected = sum(count[c] * (count[k] - (c == k)) * squared(c, k) for c, k in product(values, repeat=2))
    return 1 - (observed / n) / (expected / (n * (n - 1)))


@pytest.fixture(scope="module")
def known(oracles):
    return json.loads((oracles / "reliability.json").read_text())


@pytest.mark.parametrize("level", ["ordinal", "interval"])
def test_the_golden_ranks(level):
    assert krippendorff_alpha(GOLDEN, level=level) == pytest.approx(0.8777777777777778, abs=1e-12)
    assert kendall_w(GOLDEN) == pytest.approx(0.9111111111111111, abs=1e-12)


@examples
@given(st.integers(2, 6), st.integers(2, 9), st.sampled_from(["ordinal", "interval"]), st.data())
def test_alpha_is_its_definition_with_ties_and_holes(units, raters, level, data):
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    ratings = rng.integers(0, 5, (units, raters)).astype(float)
    ratings[rng.random(ratings.shape) < data.draw(st.sampled_from([0.0, 0.3]))] = np.nan
    usable = ratings[np.isfinite(ratings).sum(axis=1) >= 2]
    if len(np.unique(usable[np.isfinite(usable)])) < 2:
        assert np.isnan(krippendorff_alpha(ratings, level=level))
    else:
        assert krippendorff_alpha(ratings, level=level) == pytest.approx(alpha_by_loops(ratings, level), abs=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", ["ordinal", "interval"])
def test_alpha_is_what_the_krippendorff_package_says(known, case, level):
    content = known[case]
    expected = content["krippendorff_alpha_images_as_raters_methods_as_units"]
    for metric, scores in enumerate(np.array(content["scores"])):
        ranks = method_ranks(scores)
        np.testing.assert_array_equal(ranks.T, content["ranks_average_ascending"][metric])
        assert krippendorff_alpha(ranks, level=level) == pytest.approx(expected[f"ranks_{level}"][metric], abs=1e-12)
        assert krippendorff_alpha(scores, level=level) == pytest.approx(
            expected[f"raw_scores_{level}"][metric], abs=1e-12
        )
        if "kendall_W" in content:
            assert kendall_w(ranks) == pytest.approx(content["kendall_W"][metric], abs=1e-12)
    missing = np.array(content["missing"]["data"], float).T
    assert krippendorff_alpha(missing, level=level) == pytest.approx(content["missing"][level], abs=1e-12)


@examples
@given(st.integers(2, 7), st.integers(2, 30), st.integers(0, 10**6))
def test_without_ties_alpha_is_its_closed_form(methods, images, seed):
    ranks = method_ranks(np.random.default_rng(seed).random((methods, images)))
    closed = 1 - (images * methods - 1) / (methods * (images - 1)) * (1 - kendall_w(ranks))
    for level in ("ordinal", "interval"):
        assert krippendorff_alpha(ranks, level=level) == pytest.approx(closed, abs=1e-9)


@examples
@given(st.integers(2, 6), st.integers(2, 12), st.integers(0, 10**6))
def test_w_with_ties_is_the_friedman_statistic(methods, images, seed):
    from scipy.stats import friedmanchisquare

    scores = np.random.default_rng(seed).integers(0, 4, (methods, images)).astype(float)
    if methods < 3 or (scores == scores[0]).all():
        return
    chi = friedmanchisquare(*scores).statistic
    assert kendall_w(method_ranks(scores)) == pytest.approx(chi / (images * (methods - 1)), abs=1e-9)


def test_images_that_rank_alike_have_alpha_one_and_random_ones_about_zero():
    alike = agreement(np.array([[0.1], [0.5], [0.2], [0.9]]) + np.random.default_rng(0).random(40) * 0.01)
    assert (alike.alpha, alike.ci95, alike.ci99) == (1.0, (1.0, 1.0), (1.0, 1.0))
    random = agreement(np.random.default_rng(1).random((5, 400)))
    assert abs(random.alpha) < 0.02
    assert random.ci99[0] < random.ci95[0] < 0 < random.ci95[1] < random.ci99[1]


def test_two_images_that_rank_the_other_way_round_disagree_more_than_chance():
    assert krippendorff_alpha(np.array([[1, 4], [2, 3], [3, 2], [4, 1]])) < 0


@examples
@given(st.integers(3, 6), st.integers(3, 20), st.integers(0, 10**6))
def test_only_the_order_on_each_image_counts_and_not_the_order_of_images(methods, images, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 9, (methods, images)) / 8
    first = agreement(scores, resamples=200)
    assert agreement(np.exp(3 * scores) + rng.random(images), resamples=200) == first
    assert agreement(scores[:, rng.permutation(images)], resamples=200) == first


def alpha_of(ranks, level="ordinal"):
    return krippendorff_alpha(ranks, level=level)


@pytest.mark.parametrize("level", ["ordinal", "interval"])
def test_counting_rankings_is_alpha_of_the_resampled_images(level):
    from c2i_fast.reliability.agreement import _weighted_alpha

    rng = np.random.default_rng(5)
    ranks = method_ranks(rng.integers(0, 4, (5, 30)).astype(float))
    patterns, inverse = np.unique(ranks.T, axis=0, return_inverse=True)
    chosen = rng.integers(0, 30, (20, 30))
    weights = np.stack([np.bincount(inverse[c], minlength=len(patterns)) for c in chosen])
    expected = [alpha_of(ranks[:, c], level) for c in chosen]
    np.testing.assert_allclose(_weighted_alpha(patterns, level)(weights), expected, atol=1e-10)


@pytest.mark.slow
def test_the_interval_is_scipys_bca():
    from scipy.stats import bootstrap

    rng = np.random.default_rng(2)
    scores = np.arange(5)[:, None] * 0.3 + rng.normal(size=(5, 40))
    ranks = method_ranks(scores)
    found = agreement(scores, resamples=20_000)
    theirs = bootstrap(
        (np.arange(40),), lambda i: alpha_of(ranks[:, i]), n_resamples=4000, vectorized=False, rng=3, method="BCa"
    ).confidence_interval
    np.testing.assert_allclose(found.ci95, theirs, atol=0.015)


@pytest.mark.slow
def test_the_interval_holds_alpha_of_the_population_as_often_as_it_says():
    rng = np.random.default_rng(3)
    truth = krippendorff_alpha(method_ranks(np.arange(4)[:, None] * 0.5 + rng.normal(size=(4, 200_000))))
    hits = 0
    for seed in range(400):
        found = agreement(np.arange(4)[:, None] * 0.5 + rng.normal(size=(4, 60)), resamples=800, seed=seed)
        hits += found.ci95[0] <= truth <= found.ci95[1]
    assert hits / 400 == pytest.approx(0.94, abs=0.03)


@pytest.mark.parametrize(
    "scores",
    [np.ones((4, 6)), np.ones((1, 6)), np.arange(4.0)[:, None], np.full((4, 3), np.nan), np.ones((3, 0))],
    ids=["constant", "one method", "one image", "missing", "no image"],
)
def test_what_has_no_alpha_has_none_and_no_interval(scores):
    found = agreement(scores)
    assert np.isnan(found.alpha)
    assert found.ci95 is found.ci99 is None
    assert found.to_dict()["ci95"] == [None, None]


def test_images_that_lack_a_method_are_left_out():
    scores = np.random.default_rng(4).random((4, 12))
    holed = np.c_[scores, [0.1, np.nan, 0.2, 0.3]]
    assert agreement(holed, resamples=50) == agreement(scores, resamples=50)


def test_ties_share_their_mean_rank_and_nan_stays():
    np.testing.assert_array_equal(
        method_ranks(np.array([[0.5, np.nan], [0.5, 2.0], [0.1, 1.0]])), [[2.5, np.nan], [2.5, 2.0], [1.0, 1.0]]
    )
    scores = np.random.default_rng(0).integers(0, 3, (6, 9)).astype(float)
    np.testing.assert_array_equal(method_ranks(scores), rankdata(scores, axis=0))


def test_a_thousand_images_of_ten_methods_take_seconds_at_most():
    scores = np.random.default_rng(0).random((10, 1000))
    clock = time.process_time()
    agreement(scores)
    assert time.process_time() - clock < 6, "about 1 s of processor time on an idle core"
