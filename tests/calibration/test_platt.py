"""Platt scaling of sigmoid heads: the optimum by its gradient, hard labels, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.platt import Platt
from c2i_fast.errors import InputError


def targets(applies):
    positive = applies.sum(axis=0)
    return np.where(applies == 1, (positive + 1) / (positive + 2), 1 / (len(applies) - positive + 2))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 60), scale=st.sampled_from([0.01, 1.0, 30.0]))
def test_the_gradient_is_zero(seed, count, scale):
    rng = np.random.default_rng(seed)
    logits, applies = scale * rng.normal(0.5, 1, (count, 3)), rng.integers(0, 2, (count, 3))
    applies[:, 2] = 0
    fitted = Platt().fit(logits, applies)
    left = sigmoid(fitted.transform(logits)) - targets(applies)
    assert np.abs(left.mean(axis=0)).max() < 1e-10
    assert np.abs((left * logits / scale).mean(axis=0)).max() < 1e-10


def test_separable_labels_stay_bounded():
    logits, applies = np.array([[-1.0, 9], [1, 9], [2, 9]]), np.array([[0, 1], [1, 1], [1, 1]])
    p = sigmoid(Platt().fit(logits, applies).transform(logits))
    assert (p > 0).all()
    assert (p < 1).all()
    np.testing.assert_allclose(p[:, 1], 4 / 5)  # three of three: Platt's target


def test_many_samples_recover_the_map_they_were_drawn_with():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (20_000, 2))
    applies = true + rng.logistic(size=true.shape) > 0
    fitted = Platt().fit(3 * true + 1, applies)
    np.testing.assert_allclose(fitted.slopes_, 1 / 3, rtol=0.05)
    np.testing.assert_allclose(fitted.intercepts_, -1 / 3, atol=0.05)


def test_labels_apply_independently_and_bools_serve():
    rng = np.random.default_rng(1)
    logits, applies = rng.normal(size=(30, 2)), rng.random((30, 2)) < 0.5
    both = Platt().fit(logits, applies)
    turned = Platt().fit(logits[:, ::-1], applies[:, ::-1].astype(float))
    np.testing.assert_allclose(both.slopes_, turned.slopes_[::-1], rtol=1e-12)
    np.testing.assert_allclose(both.intercepts_, turned.intercepts_[::-1], rtol=1e-12)


def test_the_example_by_hand():
    fitted = Platt().fit([[-1.0, 0.5], [1.0, 0.5]], [[0, 1], [1, 1]])
    np.testing.assert_allclose(fitted.slopes_, [math.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(fitted.intercepts_, [0, math.log(3)], atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 1], [[0, 2], [1, 0]], [[0, 1]], [[0.5, 0], [1, 0]]])
def test_labels_of_another_kind_are_refused(labels):
    with pytest.raises(InputError, match="labels of 0 and 1 of shape"):
        Platt().fit([[1.0, 0.0], [0.0, 1.0]], labels)
