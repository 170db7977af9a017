"""Ensemble temperature scaling: both steps of its fit, re-derived."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.ets import EnsembleTemperature, _simplex_minimiser
from c2i_fast.errors import InputError


def softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def brier(p, labels):
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1).mean())


def mixture(logits, temperature, weights):
    plain = logits.astype(np.float64)
    return weights[0] * softmax(plain / temperature) + weights[1] * softmax(plain) + weights[2] / logits.shape[1]


@pytest.fixture
def cifar(oracles):
    return np.load(oracles / "calibration_cifar.npz")


def test_it_equals_an_independent_optimum(cifar, oracles):
    fitted = EnsembleTemperature().fit(cifar["logits_fit"], cifar["labels_fit"])
    theirs = json.loads((oracles / "calibration_cifar.json").read_text())["parameters"]["ets_exact_mse"]
    assert fitted.temperature_ == pytest.approx(theirs["T"], abs=1e-6)
    np.testing.assert_allclose(fitted.weights_, theirs["w"], atol=1e-9)
    np.testing.assert_allclose(np.exp(fitted.transform(cifar["logits_test"])), cifar["prob_ets_exact_mse"], atol=1e-8)


def test_on_a_thousand_classes_too(oracles):
    data = np.load(oracles / "calibration_imagenet.npz")
    fitted = EnsembleTemperature().fit(data["logits_fit"], data["labels_fit"])
    p = np.exp(fitted.transform(data["logits_test"]))
    np.testing.assert_allclose(p[np.arange(300), data["labels_test"]], data["prob_label_ets_exact_mse"], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.5, 1.0, 2.5]))
def test_the_derivative_by_temperature_is_zero_and_no_grid_point_better(seed, factor):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(80, 4))
    logits, labels = factor * true, (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    fitted = EnsembleTemperature().fit(logits, labels)
    found = brier(softmax(logits / fitted.temperature_), labels)
    assert all(found <= brier(softmax(logits / t), labels) + 1e-6 for t in np.geomspace(0.05, 20, 60))
    if fitted.at_bound_ is None:
        beta, step = 1 / fitted.temperature_, 1e-5
        slope = (brier(softmax(logits * (beta + step)), labels) - brier(softmax(logits * (beta - step)), labels)) / step
        assert abs(slope) < 1e-8


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10**6))
def test_no_other_mixture_is_better(seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(scale=3, size=(40, 4)), rng.integers(0, 4, 40)
    fitted = EnsembleTemperature().fit(logits, labels)
    least = brier(np.exp(fitted.transform(logits)), labels)
    for weights in (*np.eye(3), *rng.dirichlet([0.5] * 3, 30)):
        assert least <= brier(mixture(logits, fitted.temperature_, weights), labels) + 1e-12
    assert fitted.weights_.min() >= 0
    assert fitted.weights_.sum() == pytest.approx(1, abs=1e-12)


def test_the_minimum_on_a_simplex_may_be_inside_on_an_edge_or_a_corner():
    np.testing.assert_allclose(_simplex_minimiser(np.eye(3), np.array([0.3, 0.4, 0.3])), [0.3, 0.4, 0.3])
    np.testing.assert_allclose(_simplex_minimiser(np.eye(3), np.array([0.5, 0.6, -9.0])), [0.45, 0.55, 0], atol=1e-12)
    np.testing.assert_allclose(_simplex_minimiser(np.eye(3), np.array([0.0, 0.0, 5.0])), [0, 0, 1])


def test_the_closed_form_of_two_classes():
    fitted = EnsembleTemperature().fit([[2.0, 0.0]] * 4, [0, 0, 0, 1])
    assert fitted.temperature_ == pytest.approx(2 / math.log(3), rel=1e-12)


@pytest.mark.parametrize(("labels", "bound"), [([0, 0, 0, 0], "lower"), ([1, 1, 1, 1], "upper")])
def test_what_has_no_optimum_stops_at_a_bound(labels, bound):
    assert EnsembleTemperature().fit([[2.0, 0.0]] * 4, labels).at_bound_ == bound


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": [0.5, 0.5, 0.5]}, "sum to 1"),
        ({"weights": [1.5, -0.5, 0]}, "within 0..1"),
        ({"temperature": 0}, "temperature within"),
        ({"classes": 1}, "classes"),
        ({"classes": True}, "classes"),
        ({"classes": 3.0}, "classes"),
    ],
)
def test_impossible_parameters_are_refused(changed, message):
    good = {"temperature": 2.0, "weights": [1, 0, 0], "classes": 3}
    EnsembleTemperature.from_parameters(good)
    with pytest.raises(InputError, match=message):
        EnsembleTemperature.from_parameters(good | changed)


def test_only_terms_with_weight_become_nodes():
    pytest.importorskip("onnx_ir")
    from tests.calibration.graphs import build

    pure = EnsembleTemperature.from_parameters({"temperature": 2.0, "weights": [1, 0, 0], "classes": 7})
    kinds = [node.op_type for node in build(pure).graph]
    assert kinds == ["Clip", "Div", "LogSoftmax", "Add", "Identity"]
