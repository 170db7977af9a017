from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from c2i_fast.calibration import fit_report
from c2i_fast.calibration.error import accuracy, brier, ece_equal_width, nll, per_sample
from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.report import mean_change
from c2i_fast.calibration.split import split_samples
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError

KEYS = [
    "method",
    "parameters",
    "n_fit",
    "n_test",
    "before",
    "after",
    "argmax_preserving",
    "nll_change",
    "path",
    "notes",
]


def test_it_is_fit_on_one_part_and_judged_on_the_other(overconfident):
    logits, labels = overconfident()
    split = split_samples(labels, 0.3, 5)
    expected = Temperature().fit(logits[split.fit], labels[split.fit])
    summary = fit_report(logits, labels, fit_fraction=0.3, seed=5).to_dict()
    assert summary["parameters"] == expected.parameters()
    assert (summary["n_fit"], summary["n_test"]) == (120, 280)
    held, truth = logits[split.test], labels[split.test]
    for key, mapped in (("before", held.astype(np.float64)), ("after", expected.transform(held))):
        samples = per_sample(mapped, truth)
        assert summary[key] == {
            "nll": pytest.approx(nll(mapped, truth), abs=1e-14),
            "ece": pytest.approx(ece_equal_width(samples.confidence, samples.correct, 15), abs=1e-14),
            "brier": pytest.approx(brier(mapped, truth), abs=1e-14),
            "accuracy": accuracy(mapped, truth),
        }


def test_the_keys_are_those_promised(overconfident):
    report = fit_report(*overconfident())
    summary = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert list(summary) == KEYS
    assert list(summary["before"]) == list(summary["after"]) == ["nll", "ece", "brier", "accuracy"]
    assert list(summary["nll_change"]) == ["mean", "ci95"]
    assert (summary["method"], summary["argmax_preserving"], summary["path"]) == ("temperature", True, None)
    assert summary["notes"] == []


def test_the_path_is_filled_in_by_whoever_saves(overconfident):
    report = dataclasses.replace(fit_report(*overconfident()), path="cal.json")
    assert report.to_dict()["path"] == "cal.json"


def test_an_overconfident_network_gets_better(overconfident):
    report = fit_report(*overconfident(samples=4000)).to_dict()
    assert report["parameters"]["temperature"] == pytest.approx(2.5, rel=0.1)
    assert report["after"]["nll"] < report["before"]["nll"] - 0.1
    assert report["after"]["ece"] < report["before"]["ece"] / 3
    assert report["after"]["brier"] < report["before"]["brier"]
    assert report["after"]["accuracy"] == report["before"]["accuracy"]
    low, high = report["nll_change"]["ci95"]
    assert low < report["nll_change"]["mean"] < high < 0


def test_on_real_logits_held_out_nll_falls(oracles):
    data = np.load(oracles / "calibration_cifar.npz")
    logits = np.concatenate([data["logits_fit"], data["logits_test"]])
    report = fit_report(logits, np.concatenate([data["labels_fit"], data["labels_test"]]))
    assert report.notes == ()
    assert 2.4 < report.calibrator.parameters()["temperature"] < 2.8
    assert report.chosen.nll_change.ci95[1] < 0


def test_few_pictures_of_a_thousand_classes_are_shuffled_plainly_and_it_is_said(oracles):
    data = np.load(oracles / "calibration_imagenet.npz")
    report = fit_report(data["logits_fit"], data["labels_fit"])
    assert any("not stratified" in note for note in report.notes)
    assert (report.n_fit, report.n_test) == (175, 175)


def test_the_mean_change_is_the_difference_of_the_means(overconfident):
    summary = fit_report(*overconfident()).to_dict()
    assert summary["nll_change"]["mean"] == pytest.approx(summary["after"]["nll"] - summary["before"]["nll"], abs=1e-14)


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.7062047), (5, 2.7764451), (31, 2.0422725)])
def test_the_interval_is_students(count, quantile):
    differences = np.random.default_rng(count).normal(size=count)
    mean = math.fsum(differences) / count
    spread = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1))
    change = mean_change(differences)
    assert change.mean == pytest.approx(mean)
    half = quantile * spread / math.sqrt(count)
    assert change.ci95 == pytest.approx((mean - half, mean + half), rel=1e-7)


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [mean_change(rng.normal(0.3, 1.0, 12)).ci95 for _ in range(4000)]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_held_out_sample_has_no_interval():
    report = fit_report([[2.0, 0.0], [0.0, 1.0]], [0, 0])
    assert report.n_test == 1
    assert report.chosen.nll_change.ci95 is None
    assert any("no interval" in note for note in report.notes)


