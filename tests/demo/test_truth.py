"""Mass accuracy and top precision on cases worked out by hand; τ against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from c2i_fast.demo.truth import Agreement, agreement, mass_accuracy, top_precision
from c2i_fast.reliability.stability import kendall_tau

MASK = np.zeros((1, 4, 5), bool)
MASK[0, 1:3, 1:4] = True  # 6 of 20


def test_a_perfect_map_has_everything_inside():
    perfect = MASK.astype(float)
    assert mass_accuracy(perfect, MASK) == 1
    assert top_precision(perfect, MASK) == 1


def test_a_map_outside_has_nothing_inside():
    outside = 1.0 - MASK
    assert mass_accuracy(outside, MASK) == 0
    assert top_precision(outside, MASK) == 0


def test_a_flat_map_has_the_masks_share_of_the_area():
    assert mass_accuracy(np.full((1, 4, 5), 0.3), MASK) == pytest.approx(6 / 20)


def test_a_map_of_zeros_has_none():
    assert mass_accuracy(np.zeros((1, 4, 5)), MASK) == 0


def test_mass_counts_without_its_sign():
    signed = np.where(MASK, -1.0, 0.5)
    assert mass_accuracy(signed, MASK) == pytest.approx(6 / (6 + 14 * 0.5))
    assert mass_accuracy(signed, MASK) == mass_accuracy(-signed, MASK)


def test_a_constant_lowers_mass_accuracy_and_leaves_top_precision():
    values = MASK + 0.1 * np.random.default_rng(0).random(MASK.shape)
    assert mass_accuracy(values + 1, MASK) < mass_accuracy(values, MASK)
    assert top_precision(values + 1, MASK) == top_precision(values, MASK) == 1


def test_measures_equal_loops_over_pixels():
    rng = np.random.default_rng(1)
    maps, masks = rng.normal(size=(5, 6, 7)), rng.random((5, 6, 7)) < 0.3
    for number, (saliency, mask) in enumerate(zip(maps, masks, strict=True)):
        inside = sum(abs(saliency[i, j]) for i in range(6) for j in range(7) if mask[i, j])
        total = sum(abs(saliency[i, j]) for i in range(6) for j in range(7))
        assert mass_accuracy(maps, masks)[number] == pytest.approx(inside / total)
        highest = sorted(range(42), key=lambda p: -saliency.ravel()[p])[: mask.sum()]
        assert top_precision(maps, masks)[number] == pytest.approx(np.mean([mask.ravel()[p] for p in highest]))


def test_among_equals_the_smaller_index_is_higher():
    mask = np.array([[True, False, False]])
    assert top_precision(np.zeros((1, 3)), mask) == 1
    assert top_precision(np.zeros((1, 3)), mask[:, ::-1]) == 0


def test_signals_are_measured_too():
    assert mass_accuracy(np.ones((2, 8)), np.arange(16).reshape(2, 8) % 2 == 0).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("measure", [mass_accuracy, top_precision])
def test_other_shapes_are_refused(measure):
    with pytest.raises(ValueError, match=r"\(1, 4, 5\) and \(1, 5, 4\)"):
        measure(np.zeros((1, 4, 5)), np.zeros((1, 5, 4), bool))


def test_tau_is_scipys_where_nothing_ties():
    rng = np.random.default_rng(2)
    first, second = rng.random((20, 7)), rng.random((20, 7))
    expected = [kendalltau(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(kendall_tau(first, second), expected, atol=1e-12)


def test_a_tied_pair_counts_for_nothing():
    assert kendall_tau(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 3)


def test_clear_agreement_is_certain():
    truth = np.arange(5.0)[:, None] + 0.1 * np.random.default_rng(3).random((5, 30))
    assert agreement(2 * truth, truth, seed=0) == Agreement(tau=1.0, ci95=(1.0, 1.0))
    assert agreement(-truth, truth, seed=0) == Agreement(tau=-1.0, ci95=(-1.0, -1.0))


def test_noise_has_a_wide_interval_around_its_tau():
    rng = np.random.default_rng(4)
    found = agreement(rng.normal(size=(7, 20)), rng.normal(size=(7, 20)), seed=0)
    low, high = found.ci95
    assert low <= found.tau <= high
    assert high - low > 0.5


def test_the_interval_depends_on_the_seed_alone():
    rng = np.random.default_rng(5)
    scores, truth = rng.normal(size=(2, 7, 20))
    assert agreement(scores, truth, seed=1) == agreement(scores, truth, seed=1)
    assert agreement(scores, truth, seed=1).tau == agreement(scores, truth, seed=2).tau


def test_an_agreement_as_json():
    assert Agreement(tau=0.5, ci95=(0.0, 1.0)).to_dict() == {"tau": 0.5, "ci95": [0.0, 1.0]}
