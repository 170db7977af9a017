"""Paired tests equal SciPy's and the definition; Holm keeps its promise over all pairs."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from c2i_fast.reliability.compare import MOST_EXACT, compare, holm, paired_t, sign_flip, wilcoxon
from c2i_fast.reliability.intervals import paired

examples = settings(deadline=None, derandomize=True, max_examples=60)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def holm_by_steps(p) -> list[float]:
    """The smallest level at which the step-down procedure rejects each: read off the definition."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, worst = [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - step) * p[i]))
        adjusted[i] = worst
    return adjusted


@examples
@given(P_VALUES)
def test_holm_is_its_definition_monotone_and_between_p_and_bonferroni(p):
    found = holm(np.array(p))
    np.testing.assert_allclose(found, holm_by_steps(p))
    assert (found >= p).all()
    assert (found <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    order = np.argsort(p)
    assert (np.diff(found[order]) >= 0).all()


def test_holm_leaves_out_what_has_no_p():
    np.testing.assert_allclose(holm(np.array([np.nan, 0.01, 0.04])), [np.nan, 0.02, 0.04])
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("images", [13, 40])
def test_many_images_take_the_t_test(images):
    rng = np.random.default_rng(images)
    scores = rng.normal(size=(4, images)) + np.array([[0.0], [0.0], [0.5], [1.0]])
    pairs = compare(scores, list("abcd"))
    assert [(p.first, p.second) for p in pairs] == list(combinations("abcd", 2))
    expected = [stats.ttest_rel(scores[i], scores[j]).pvalue for i, j in combinations(range(4), 2)]
    ranked = [stats.wilcoxon(scores[i] - scores[j]).pvalue for i, j in combinations(range(4), 2)]
    np.testing.assert_allclose([p.p for p in pairs], expected)
    np.testing.assert_allclose([p.p_holm for p in pairs], holm_by_steps(expected))
    np.testing.assert_allclose([p.wilcoxon_holm for p in pairs], holm_by_steps(ranked))
    assert {p.test for p in pairs} == {"t"}
    assert pairs[0].difference == paired(scores[0], scores[1])


@pytest.mark.parametrize("images", [2, 5, MOST_EXACT])
def test_few_images_take_all_signs(images):
    rng = np.random.default_rng(images)
    differences = rng.normal(0.3, 1, (3, images)).round(1)
    expected = []
    for row in differences:
        sums = [abs(sum(s * v for s, v in zip(signs, row, strict=True))) for signs in product((1, -1), repeat=images)]
        expected.append(np.mean([s >= abs(sum(row)) - 1e-9 for s in sums]))
    np.testing.assert_allclose(sign_flip(differences), expected)
    theirs = stats.permutation_test(
        (differences[0],), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip(differences[:1])[0] == pytest.approx(theirs.pvalue)
    assert {p.test for p in compare(differences, list("abc"))} == {"sign-flip"}


@pytest.mark.slow
@pytest.mark.parametrize("images", [9, 30])
def test_equal_methods_are_told_apart_5_times_in_100_at_most(images):
    rng = np.random.default_rng(images)
    wrong = 0
    for _ in range(600):
        difficulty = rng.exponential(size=images)
        scores = difficulty + rng.normal(size=(4, images)) * (0.5 + difficulty)
        wrong += any(pair.separated() for pair in compare(scores, list("abcd")))
    assert stats.binomtest(wrong, 600).proportion_ci(0.99).low <= 0.05


def test_equal_scores_are_not_told_apart_and_constant_differences_are():
    scores = np.random.default_rng(0).random((2, 20))
    same, shifted = compare(np.stack([scores[0], scores[0]]), ["a", "b"])[0], np.full((1, 20), 0.25)
    assert (same.p, same.p_holm, same.wilcoxon_holm) == (1, 1, 1)
    assert paired_t(shifted)[0] == 0
    assert wilcoxon(shifted)[0] < 0.01
    assert sign_flip(np.zeros((1, 4)))[0] == 1


def test_one_image_has_differences_and_no_tests():
    (pair,) = compare(np.array([[0.3], [0.1]]), ["a", "b"])
    assert pair.difference.mean == pytest.approx(0.2)
    assert pair.difference.ci95 is None
    assert np.isnan([pair.p, pair.p_holm, pair.wilcoxon_holm]).all()
    assert not pair.separated()


def test_one_method_or_no_image_has_no_pairs():
    assert compare(np.ones((1, 5)), ["a"]) == []
    assert compare(np.full((3, 5), np.nan), ["a", "b", "c"]) == []


def test_images_with_holes_are_left_out():
    scores = np.random.default_rng(1).random((3, 15))
    holed = np.c_[scores, [0.1, 0.2, np.nan]]
    assert compare(holed, list("abc")) == compare(scores, list("abc"))