def test_a_fraction_of_one_fits_on_everything(overconfident):
    logits, labels = overconfident()
    summary = fit_report(logits, labels, fit_fraction=1).to_dict()
    assert list(summary) == KEYS
    assert (summary["n_fit"], summary["n_test"]) == (400, 0)
    assert summary["before"] is summary["after"] is summary["nll_change"] is None
    assert summary["parameters"] == Temperature().fit(logits, labels).parameters()
    assert any("nothing was held out" in note for note in summary["notes"])


def test_of_several_methods_the_lowest_held_out_nll_is_chosen(overconfident):
    report = fit_report(*overconfident(samples=2000), methods=("identity", "temperature"))
    summary = report.to_dict()
    assert summary["method"] == "temperature"
    assert [method["method"] for method in summary["methods"]] == ["identity", "temperature"]
    assert summary["methods"][1]["after"] == summary["after"]
    assert summary["methods"][0]["after"] == summary["before"]
    assert summary["methods"][0]["nll_change"] == {"mean": 0, "ci95": (0, 0)}
    assert any("chosen from 2 methods by the lowest held-out NLL" in note for note in summary["notes"])


def test_a_method_that_only_looks_good_where_it_was_fitted_is_not_chosen():
    # Separable where it is fitted, so T → 0.05; wrong once where it is judged, which then costs 20 times as much.
    # A class of one member is not stratified, so the same rows are held out whichever sample it is.
    logits, lone = np.tile([1.0, 0.0], (40, 1)), np.arange(40) == 0
    labels = np.zeros(40, int)
    labels[split_samples(lone.astype(int), 0.5, 0).test[0]] = 1
    report = fit_report(logits, labels, methods=("temperature", "identity"))
    temperature, identity = report.results
    assert temperature.calibrator.at_bound_ == "lower"
    assert temperature.fit_nll < identity.fit_nll
    assert report.chosen is identity


def test_with_nothing_held_out_the_lowest_fit_nll_is_chosen(overconfident):
    logits, labels = overconfident()
    report = fit_report(logits, labels, methods=("identity", "temperature"), fit_fraction=1)
    assert report.to_dict()["method"] == "temperature"
    assert [result.fit_nll for result in report.results] == pytest.approx(
        [nll(logits, labels), nll(Temperature().fit(logits, labels).transform(logits), labels)]
    )
    assert any("lowest NLL on the fit samples" in note for note in report.notes)


def test_a_method_named_twice_is_fitted_once(overconfident):
    report = fit_report(*overconfident(), methods=("temperature", "temperature"))
    assert len(report.results) == 1


def test_a_bound_is_said(overconfident):
    logits, _ = overconfident()
    report = fit_report(logits, logits.argmax(axis=1))
    assert report.to_dict()["parameters"] == {"temperature": 0.05, "at_bound": "lower"}
    assert "temperature stopped at its lower bound: the optimum lies there or beyond" in report.notes


def test_a_method_that_may_change_the_prediction_says_so(overconfident, monkeypatch):
    monkeypatch.setattr(Identity, "preserves_order", False)
    report = fit_report(*overconfident(), methods=("identity",))
    assert report.to_dict()["argmax_preserving"] is False
    assert any("identity may change the predicted class" in note for note in report.notes)


def test_the_same_seed_gives_the_same_report(overconfident):
    logits, labels = overconfident()
    assert fit_report(logits, labels, seed=3).to_dict() == fit_report(logits, labels, seed=3).to_dict()
    assert fit_report(logits, labels, seed=3).to_dict() != fit_report(logits, labels, seed=4).to_dict()


def test_held_out_samples_cannot_leak_into_the_fit(overconfident):
    logits, labels = overconfident()
    moved = logits.copy()
    moved[split_samples(labels, 0.5, 0).test] *= -3
    first, second = fit_report(logits, labels), fit_report(moved, labels)
    assert second.calibrator.parameters() == first.calibrator.parameters()
    assert second.chosen.after != first.chosen.after


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": [[np.nan, 0.0], [np.inf, 0.0], [1.0, 0.0]]}, "2 of 3 rows"),
        ({"labels": [[1, 0], [0, 1], [1, 0]]}, "one-hot"),
        ({"labels": [0, 1]}, "2 labels and 3 rows"),
        ({"methods": ()}, "at least one calibration method"),
        ({"methods": ("temprature",)}, "did you mean 'temperature'"),
        ({"methods": ("recalx", "temperature")}, "recalx is fitted and judged on masked images"),
        ({"fit_fraction": 0.0}, "fit fraction"),
    ],
)
def test_bad_input_is_refused(change, message):
    good = {"logits": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], "labels": [0, 1, 1]}
    arguments = good | change
    with pytest.raises(InputError, match=message):
        fit_report(arguments.pop("logits"), arguments.pop("labels"), **arguments)
