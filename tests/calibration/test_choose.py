"""`auto`: cross-validated on the fit part, its winner and its margin stated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from c2i_fast.calibration import CALIBRATORS, fit_report
from c2i_fast.calibration.checks import data_notes
from c2i_fast.calibration.choose import choose
from c2i_fast.calibration.error import nll, per_sample
from c2i_fast.calibration.split import split_samples
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError


@pytest.mark.slow
def test_every_sample_is_judged_by_what_had_not_seen_it(overconfident):
    from sklearn.model_selection import StratifiedKFold

    logits, labels = overconfident()
    choice = choose(logits, labels, seed=3)
    expected = np.empty(len(labels))
    for fit, held in StratifiedKFold(5, shuffle=True, random_state=3).split(logits, labels):
        fitted = Temperature().fit(logits[fit], labels[fit])
        expected[held] = per_sample(logits[held], labels[held], fitted).nll
    np.testing.assert_allclose(choice.losses["temperature"], expected, rtol=1e-12)
    assert choice.losses["identity"].mean() == pytest.approx(nll(logits, labels), rel=1e-12)


def test_all_for_softmax_heads_are_tried_and_ranked(overconfident):
    choice = choose(*overconfident(), seed=0)
    known = {name: CALIBRATORS[name] for name in CALIBRATORS}
    tried = {n for n, kind in known.items() if "softmax" in kind.activations and not kind.needs_perturbed_fraction}
    assert set(choice.names) == tried
    assert "recalx" not in tried
    means = [choice.losses[name].mean() for name in choice.names]
    assert means == sorted(means)
    assert not choice.refused
    assert choice.folds == 5


def test_what_cannot_be_fitted_is_left_out_and_said(monkeypatch, overconfident):
    monkeypatch.setattr("c2i_fast.calibration.affine.MAX_CLASSES", 4)
    report = fit_report(*overconfident(), methods=["auto"])
    assert {result.calibrator.method for result in report.results}.isdisjoint({"matrix", "dirichlet-l2"})
    assert any(note.startswith("auto left out matrix: matrix learns 5² weights") for note in report.notes)


@pytest.mark.slow
def test_the_report_names_the_winner_and_its_margin(overconfident):
    logits, labels = overconfident(samples=1000)
    report = fit_report(logits, labels, methods=["auto"], seed=2)
    split = split_samples(labels, 0.5, 2)
    choice = choose(logits[split.fit], labels[split.fit], 2)
    best, second = choice.names[:2]
    margin = choice.losses[second].mean() - choice.losses[best].mean()
    assert report.chosen.calibrator.method == best
    assert any(
        f"auto chose {best} by 5-fold" in note and f"{margin:.4f} below {second}" in note for note in report.notes
    )
    changing = [note for note in report.notes if "may change the predicted class" in note]
    assert len(changing) == (not report.calibrator.preserves_order)
    summary = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert summary["method"] == best
    assert [each["method"] for each in summary["methods"]] == list(choice.names)
    assert summary["methods"][0]["cross_validated_nll"] == pytest.approx(choice.losses[best].mean(), rel=1e-12)


@pytest.mark.slow
def test_held_out_samples_have_no_part_in_the_choice(overconfident):
    logits, labels = overconfident(samples=600)
    split = split_samples(labels, 0.5, 0)
    spoilt = logits.copy()
    spoilt[split.test] = spoilt[split.test[::-1]]
    chosen = [fit_report(each, labels, methods=["auto"]).to_dict() for each in (logits, spoilt)]
    assert chosen[0]["method"] == chosen[1]["method"]
    assert chosen[0]["parameters"] == chosen[1]["parameters"]


def test_auto_stands_alone_and_needs_two_samples():
    with pytest.raises(InputError, match="give it alone, not with temperature"):
        fit_report([[1.0, 0.0]] * 4, [0, 1, 0, 1], methods=["auto", "temperature"])
    with pytest.raises(InputError, match="two samples"):
        fit_report([[1.0, 0.0]], [0], methods=["auto"], fit_fraction=1)


def test_a_calibrator_of_sigmoid_heads_is_refused_before_anything_is_read():
    with pytest.raises(InputError, match="platt is for sigmoid heads"):
        fit_report([[1.0, 0.0]] * 4, [0, 1, 0, 1], methods=["platt"])


def test_several_methods_keep_their_keys_and_say_who_may_change_the_class(overconfident):
    summary = fit_report(*overconfident(), methods=["temperature", "vector", "isotonic"]).to_dict()
    assert [each["method"] for each in summary["methods"]] == ["temperature", "vector", "isotonic"]
    assert [each["argmax_preserving"] for each in summary["methods"]] == [True, False, True]
    assert "vector may change the predicted class, and with it what is explained" in summary["notes"]
    assert not any(note.startswith(("isotonic may", "temperature may")) for note in summary["notes"])


@pytest.mark.parametrize(
    ("logits", "labels", "said"),
    [
        ([[2.0, 0.0, 1.0]] * 2, [0, 1], ["1 of 3 classes never occur", "fewer samples to fit on (2) than classes (3)"]),
        ([[2.0, 0.0]] * 3, [1, 1, 1], ["only class 1 occurs"]),
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], ["look like probabilities"]),
        ([[9.0, 0.1], [0.2, 0.8]], [0, 1], []),
    ],
)
def test_unusual_data_are_said(logits, labels, said):
    notes = data_notes(np.array(logits), np.array(labels))
    assert len(notes) == len(said)
    assert all(part in note for part, note in zip(said, notes, strict=True))
