from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.calibration.error import (
    accuracy,
    brier,
    ece_equal_width,
    log_probabilities,
    nll,
    per_sample,
    reliability_bins,
)
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError

quick = settings(deadline=None, max_examples=60)


def slow_softmax(row):
    largest = max(row)
    weights = [math.exp(value - largest) for value in row]
    return [weight / math.fsum(weights) for weight in weights]


def slow_nll(logits, labels):
    return math.fsum(-math.log(slow_softmax(row)[y]) for row, y in zip(logits, labels, strict=True)) / len(labels)


def slow_brier(logits, labels):
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += math.fsum((p - (k == label)) ** 2 for k, p in enumerate(slow_softmax(row)))
    return total / len(labels)


def slow_ece(confidence, correct, bins, edges):
    """By the definition: every bin asks every sample whether it is one of its own."""
    limits = [float(edge) for edge in np.linspace(0, 1, bins + 1)]
    total = 0.0
    for b in range(bins):
        lo, hi = limits[b], limits[b + 1]
        inside = [
            i
            for i, c in enumerate(confidence)
            if (edges == "(lo,hi]" and (lo < c <= hi or (b == 0 and c == 0)))
            or (edges == "[lo,hi)" and (lo <= c < hi or (b == bins - 1 and c == 1)))
        ]
        if inside:
            mean_confidence = math.fsum(confidence[i] for i in inside) / len(inside)
            mean_correct = math.fsum(float(correct[i]) for i in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(mean_correct - mean_confidence)
    return total


@st.composite
def outcomes(draw):
    """Confidences, many of them exactly on an edge of 8 or 10 bins, and whether each was right."""
    size = draw(st.integers(1, 30))
    on_edge = st.one_of(st.sampled_from([k / 8 for k in range(9)]), st.sampled_from([k / 10 for k in range(11)]))
    confidence = draw(st.lists(st.one_of(on_edge, st.floats(0, 1)), min_size=size, max_size=size))
    return np.array(confidence), np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))


@st.composite
def problems(draw):
    samples, classes = draw(st.integers(1, 10)), draw(st.integers(2, 5))
    logits = draw(arrays(np.float64, (samples, classes), elements=st.floats(-30, 30)))
    return logits, draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))


