"""The statistics of the Sanity Checks paper equal SciPy's Spearman, image by image and pair by pair."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import spearmanr

from c2i_fast.reliability.consistency import (
    inter_method,
    internal_consistency,
    mean_inter_method,
    ranking_consistency,
)

CASES = ("signal_no_ties", "pure_noise", "strong_signal", "ties_rounded", "small")


@pytest.mark.parametrize("case", CASES)
def test_all_three_are_the_oracles(oracles, case):
    content = json.loads((oracles / "reliability.json").read_text())[case]
    scores = np.array(content["scores"])
    for metric, own in enumerate(scores):
        np.testing.assert_allclose(inter_method(own), content["inter_method_spearman_over_images"][metric], atol=1e-12)
        assert mean_inter_method(own) == pytest.approx(content["inter_method_mean_off_diagonal"][metric], abs=1e-12)
    between = np.array(content["internal_consistency_spearman_between_metrics_over_images"])
    rankings = np.array(content["inter_metric_spearman_of_method_ranking_per_image"], float)
    for a, b in combinations(range(len(scores)), 2):
        np.testing.assert_allclose(internal_consistency(scores[a], scores[b]), between[:, a, b], atol=1e-12)
        np.testing.assert_allclose(ranking_consistency(scores[a], scores[b]), rankings[a, b], atol=1e-12)


def test_they_are_scipys_spearman():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 4, 15)) / 5
    for a, b in combinations(range(4), 2):
        assert inter_method(first)[a, b] == pytest.approx(spearmanr(first[a], first[b]).statistic)
    expected = [spearmanr(x, y).statistic for x, y in zip(first, second, strict=True)]
    np.testing.assert_allclose(internal_consistency(first, second), expected)
    expected = [spearmanr(first[:, i], second[:, i]).statistic for i in range(15)]
    np.testing.assert_allclose(ranking_consistency(first, second), expected)


def test_the_two_meanings_of_consistency_differ():
    """Metrics may agree on which images are easy and disagree on every ranking of methods."""
    images = np.arange(9.0)
    first = np.stack([images, images + 0.1, images + 0.2])
    second = first[::-1]
    np.testing.assert_allclose(internal_consistency(first, second), 1)
    np.testing.assert_allclose(ranking_consistency(first, second), -1)


def test_turning_a_metric_round_turns_the_sign():
    first, second = np.random.default_rng(1).random((2, 3, 8))
    np.testing.assert_allclose(internal_consistency(first, -second), -internal_consistency(first, second))
    np.testing.assert_allclose(ranking_consistency(first, -second), -ranking_consistency(first, second))


@pytest.mark.parametrize("images", [0, 1])
def test_one_image_has_no_correlation_over_images(images):
    scores = np.ones((3, images))
    assert np.isnan(inter_method(scores)).all()
    assert np.isnan(internal_consistency(scores, scores)).all()


def test_one_method_has_no_pairs_and_constants_no_correlation():
    assert np.isnan(mean_inter_method(np.random.default_rng(0).random((1, 5))))
    assert np.isnan(inter_method(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]))[0, 1])


def test_images_with_holes_are_left_out():
    first, second = np.random.default_rng(2).random((2, 3, 8))
    holed = first.copy()
    holed[1, 2] = np.nan
    keep = np.arange(8) != 2
    np.testing.assert_allclose(inter_method(holed), inter_method(first[:, keep]))
    np.testing.assert_allclose(
        internal_consistency(holed, second), internal_consistency(first[:, keep], second[:, keep])
    )
