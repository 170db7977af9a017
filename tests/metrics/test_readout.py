"""From logits to the number that is followed, in float64, by loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError
from c2i_fast.metrics.readout import READOUTS, check_readouts, probabilities, read, readable, readout_notes

examples = settings(deadline=None, derandomize=True, max_examples=80)
LOGITS = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 6)), elements=st.floats(-60, 60, width=32))
TEMPERATURE = Temperature.from_parameters({"temperature": 2.5})


def softmax_of(row, target: int) -> float:
    """exp(z_t) / Σ exp(z), shifted by the largest so that nothing overflows."""
    top = max(float(z) for z in row)
    return math.exp(float(row[target]) - top) / math.fsum(math.exp(float(z) - top) for z in row)


def sigmoid_of(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


@examples
@given(LOGITS, st.data())
def test_read_outs_are_their_definitions(logits, data):
    target = data.draw(st.integers(0, logits.shape[1] - 1))
    expected = {
        "raw": [softmax_of(row, target) for row in logits],
        "calibrated": [softmax_of([float(z) / 2.5 for z in row], target) for row in logits],
        "logit": [float(row[target]) for row in logits],
        "sigmoid": [sigmoid_of(float(row[target])) for row in logits],
    }
    assert set(expected) == set(READOUTS)
    for name, values in expected.items():
        found = read(name, logits, target, calibrator=TEMPERATURE)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, values, rtol=1e-12, atol=0)


@examples
@given(LOGITS, st.data())
def test_a_sigmoid_head_reads_each_class_by_itself(logits, data):
    target = data.draw(st.integers(0, logits.shape[1] - 1))
    raw = read("raw", logits, target, activation="sigmoid")
    calibrated = read("calibrated", logits, target, calibrator=TEMPERATURE, activation="sigmoid")
    np.testing.assert_allclose(raw, [sigmoid_of(float(row[target])) for row in logits], rtol=1e-12)
    np.testing.assert_allclose(calibrated, [sigmoid_of(float(row[target]) / 2.5) for row in logits], rtol=1e-12)


@pytest.mark.parametrize("logit", [1e4, -1e4, 3e38, -3e38])
@pytest.mark.filterwarnings("error")
def test_huge_logits_neither_overflow_nor_become_nan(logit):
    logits = np.array([[logit, 0, 0]], np.float32)
    for name in READOUTS:
        assert np.isfinite(read(name, logits, 0, calibrator=TEMPERATURE)).all()
    assert read("raw", logits, 0)[0] == (1.0 if logit > 0 else 0.0)


def test_small_probabilities_keep_their_digits():
    """float32 would have rounded 1 − p to 1 and p to a multiple of 6e-8."""
    logits = np.array([[0.0, 30.0]], np.float32)
    assert read("raw", logits, 0)[0] == pytest.approx(math.exp(-30) / (1 + math.exp(-30)), rel=1e-14)


def test_equal_logits_are_one_over_k():
    assert read("raw", np.zeros((2, 7)), 3).tolist() == pytest.approx([1 / 7, 1 / 7], abs=1e-16)


def test_the_calibrator_is_told_the_perturbed_fraction():
    class Fading:
        def transform(self, logits, perturbed_fraction=None):
            return logits * (1 - perturbed_fraction[:, None])

    found = read(
        "calibrated", np.array([[4.0, 0.0]] * 3), 0, calibrator=Fading(), perturbed_fraction=np.array([0, 0.5, 1])
    )
    np.testing.assert_allclose(found, [sigmoid_of(4), sigmoid_of(2), 0.5])


@examples
@given(LOGITS)
def test_probabilities_of_all_classes_are_the_read_outs_of_each(logits):
    for activation in ("softmax", "sigmoid"):
        for calibrator, name in ((None, "raw"), (TEMPERATURE, "calibrated")):
            found = probabilities(logits, calibrator, activation=activation)
            for target in range(logits.shape[1]):
                expected = read(name, logits, target, calibrator=calibrator, activation=activation)
                np.testing.assert_allclose(found[:, target], expected, rtol=1e-9, atol=1e-300)


# ------------------------------------------------------------------------------------------------ which ones


def test_by_default_raw_and_beside_it_calibrated_where_there_is_a_calibrator():
    assert check_readouts((), None) == ("raw",)
    assert check_readouts((), TEMPERATURE) == ("raw", "calibrated")


def test_read_outs_asked_for_are_made_once_in_their_order():
    assert check_readouts(("logit", "raw", "logit"), None) == ("logit", "raw")
    assert check_readouts(("calibrated",), TEMPERATURE) == ("calibrated",)


def test_calibrated_without_a_calibrator_and_unknown_names_are_errors():
    with pytest.raises(InputError, match="needs a calibrator: give --calibrator FILE"):
        check_readouts(("raw", "calibrated"), None)
    with pytest.raises(InputError, match="no read-out 'softmax'; known: raw, calibrated, logit, sigmoid"):
        check_readouts(("softmax",), None)


def test_a_device_does_not_read_by_the_level_of_perturbation():
    from c2i_fast.calibration.recalx import ReCalX

    two = {"levels": 2, "inverse_temperatures": [1.0, 0.5], "at_bound": [None] * 2, "samples": [9, 9]}
    recalx = ReCalX.from_parameters({**two, "baseline": "mean", "mask_law": None})
    assert not readable(("raw", "calibrated"), recalx)
    assert readable(("raw", "logit"), recalx)
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    found = read("calibrated", logits, 0, calibrator=recalx, perturbed_fraction=np.array([0.2, 0.8]))
    np.testing.assert_allclose(found, 1 / (1 + np.exp([-2.0, -1.0])))
    assert readout_notes(("raw", "calibrated"), recalx)
    assert not readout_notes(("calibrated",), recalx)
    assert not readout_notes(("raw", "calibrated"), TEMPERATURE)