@quick
@given(problems())
def test_nll_brier_and_accuracy_are_their_definitions(problem):
    logits, labels = problem
    assert nll(logits, labels) == pytest.approx(slow_nll(logits.tolist(), labels), abs=1e-12)
    assert brier(logits, labels) == pytest.approx(slow_brier(logits.tolist(), labels), abs=1e-12)
    right = [
        max(range(len(row)), key=row.__getitem__) == label for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert accuracy(logits, labels) == sum(right) / len(right)


@quick
@given(problems())
def test_ranges(problem):
    logits, labels = problem
    samples = per_sample(logits, labels)
    assert (samples.nll >= 0).all()
    assert ((samples.brier >= 0) & (samples.brier <= 2 + 1e-12)).all()
    assert ((samples.confidence >= 1 / logits.shape[1] - 1e-12) & (samples.confidence <= 1)).all()


def test_golden_vectors():
    assert ece_equal_width([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1], bins=10) == pytest.approx(0.325, abs=1e-12)
    calibrated = Temperature.from_parameters({"temperature": 2.0}).transform([[2.0, 0.0]])
    np.testing.assert_allclose(np.exp(log_probabilities(calibrated)), [[0.731059, 0.268941]], atol=1e-6)


def test_extremes_of_brier_and_nll():
    certain = [[800.0, 0.0]]
    assert brier(certain, [0]) == 0
    assert brier(certain, [1]) == 2
    assert nll(certain, [0]) == 0
    assert nll(certain, [1]) == 800


def test_equal_logits_know_nothing():
    assert nll(np.zeros((3, 10)), [0, 4, 9]) == pytest.approx(math.log(10), abs=1e-15)
    assert brier(np.zeros((3, 10)), [0, 4, 9]) == pytest.approx(0.9, abs=1e-15)
    assert accuracy(np.zeros((3, 10)), [0, 4, 9]) == pytest.approx(1 / 3)


def test_log_probabilities_of_probabilities_are_their_logarithm():
    with np.errstate(divide="ignore"):
        logp = np.log([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(log_probabilities(logp), logp, atol=1e-15)
    assert brier(logp, [1, 0]) == pytest.approx((0.25**2 + 0.25**2) / 2)


@pytest.mark.parametrize("row", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_rows_without_a_softmax_are_counted(row):
    with pytest.raises(InputError, match="1 of 3 rows"):
        nll([[1.0, 0.0], row, [0.0, 1.0]], [0, 0, 0])


@pytest.mark.parametrize("name", ["cifar", "imagenet"])
@pytest.mark.parametrize("calibrated", [False, True])
def test_measures_equal_those_of_other_packages(oracles, name, calibrated):
    data = np.load(oracles / f"calibration_{name}.npz")
    stored = json.loads((oracles / f"calibration_{name}.json").read_text())
    calibrator = Temperature.from_parameters({"temperature": stored["parameters"]["temperature_exact"]["T"]})
    expected = stored["metrics_on_test_split"]["temperature_exact" if calibrated else "uncalibrated"]
    samples = per_sample(data["logits_test"], data["labels_test"], calibrator if calibrated else None)
    assert samples.nll.mean() == pytest.approx(expected["nll_own"], abs=1e-12)
    assert samples.brier.mean() == pytest.approx(expected["brier_multiclass_own"], abs=1e-12)
    assert samples.correct.mean() == expected["accuracy"]
    for bins in (10, 15):
        low_open = ece_equal_width(samples.confidence, samples.correct, bins)
        high_open = ece_equal_width(samples.confidence, samples.correct, bins, "[lo,hi)")
        assert low_open == pytest.approx(expected[f"ece_own_equal_width_lo_open_B{bins}"], abs=1e-12)
        assert low_open == pytest.approx(expected[f"uncertainty_calibration_get_ece_B{bins}"], abs=1e-12)
        assert high_open == pytest.approx(expected[f"netcal_ECE_B{bins}"], abs=1e-12)


def edge_cases(oracles):
    return json.loads((oracles / "calibration_binning_edges.json").read_text())


def test_bin_edges_fall_where_the_convention_says(oracles):
    cases = edge_cases(oracles)
    assert cases
    for case in cases.values():
        p, y = np.array(case["p"]), np.array(case["y"])
        confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
        low_open = ece_equal_width(confidence, correct, case["bins"])
        high_open = ece_equal_width(confidence, correct, case["bins"], "[lo,hi)")
        # Tenths are not exact in binary: with linspace's edges 0.6 lies below the edge 0.6, with floor(10 c) on it.
        rounded = np.isin(confidence, [0.6, 0.7]).any() and case["bins"] == 10 and len(p) == 10
        peer = "relplot_binnedECE" if rounded else "own_lo_closed_hi_open_last_closed"
        assert low_open == pytest.approx(case["values"]["own_lo_open_hi_closed"], abs=1e-12)
        assert high_open == pytest.approx(case["values"][peer], abs=1e-12)


def test_edges_exact_in_binary_agree_with_the_packages_themselves(oracles):
    cases = edge_cases(oracles)
    case = cases["edge_opposite_sign_B8_K3"]
    p, y = np.array(case["p"]), np.array(case["y"])
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    assert ece_equal_width(confidence, correct, 8) == pytest.approx(case["values"]["gpleiss_ECELoss"], abs=1e-6)
    assert ece_equal_width(confidence, correct, 8, "[lo,hi)") == pytest.approx(case["values"]["netcal_ECE"], abs=1e-12)
    assert case["values"]["gpleiss_ECELoss"] != pytest.approx(case["values"]["netcal_ECE"], abs=1e-3)


@quick
@given(outcomes(), st.sampled_from([1, 2, 8, 10, 15]), st.sampled_from(["(lo,hi]", "[lo,hi)"]))
def test_ece_is_its_definition_and_lies_between_0_and_1(outcome, bins, edges):
    value = ece_equal_width(*outcome, bins, edges)
    assert 0 <= value <= 1
    assert value == pytest.approx(slow_ece(*outcome, bins, edges), abs=1e-12)


@quick
@given(outcomes(), st.randoms(use_true_random=False))
def test_ece_does_not_depend_on_the_order_of_samples(outcome, random):
    confidence, correct = outcome
    order = list(range(len(confidence)))
    random.shuffle(order)
    assert ece_equal_width(confidence[order], correct[order]) == pytest.approx(ece_equal_width(*outcome), abs=1e-12)


@quick
@given(outcomes())
def test_one_bin_is_the_gap_of_the_means(outcome):
    confidence, correct = outcome
    assert ece_equal_width(confidence, correct, 1) == pytest.approx(abs(confidence.mean() - correct.mean()), abs=1e-12)


def test_a_perfectly_calibrated_bin_has_no_error():
    assert ece_equal_width([0.75] * 4, [1, 1, 1, 0]) == pytest.approx(0, abs=1e-15)


@quick
@given(outcomes())
def test_bins_hold_every_sample_once(outcome):
    confidence, correct = outcome
    diagram = reliability_bins(confidence, correct, 10)
    filled = diagram.counts > 0
    assert diagram.counts.sum() == len(confidence)
    assert np.isnan(diagram.accuracy[~filled]).all()
    assert np.isnan(diagram.confidence[~filled]).all()
    assert (diagram.counts[filled] * diagram.confidence[filled]).sum() == pytest.approx(confidence.sum(), abs=1e-9)
    assert (diagram.counts[filled] * diagram.accuracy[filled]).sum() == pytest.approx(correct.sum(), abs=1e-9)
    assert (diagram.confidence[filled] >= diagram.edges[:-1][filled] - 1e-12).all()
    assert (diagram.confidence[filled] <= diagram.edges[1:][filled] + 1e-12).all()


def test_bins_by_hand():
    diagram = reliability_bins([0.0, 0.25, 0.5, 1.0], [True, False, True, False], bins=4)
    np.testing.assert_array_equal(diagram.edges, [0, 0.25, 0.5, 0.75, 1])
    assert diagram.counts.tolist() == [2, 1, 0, 1]
    np.testing.assert_array_equal(diagram.confidence, [0.125, 0.5, np.nan, 1.0])
    np.testing.assert_array_equal(diagram.accuracy, [0.5, 1.0, np.nan, 0.0])
    other = reliability_bins([0.0, 0.25, 0.5, 1.0], [True, False, True, False], bins=4, edges="[lo,hi)")
    assert other.counts.tolist() == [1, 1, 1, 1]


def test_the_diagram_is_read_only():
    with pytest.raises(ValueError, match="read-only"):
        reliability_bins([0.5], [1]).counts[0] = 3


@pytest.mark.parametrize(
    ("confidence", "correct", "options", "message"),
    [
        ([], [], {}, r"got \(0,\) and \(0,\)"),
        ([0.5, 0.6], [1], {}, r"got \(2,\) and \(1,\)"),
        ([[0.5]], [[1]], {}, r"got \(1, 1\)"),
        ([0.5, 1.5], [1, 0], {}, r"in \[0, 1\], got 0\.5\.\.1\.5"),
        ([0.5, np.nan], [1, 0], {}, r"in \[0, 1\]"),
        ([0.5, -0.1], [1, 0], {}, r"in \[0, 1\]"),
        ([0.5, 0.6], [1, 2], {}, "only 0 and 1"),
        ([0.5, 0.6], [1, 0.5], {}, "only 0 and 1"),
        ([0.5], [1], {"bins": 0}, "bins ≥ 1"),
        ([0.5], [1], {"edges": "[lo,hi]"}, "edges"),
    ],
)
def test_bad_outcomes_are_refused(confidence, correct, options, message):
    with pytest.raises(InputError, match=message):
        ece_equal_width(confidence, correct, **options)


class Flat:
    """A calibrator that ties everything; whether it may is what it declares."""

    method = "flat"

    def __init__(self, preserves_order):
        self.preserves_order = preserves_order

    def transform(self, logits, perturbed_fraction=None):
        return np.zeros(logits.shape)


def test_the_predicted_class_is_that_of_the_raw_logits_where_order_is_kept():
    logits, labels = np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([1, 0])
    assert per_sample(logits, labels, Flat(True)).correct.tolist() == [True, False]
    assert per_sample(logits, labels, Flat(False)).correct.tolist() == [False, True]


def test_blocks_do_not_show(overconfident, monkeypatch):
    logits, labels = overconfident()
    whole = per_sample(logits, labels)
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 7 * logits.shape[1])
    parts = per_sample(logits, labels)
    for name in ("nll", "brier", "confidence", "correct"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
