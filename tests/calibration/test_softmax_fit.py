"""Vector, matrix and Dirichlet scaling: the optimum by its gradient, by others' optima, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.dirichlet import DirichletL2, DirichletODIR
from c2i_fast.calibration.matrix import Matrix
from c2i_fast.calibration.softmax_fit import Objective
from c2i_fast.calibration.vector import Vector, _Scores
from c2i_fast.errors import InputError


def softmax(scores):
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def residual(scores, labels):
    """p − y, the gradient of the NLL by the scores."""
    p = softmax(scores)
    p[np.arange(len(p)), labels] -= 1
    return p / len(p)


def affine_gradient(features, labels, calibrator, weight_factors, bias_factors):
    """The gradient of mean NLL + Σ c·θ² by W and b, from the definition."""
    left = residual(features @ calibrator.weights_.T + calibrator.bias_, labels)
    weights = left.T @ features + 2 * weight_factors * calibrator.weights_
    return weights, left.sum(axis=0) + 2 * bias_factors * calibrator.bias_


def log_softmax(logits):
    return np.log(softmax(logits.astype(np.float64)))


@pytest.fixture
def cifar(oracles):
    return np.load(oracles / "calibration_cifar.npz")


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6))
def test_the_gradient_of_vector_scaling_is_zero(seed, classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(2, 3, (40 * classes, classes)).astype(np.float32)
    labels = (logits / 2.5 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    fitted = Vector().fit(logits, labels)
    left = residual(logits * fitted.weights_ + fitted.bias_, labels)
    assert fitted.at_bound_ is None
    assert np.abs(left.sum(axis=0)).max() < 1e-10
    assert np.abs((left * logits).sum(axis=0)).max() < 1e-10


def test_vector_scaling_of_equal_weights_is_temperature_and_says_the_same():
    logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
    difference = Vector().fit(logits, labels).transform([[2.0, 0.0]]) @ [1, -1]
    assert difference == pytest.approx(np.log(3), abs=1e-12)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_gradients_of_matrix_and_dirichlet_scaling_are_zero(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (90, 3)).astype(np.float32)
    labels = (logits / 2.5 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    off = (1 - np.eye(3)) / 6
    for calibrator, features in ((Matrix(0.03, 0.02), logits), (DirichletODIR(0.03, 0.02), log_softmax(logits))):
        calibrator.fit(logits, labels)
        for part in affine_gradient(features, labels, calibrator, 0.03 * off, 0.02 / 3):
            assert np.abs(part).max() < 1e-10
    calibrator = DirichletL2(0.02).fit(logits, labels)
    weights, bias = affine_gradient(log_softmax(logits), labels, calibrator, 0.02, 0.02)
    assert max(np.abs(weights[:-1]).max(), np.abs(bias[:-1]).max()) < 1e-10
    assert (calibrator.weights_[-1] == 0).all()
    assert calibrator.bias_[-1] == 0


def test_gradient_and_hessian_are_those_of_differences():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 3)), rng.integers(0, 3, 20)
    objective = Objective(_Scores(logits, 0.5), labels, 3, np.full((2, 3), 0.1))
    theta, direction, step = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), 1e-5
    (low, low_gradient), (high, high_gradient) = (
        objective.value_and_gradient(theta + sign * step * direction) for sign in (-1, 1)
    )
    slope = (objective.value_and_gradient(theta)[1] * direction).sum()
    assert (high - low) / (2 * step) == pytest.approx(slope, rel=1e-8)
    change = (high_gradient - low_gradient) / (2 * step)
    np.testing.assert_allclose(objective.hessian_product(theta, direction), change, rtol=1e-6)


def test_vector_scaling_equals_an_independent_optimum(cifar):
    fitted = Vector().fit(cifar["logits_fit"], cifar["labels_fit"])
    np.testing.assert_allclose(fitted.weights_, cifar["vector_exact_w"], atol=1e-9)
    np.testing.assert_allclose(fitted.bias_, cifar["vector_exact_b_sum0"], atol=1e-9)
    np.testing.assert_allclose(softmax(fitted.transform(cifar["logits_test"])), cifar["prob_vector_exact"], atol=1e-9)


@pytest.mark.parametrize(
    ("calibrator", "name"),
    [
        (Matrix(), "matrix_odir_exact_lam0.01_mu0.01"),
        (Matrix(0.1, 0.001), "matrix_odir_exact_lam0.1_mu0.001"),
        (DirichletODIR(), "dirichlet_odir_exact_lam0.01_mu0.01"),
        (DirichletODIR(0.1, 0.001), "dirichlet_odir_exact_lam0.1_mu0.001"),
        (DirichletL2(), "dirichlet_dirichletcal_lam0.01_muNone_own_solver"),
        (DirichletL2(), "dirichlet_dirichletcal_lam0.01_muNone"),
    ],
)
def test_matrix_and_dirichlet_scaling_equal_independent_optima(cifar, calibrator, name):
    calibrator.fit(cifar["logits_fit"], cifar["labels_fit"])
    found = softmax(calibrator.transform(cifar["logits_test"]))
    np.testing.assert_allclose(found, cifar[f"prob_{name}"], atol=1e-9)


def test_the_weights_of_dirichlet_l2_are_those_of_dirichletcal(cifar):
    fitted = DirichletL2().fit(cifar["logits_fit"], cifar["labels_fit"])
    theirs = cifar["dirichlet_dirichletcal_lam0.01_muNone_own_solver_weights"]
    np.testing.assert_allclose(np.column_stack([fitted.weights_, fitted.bias_]), theirs, atol=1e-8)


def test_a_class_that_never_occurs_stays_bounded(overconfident):
    logits, labels = overconfident(classes=3)
    fitted = Vector().fit(logits, np.where(labels == 2, 0, labels))
    assert np.abs(fitted.weights_).max() <= 20
    assert softmax(fitted.transform(logits))[:, 2].max() < 1e-3


def test_separable_data_end_at_a_bound_and_say_so():
    logits = np.array([[0.1, 0.0], [0.0, 0.1]] * 5)
    fitted = Vector().fit(logits, logits.argmax(axis=1))
    assert fitted.at_bound_ == "weight"
    np.testing.assert_allclose(np.abs(fitted.weights_).max(), 20)


@pytest.mark.parametrize("kind", [Matrix, DirichletL2, DirichletODIR])
def test_a_thousand_classes_are_refused_in_one_line_that_says_what_to_use(kind):
    with pytest.raises(InputError, match="at most 200 classes, got 1000; use temperature, vector or ets") as refused:
        kind().fit(np.zeros((3, 1000)), [0, 1, 2])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("calibrator", [Matrix(-1.0), Matrix(bias_penalty=np.nan), DirichletL2(np.inf)])
def test_impossible_penalties_are_refused(calibrator):
    with pytest.raises(InputError, match="penalties"):
        calibrator.fit([[1.0, 0.0], [0.0, 1.0]], [0, 1])


def test_a_penalty_matters(overconfident):
    logits, labels = overconfident()
    off = ~np.eye(5, dtype=bool)
    sizes = [np.abs(Matrix(each).fit(logits, labels).weights_[off]).sum() for each in (1e-3, 1.0, 100.0)]
    assert sizes[0] > sizes[1] > sizes[2]
    bias = [np.abs(Matrix(bias_penalty=each).fit(logits, labels).bias_).sum() for each in (1e-3, 1.0)]
    assert bias[0] > bias[1]


def test_a_fit_out_of_budget_says_so(overconfident, monkeypatch):
    monkeypatch.setattr("c2i_fast.calibration.softmax_fit.BUDGET", 400 * 5 * 2)
    assert Vector().fit(*overconfident()).at_bound_ == "iteration"
    assert DirichletODIR().fit(*overconfident()).at_bound_ == "iteration"
