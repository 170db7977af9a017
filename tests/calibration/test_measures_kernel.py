"""The kernel KL error against kernels written out one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, dirichlet

from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.measures import kernel_bandwidth, kernel_kl_canonical, kernel_kl_top_label
from c2i_fast.calibration.measures.kernel_kl import BANDWIDTHS, kernel_kl_top_label_sets, kl_top_label
from c2i_fast.errors import InputError

quick = settings(deadline=None, max_examples=40)


def slow_kernel_kl(p, labels, bandwidth):
    """mean Σ q log q + NLL with leave-one-out Dirichlet kernels."""
    total = 0.0
    for i in range(len(p)):
        weight, hits = 0.0, np.zeros(p.shape[1])
        for j in range(len(p)):
            if j != i:
                kernel = dirichlet.pdf(p[i] / p[i].sum(), p[j] / bandwidth + 1)
                weight += kernel
                hits[labels[j]] += kernel
        total += sum(q * math.log(q) for q in hits / weight if q > 0) - math.log(p[i, labels[i]])
    return total / len(p)


def sample(n, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.05, 0.95, n)
    return confidence, rng.random(n) < confidence**1.5


def test_top_label_is_its_definition():
    c, a = sample(25)
    p = np.stack([1 - c, c], axis=1)
    for bandwidth in (0.02, 0.3):
        expected = slow_kernel_kl(p, a.astype(int), bandwidth)
        assert kernel_kl_top_label(c, a, bandwidth) == pytest.approx(expected, abs=1e-10)


def test_canonical_is_its_definition():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    expected = slow_kernel_kl(np.exp(log_probabilities(logits)), labels, 0.1)
    assert kernel_kl_canonical(logits, labels, 0.1) == pytest.approx(expected, abs=1e-10)


def test_for_two_classes_canonical_is_binary():
    c, a = sample(40)
    logits = np.log(np.stack([1 - c, c], axis=1))
    assert kernel_kl_canonical(logits, a.astype(int)) == pytest.approx(kernel_kl_top_label(c, a), abs=1e-10)


def test_the_bandwidth_has_the_greatest_leave_one_out_likelihood():
    c, _ = sample(40)

    def likelihood(h):
        return sum(
            math.log(max(sum(beta.pdf(c[i], c[j] / h + 1, (1 - c[j]) / h + 1) for j in range(40) if j != i), 1e-300))
            for i in range(40)
        )

    near = [h for h in BANDWIDTHS if h > 5e-3]  # narrower ones leave samples alone
    assert kernel_bandwidth(np.stack([1 - c, c], axis=1)) == max(near, key=likelihood)


def test_blocks_do_not_show(monkeypatch):
    c, a = sample(50)
    whole = kernel_kl_top_label(c, a)
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 7 * 50)
    assert kernel_kl_top_label(c, a) == pytest.approx(whole, abs=1e-12)


@quick
@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.999, 1.0]) | st.floats(0, 1), min_size=2, max_size=20),
    st.randoms(use_true_random=False),
)
def test_it_is_finite_and_does_not_depend_on_the_order(confidence, random):
    c = np.array(confidence)
    a = np.array([random.random() < x for x in confidence])
    value = kernel_kl_top_label(c, a)
    assert np.isfinite(value)
    assert value >= -math.log(2) - 1e-12  # an entropy of two outcomes is at most that, a log-likelihood at least 0
    order = list(range(len(c)))
    random.shuffle(order)
    assert kernel_kl_top_label(c[order], a[order]) == pytest.approx(value, abs=1e-8)


def test_constant_confidence_by_hand():
    # Each of two right ones sees 1 of 3 right, each of two wrong ones 2 of 3; the entropies are equal.
    entropy = (1 / 3) * math.log(1 / 3) + (2 / 3) * math.log(2 / 3)
    expected = entropy - (math.log(0.9) + math.log(0.1)) / 2
    assert kernel_kl_top_label([0.9] * 4, [1, 0, 1, 0], 0.02) == pytest.approx(expected, abs=1e-12)


def test_certainties():
    assert kernel_kl_top_label([1.0] * 5, [1] * 5, 0.02) == pytest.approx(0, abs=1e-12)
    assert kernel_kl_top_label([1.0] * 5, [0] * 5, 0.02) == pytest.approx(53 * math.log(2), rel=1e-12)


def test_of_many_samples_it_is_the_true_error():
    rng = np.random.default_rng(2)
    c = rng.uniform(0.5, 0.98, 3000)
    for chance in (c, c - 0.3 * (c - 0.5)):
        a = rng.random(3000) < chance
        assert kernel_kl_top_label(c, a, 0.01) == pytest.approx(kl_top_label(c, chance), abs=0.012)
    assert kl_top_label(c, c) == 0


def test_many_sets_are_one_after_the_other():
    c, _ = sample(30)
    sets = np.random.default_rng(0).random((5, 30)) < c
    expected = [kernel_kl_top_label(c, a, 0.05) for a in sets]
    np.testing.assert_allclose(kernel_kl_top_label_sets(c, sets, 0.05), expected, atol=1e-12)


def test_refusals():
    with pytest.raises(InputError, match=r"at most 20 classes, got 21.*kernel-kl-top-label"):
        kernel_kl_canonical(np.zeros((30, 21)), np.zeros(30, int))
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        kernel_kl_top_label([0.5], [1])
    for bandwidth in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="bandwidth above 0"):
            kernel_kl_top_label([0.5, 0.6], [1, 0], bandwidth)
    assert np.isfinite(kernel_kl_canonical(np.zeros((30, 20)), np.arange(30) % 20, 0.1))
