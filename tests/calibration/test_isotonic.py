"""Isotonic calibration: tallies against plain pooling, scikit-learn's reading of it, others' numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.isotonic import Isotonic
from c2i_fast.calibration.isotonic_ovr import IsotonicOVR
from c2i_fast.calibration.monotone import MonotoneMap, Tally
from c2i_fast.errors import InputError


def solve(p, y, most=10**6):
    tally = Tally(p[y == 1])
    for start in range(0, len(p), 7):  # in parts, as large data come
        tally.add(p[start : start + 7])
    return tally.solve(most)


@st.composite
def outcomes(draw):
    count = draw(st.integers(1, 60))
    p = draw(arrays(np.float64, count, elements=st.integers(0, 40).map(lambda n: n / 40)))
    return p, draw(arrays(np.int64, count, elements=st.integers(0, 1)))


@settings(deadline=None, max_examples=200)
@given(outcomes())
def test_it_is_scikit_learns_isotonic_regression(outcome):
    from sklearn.isotonic import IsotonicRegression

    p, y = outcome
    grid = np.linspace(0, 1, 201)
    expected = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(grid)
    np.testing.assert_allclose(solve(p, y)(grid), expected, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(outcomes(), st.integers(1, 4))
def test_fewer_levels_still_rise_and_keep_the_mean(outcome, most):
    p, y = outcome
    found = solve(p, y, most)
    assert len(found.values) <= most
    assert (np.diff(found.values) > 0).all()
    assert found(p).mean() == pytest.approx(y.mean(), abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(outcomes(), arrays(np.float64, 30, elements=st.floats(0, 1)))
def test_the_map_never_decreases(outcome, points):
    found = solve(*outcome)
    assert (np.diff(found(np.sort(points))) >= 0).all()


def test_the_least_costly_neighbours_are_pooled_first():
    p = np.arange(8) / 8
    found = solve(p, np.array([0, 0, 0, 1, 0, 1, 1, 1]), 2)  # levels 0, 1/2, 1 of 3, 2 and 3 samples
    np.testing.assert_allclose(found.values, [0.2, 1])
    np.testing.assert_allclose([found.left, found.right], [[4 / 8], [5 / 8]])


@pytest.mark.parametrize("cases", ["cifar"])
def test_one_vs_rest_equals_scikit_learn_on_real_logits(oracles, cases):
    data = np.load(oracles / f"calibration_{cases}.npz")
    fitted = IsotonicOVR().fit(data["logits_fit"], data["labels_fit"])
    found = np.exp(log_probabilities(fitted.transform(data["logits_test"])))
    np.testing.assert_allclose(found, data["prob_isotonic_sklearn_ovr"], atol=1e-7)


def test_shared_equals_mix_n_match_renormalised(oracles):
    data = np.load(oracles / "calibration_cifar.npz")
    fitted = Isotonic().fit(data["logits_fit"], data["labels_fit"])
    theirs = data["prob_irm_mixnmatch_unnormalised"]
    found = np.exp(log_probabilities(fitted.transform(data["logits_test"])))
    np.testing.assert_allclose(found, theirs / theirs.sum(axis=1, keepdims=True), atol=5e-6)


def test_shared_is_one_regression_of_all_pairs(overconfident):
    from sklearn.isotonic import IsotonicRegression

    logits, labels = overconfident()
    p = np.exp(log_probabilities(logits))
    expected = IsotonicRegression(out_of_bounds="clip").fit(p.ravel(), np.eye(5)[labels].ravel()).predict(p.ravel())
    np.testing.assert_allclose(Isotonic().fit(logits, labels).map_(p).ravel(), expected, atol=1e-12)


def test_blocks_of_rows_and_columns_change_nothing(overconfident, monkeypatch):
    logits, labels = overconfident(samples=200, classes=5)
    whole = [kind().fit(logits, labels).parameters() for kind in (Isotonic, IsotonicOVR)]
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 35)
    monkeypatch.setattr("c2i_fast.calibration.isotonic_ovr.COLUMNS", 2)
    assert [kind().fit(logits, labels).parameters() for kind in (Isotonic, IsotonicOVR)] == whole


def test_a_row_that_every_map_sends_to_zero_becomes_uniform():
    zero = {"left": [0.98], "right": [0.99], "values": [0, 1]}
    calibrator = IsotonicOVR.from_parameters({"maps": [zero] * 4})
    np.testing.assert_allclose(np.exp(log_probabilities(calibrator.transform([[1.0, 0, 0, -3]]))), 0.25)


def test_a_class_that_never_occurs_is_mapped_to_nothing(overconfident):
    logits, labels = overconfident(classes=3)
    fitted = IsotonicOVR().fit(logits, np.where(labels == 2, 0, labels))
    assert fitted.maps_[2].values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "map with left"),
        ({"left": [], "right": [], "values": []}, "values"),
        ({"left": [0.5], "right": [0.5], "values": [0, 1]}, "positive width"),
        ({"left": [0.5], "right": [0.4], "values": [0, 1]}, "positive width"),
        ({"left": [0.5], "right": [0.6], "values": [1, 0]}, "never decrease"),
        ({"left": [0.1, 0.2], "right": [0.3, 0.4], "values": [0, 0.5, 1]}, "in order"),
        ({"left": [0.5], "right": [1.5], "values": [0, 1]}, "within 0..1"),
        ({"left": [0.5], "right": [0.6], "values": [0, 0.5, 1]}, "values"),
        ({"left": ["0"], "right": [0.6], "values": [0, 1]}, "left"),
    ],
)
def test_what_is_no_map_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        MonotoneMap.from_json(content)
    with pytest.raises(InputError):
        Isotonic.from_parameters({"map": content})


@pytest.mark.parametrize("maps", [{}, [], "maps", [{"left": [], "right": [], "values": [0.5]}]])
def test_what_is_no_list_of_maps_is_refused(maps):
    with pytest.raises(InputError, match="list of at least 2"):
        IsotonicOVR.from_parameters({"maps": maps})
