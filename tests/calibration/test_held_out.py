"""Measures and diagrams of the held-out part: the very samples the report did not fit on."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.error import per_sample
from c2i_fast.calibration.held_out import HeldOut, check_measures
from c2i_fast.calibration.measures import MEASURES
from c2i_fast.calibration.report import fit_report
from c2i_fast.errors import C2IError, UsageError


def data(samples=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(size=(samples, classes)) * 3
    logits[np.arange(samples), labels] += 2
    return logits.astype(np.float32), labels


def test_the_samples_are_those_the_report_holds_out():
    logits, labels = data()
    report = fit_report(logits, labels, fit_fraction=0.4, seed=3)
    part = HeldOut.of(logits, labels, 0.4, 3)
    assert len(part.labels) == report.n_test
    found = part.measures(["nll", "brier"], report.calibrator, seed=0)
    assert found["nll"]["before"]["value"] == pytest.approx(report.before.nll, rel=1e-12)
    assert found["nll"]["after"]["value"] == pytest.approx(report.chosen.after.nll, rel=1e-12)
    assert found["brier"]["after"]["value"] == pytest.approx(report.chosen.after.brier, rel=1e-12)
    assert found["nll"]["before"]["n"] == report.n_test


def test_all_is_whatever_is_defined_and_names_are_taken_once():
    logits, labels = data(120)
    calibrator = fit_report(logits, labels).calibrator
    part = HeldOut.of(logits, labels, 0.5, 0)
    assert set(part.measures(["all"], calibrator, seed=0)) == set(MEASURES)
    assert list(part.measures(["mce", "nll", "mce"], calibrator, seed=0)) == ["mce", "nll"]


def test_with_nothing_held_out_there_is_nothing_to_measure():
    with pytest.raises(UsageError, match="--fit-fraction below 1"):
        HeldOut.of(*data(), 1.0, 0)


def test_an_unknown_measure_is_named():
    check_measures(["all", "nll"])
    with pytest.raises(C2IError, match="magic"):
        check_measures(["magic"])


def test_two_diagrams_are_drawn_raw_and_calibrated(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    logits, labels = data()
    calibrator = fit_report(logits, labels).calibrator
    part = HeldOut.of(logits, labels, 0.5, 0)
    raw, calibrated = part.draw(tmp_path / "r.svg", calibrator, "temperature")
    assert (raw.name, calibrated.name) == ("r-raw.svg", "r.svg")
    for path, fitted in ((raw, None), (calibrated, calibrator)):
        found = per_sample(part.logits, part.labels, fitted)
        assert f"{len(found.correct):,} samples" in path.read_text(encoding="utf-8").replace("<!-- ", "").replace(
            " -->", ""
        )
    assert raw.read_bytes() != calibrated.read_bytes()
