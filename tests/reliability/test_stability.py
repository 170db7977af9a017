"""Split halves: sure rankings give 1, equal methods give about 0, and it is the means that count, not single images."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.reliability.agreement import agreement
from c2i_fast.reliability.stability import kendall_tau, split_half


def test_it_is_tau_between_the_means_of_random_halves():
    scores = np.random.default_rng(0).random((3, 11)) + np.array([[0.0], [0.2], [0.3]])
    rng = np.random.default_rng([7, 0x5917])
    taus = []
    for _ in range(40):
        order = rng.permutation(11)
        means = [[row[half].sum() / 5 for row in scores] for half in (order[:5], order[5:10])]
        taus.append(float(kendall_tau(np.array(means[0]), np.array(means[1]))))
    found = split_half(scores, splits=40, seed=7)
    assert found.tau == pytest.approx(np.median(taus))
    assert found.range95 == pytest.approx(tuple(np.quantile(taus, [0.025, 0.975])))
    assert found.same == np.mean(np.array(taus) == 1)


def test_a_clear_ranking_of_means_is_stable_though_images_disagree():
    """What a low α does not say: the two numbers answer different questions."""
    rng = np.random.default_rng(1)
    scores = np.arange(4)[:, None] * 0.3 + rng.normal(size=(4, 1000))
    assert agreement(scores, resamples=100).alpha < 0.3
    found = split_half(scores)
    assert found.tau == 1.0
    assert found.same > 0.9


def test_methods_that_do_not_differ_have_no_stable_ranking():
    found = split_half(np.random.default_rng(2).random((5, 300)))
    assert abs(found.tau) < 0.35
    assert found.same < 0.2


def test_more_images_make_it_more_stable():
    rng = np.random.default_rng(3)
    scores = np.arange(5)[:, None] * 0.1 + rng.normal(size=(5, 2000))
    same = [split_half(scores[:, :n]).same for n in (20, 200, 2000)]
    assert same[0] < same[1] < same[2]


def test_the_seed_decides_and_nothing_else():
    scores = np.random.default_rng(4).random((4, 30))
    assert split_half(scores, seed=1) == split_half(scores, seed=1) != split_half(scores, seed=2)


@pytest.mark.parametrize("shape", [(4, 1), (1, 9), (3, 0)])
def test_one_image_or_method_has_none(shape):
    found = split_half(np.zeros(shape))
    assert np.isnan(found.tau)
    assert found.range95 is None
    assert found.to_dict()["range95"] == [None, None]
