"""Histogram binning: the definition by loops, others' numbers, edges, empty bins."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.histogram_ovr import HistogramOVR, _bin
from c2i_fast.errors import InputError


def slow_values(logits, labels, bins):
    p = np.exp(log_probabilities(logits))
    values = np.empty((p.shape[1], bins))
    for k in range(p.shape[1]):
        for b in range(bins):
            inside = (p[:, k] > b / bins) & (p[:, k] <= (b + 1) / bins)
            values[k, b] = (labels[inside] == k).mean() if inside.any() else (b + 0.5) / bins
    return values


@pytest.mark.parametrize("bins", [2, 10, 15])
def test_it_is_its_definition(overconfident, bins):
    logits, labels = overconfident()
    np.testing.assert_allclose(HistogramOVR(bins).fit(logits, labels).values_, slow_values(logits, labels, bins))


@pytest.mark.parametrize("bins", [10, 15])
def test_it_equals_others_on_real_logits(oracles, bins):
    data = np.load(oracles / "calibration_cifar.npz")
    fitted = HistogramOVR(bins).fit(data["logits_fit"], data["labels_fit"])
    np.testing.assert_allclose(fitted.values_, data[f"histogram_own_B{bins}_bin_values"], atol=1e-12)
    found = np.exp(log_probabilities(fitted.transform(data["logits_test"])))
    np.testing.assert_allclose(found, data[f"prob_histogram_netcal_B{bins}"], atol=1e-7)


def test_bins_are_open_below_and_closed_above():
    assert _bin(np.array([0, 1e-300, 0.25, 0.2500001, 0.5, 1]), 4).tolist() == [0, 0, 0, 1, 1, 3]


def test_blocks_change_nothing(overconfident, monkeypatch):
    logits, labels = overconfident()
    whole = HistogramOVR().fit(logits, labels).values_
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 35)
    np.testing.assert_array_equal(HistogramOVR().fit(logits, labels).values_, whole)


def test_a_row_of_zeros_becomes_uniform():
    calibrator = HistogramOVR.from_parameters({"values": [[0, 1]] * 3})
    np.testing.assert_allclose(np.exp(log_probabilities(calibrator.transform([[0.0, 0, 0]]))), 1 / 3)


@pytest.mark.parametrize("bins", [1, 1001])
def test_impossible_bins_are_refused(bins):
    with pytest.raises(InputError, match="2 to 1000 bins"):
        HistogramOVR(bins).fit([[1.0, 0.0]], [0])
    with pytest.raises(InputError, match="2 to 1000 bins"):
        HistogramOVR.from_parameters({"values": [[0.5] * bins] * 2})


@pytest.mark.parametrize("values", [[[0, 1], [0]], [[0, 2], [0, 1]], [[0, -1], [0, 1]], [0, 1], [[0, 1]]])
def test_impossible_values_are_refused(values):
    with pytest.raises(InputError, match="values"):
        HistogramOVR.from_parameters({"values": values})
