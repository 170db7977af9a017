"""Calibrators and measures of sigmoid heads against loops: optimum, measures, split, report, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.choose import choose
from c2i_fast.calibration.file import load_calibrator, save_calibrator
from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.interface import CALIBRATORS, new_calibrator, serving
from c2i_fast.calibration.label_error import label_measures, label_outcomes
from c2i_fast.calibration.label_held_out import REFUSED, LabelHeldOut, check_label_measures
from c2i_fast.calibration.label_report import fit_label_report
from c2i_fast.calibration.label_split import split_labels, stratified_parts
from c2i_fast.calibration.logits_file import load_logits
from c2i_fast.calibration.measures import MEASURES
from c2i_fast.calibration.platt import Platt
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError, UsageError


def data(samples=80, classes=3, seed=0, scale=3.0):
    """Logits that are `scale` times too sure of labels drawn from their own sigmoid."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 1.5, (samples, classes))
    return scale * true, (true + rng.logistic(size=true.shape) > 0).astype(np.int64)


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def loops(logits, labels):
    """Every measure, one number at a time."""
    samples, classes = logits.shape
    nll = brier = right = exact = 0.0
    eces = []
    for k in range(classes):
        bins = {}
        for n in range(samples):
            p, y = sigmoid(float(logits[n, k])), int(labels[n, k])
            nll -= math.log(p) if y else math.log(1 - p)
            brier += (p - y) ** 2
            right += (p >= 0.5) == y
            bins.setdefault(max(math.ceil(p * 15), 1), []).append((p, y))
        eces.append(sum(abs(sum(p - y for p, y in own)) for own in bins.values()) / samples)
    for n in range(samples):
        exact += all((sigmoid(float(logits[n, k])) >= 0.5) == labels[n, k] for k in range(classes))
    total = samples * classes
    return {
        "nll": nll / total,
        "brier": brier / total,
        "accuracy": right / total,
        "ece": sum(eces) / classes,
        "ece_worst": max(eces),
        "ece_worst_label": eces.index(max(eces)),
        "exact_match": exact / samples,
    }


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 40), classes=st.sampled_from([1, 3]), scale=st.floats(0.3, 9))
def test_the_temperature_is_where_the_derivative_is_zero(seed, count, classes, scale):
    logits, labels = data(count, classes, seed, scale)
    fitted = Temperature(activation="sigmoid").fit(logits, labels)
    beta, slope = 1 / fitted.temperature_, 0.0
    for z, y in zip(logits.ravel().tolist(), labels.ravel().tolist(), strict=True):
        slope += z * (sigmoid(beta * z) - y) / logits.size
    if fitted.at_bound_ is None:
        assert abs(slope) < 1e-9 * (1 + np.abs(logits).max())
    else:
        assert slope * (1 if fitted.at_bound_ == "upper" else -1) > -1e-9


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 40))
def test_platt_of_one_label_is_platt_of_it_among_others_and_its_gradient_is_zero(seed, count):
    logits, labels = data(count, 3, seed)
    together = Platt().fit(logits, labels)
    for k in range(3):
        alone = Platt().fit(logits[:, [k]], labels[:, [k]])
        np.testing.assert_allclose(alone.slopes_, together.slopes_[[k]], rtol=1e-9)
        positive, by_slope, by_intercept = int(labels[:, k].sum()), 0.0, 0.0
        for z, y in zip(logits[:, k].tolist(), labels[:, k].tolist(), strict=True):
            target = (positive + 1) / (positive + 2) if y else 1 / (count - positive + 2)
            left = sigmoid(float(alone.slopes_[0]) * z + float(alone.intercepts_[0])) - target
            by_slope, by_intercept = by_slope + left * z / count, by_intercept + left / count
        assert max(abs(by_slope), abs(by_intercept)) < 1e-9


def test_temperature_recovers_the_scale_of_one_label_and_of_three():
    for classes in (1, 3):
        fitted = Temperature(activation="sigmoid").fit(*data(20_000, classes))
        assert fitted.temperature_ == pytest.approx(3, rel=0.05)


def test_degenerate_labels_stay_bounded_and_are_told():
    logits, labels = data(40)
    labels[:, 0], labels[:, 1] = 0, 1
    report = fit_label_report(logits, labels, methods=["platt"])
    assert any("label(s) 0 never apply" in note for note in report.notes)
    assert any("label(s) 1 always apply" in note for note in report.notes)
    p = label_outcomes(logits, labels, report.calibrator).probability
    assert ((p > 0) & (p < 1)).all()
    separable = Temperature(activation="sigmoid").fit([[2.0], [-1.0]], [[1], [0]])
    assert (separable.temperature_, separable.at_bound_) == (0.05, "lower")
    wrong = Temperature(activation="sigmoid").fit([[2.0], [-1.0]], [[0], [1]])
    assert (wrong.temperature_, wrong.at_bound_) == (20, "upper")
    assert Temperature(activation="sigmoid").fit([[0.0], [0.0]], [[0], [1]]).temperature_ == 1


@pytest.mark.parametrize("classes", [1, 3])
def test_the_measures_are_those_of_the_definition(classes):
    logits, labels = data(50, classes)
    found = label_measures(label_outcomes(logits, labels)).to_dict()
    assert found == pytest.approx(loops(logits, labels), rel=1e-12)
    fitted = Platt().fit(logits, labels)
    after = label_measures(label_outcomes(logits, labels, fitted)).to_dict()
    assert after == pytest.approx(loops(fitted.transform(logits), labels), rel=1e-9)


def test_extreme_logits_have_finite_measures():
    found = label_outcomes([[1000.0, -1000.0]], [[1, 1]])
    np.testing.assert_array_equal(found.probability, [[1, 0]])
    np.testing.assert_array_equal(found.nll, [[0, 1000]])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), samples=st.integers(2, 60), fraction=st.floats(0.05, 0.95))
def test_a_split_keeps_sizes_and_uses_every_sample_once(seed, samples, fraction):
    applies = np.random.default_rng(seed).random((samples, 4)) < 0.3
    split = split_labels(applies, fraction, seed)
    assert len(split.fit) == min(max(round(fraction * samples), 1), samples - 1)
    assert sorted([*split.fit, *split.test]) == list(range(samples))
    again = split_labels(applies, fraction, seed)
    np.testing.assert_array_equal(split.fit, again.fit)


def test_rare_labels_are_dealt_out_in_proportion():
    rng = np.random.default_rng(3)
    applies = rng.random((400, 5)) < [0.5, 0.2, 0.05, 0.02, 0.0]
    fit, test = stratified_parts(applies, [200, 200], seed=0)
    difference = np.abs(applies[fit].sum(axis=0) - applies[test].sum(axis=0))
    assert difference[1:].max() <= 2
    assert difference[0] <= 12
    assert not np.array_equal(fit, stratified_parts(applies, [200, 200], seed=1)[0])


def test_a_label_of_one_sample_is_told_and_one_output_is_stratified():
    applies = np.zeros((10, 2), bool)
    applies[0, 1] = applies[:4, 0] = True
    assert "label(s) 1 apply to one sample" in (split_labels(applies, 0.5, 0).note or "")
    fit = split_labels(applies[:, :1], 0.5, 0).fit
    assert applies[fit, 0].sum() == 2
    assert len(split_labels(applies, 1, 0).test) == 0


@pytest.mark.parametrize("classes", [1, 3])
def test_a_report_judges_on_what_was_not_fitted(classes):
    logits, labels = data(120, classes)
    report = fit_label_report(logits, labels, methods=["temperature", "platt", "identity"], seed=4)
    split = split_labels(labels == 1, 0.5, 4)
    fitted = Platt().fit(logits[split.fit], labels[split.fit])
    platt = next(result for result in report.results if result.calibrator.method == "platt")
    expected = loops(fitted.transform(logits[split.test]), labels[split.test])
    assert platt.after.to_dict() == pytest.approx(expected, rel=1e-9)
    content = report.to_dict()
    assert content["before"] == pytest.approx(loops(logits[split.test], labels[split.test]), rel=1e-9)
    assert set(content["before"]) >= {"nll", "ece", "brier", "accuracy"}
    assert (content["n_fit"], content["n_test"]) == (60, 60)
    identity = report.results[2]
    assert identity.nll_change.mean == 0
    assert platt.nll_change.mean == pytest.approx(expected["nll"] - content["before"]["nll"])
    assert report.chosen.after.nll == min(result.after.nll for result in report.results)


def test_auto_tries_exactly_those_that_serve_sigmoid_heads():
    logits, labels = data(100)
    assert serving("sigmoid") == ("temperature", "identity", "platt")
    choice = choose(logits, labels == 1, 0, "sigmoid")
    assert set(choice.names) == set(serving("sigmoid"))
    assert fit_label_report(logits, labels, methods=["auto"]).results[0].cross_validated_nll is not None
    held_out = stratified_parts(labels == 1, [20] * 5, 0)
    losses = np.empty(100)
    for part in held_out:
        rest = np.setdiff1d(np.arange(100), part)
        z = Temperature(activation="sigmoid").fit(logits[rest], labels[rest]).transform(logits[part])
        losses[part] = [loops(z[[n]], labels[part][[n]])["nll"] for n in range(len(part))]
    np.testing.assert_allclose(choice.losses["temperature"], losses, rtol=1e-9)


def test_methods_for_the_other_head_are_refused():
    logits, labels = data()
    for name in set(CALIBRATORS) - set(serving("sigmoid")):
        with pytest.raises(InputError, match=f"{name} is for softmax heads, and this one is a sigmoid"):
            fit_label_report(logits, labels, methods=[name])
        with pytest.raises(InputError, match="is for softmax heads"):
            new_calibrator(name, "sigmoid")
    for each in (Temperature(activation="sigmoid"), Identity(activation="sigmoid"), Platt()):
        with pytest.raises(InputError, match="one class a sample is for softmax heads"):
            each.fit(logits, labels[:, 0])


def test_measures_are_means_over_labels_with_the_worst_named():
    logits, labels = data(60)
    part = LabelHeldOut.of(logits, labels, 0.5, 0)
    found = part.measures(["nll", "mce"], Identity(), 0)
    each = [loops(part.logits[:, [k]], part.applies[:, [k]].astype(int))["nll"] for k in range(3)]
    assert found["nll"]["before"]["value"] == pytest.approx(np.mean(each))
    assert found["nll"]["before"]["worst_label"] == int(np.argmax(each))
    assert found["nll"]["before"]["ci95"] is not None
    assert found["mce"]["before"]["ci95"] is None
    assert found["mce"]["before"] == found["mce"]["after"]
    one = LabelHeldOut.of(logits[:, :1], labels[:, :1], 0.5, 0).measures(["ece-gpleiss"], Identity(), 0)
    assert one["ece-gpleiss"]["before"]["ci95"] is not None


def test_measures_of_one_class_a_sample_are_refused_with_a_reason():
    assert set(check_label_measures(["all"])) == set(MEASURES) - set(REFUSED)
    for name in REFUSED:
        with pytest.raises(InputError, match=f"{name} is for softmax heads: "):
            check_label_measures([name])
    with pytest.raises(UsageError, match="--fit-fraction below 1"):
        LabelHeldOut.of(*data(), 1, 0)


@pytest.mark.parametrize("shape", [(5, 1), (5,)])
def test_logits_files_of_sigmoid_heads(tmp_path, shape):
    path = tmp_path / "z.npz"
    labels = np.array([0, 1, 1, 0, 1])
    np.savez(path, logits=np.arange(5.0)[:, None], labels=labels.reshape(shape))
    _, applies = load_logits(path, "sigmoid")
    np.testing.assert_array_equal(applies, labels[:, None] == 1)
    with pytest.raises(InputError, match="at least 2 classes"):
        load_logits(path)
    np.savez(path, logits=np.zeros((5, 3)), labels=labels)
    with pytest.raises(InputError, match=r"z\.npz: a sigmoid head expects labels of 0 and 1 of shape \(5, 3\)"):
        load_logits(path, "sigmoid")


def test_a_file_knows_which_head_it_was_fitted_on(tmp_path):
    path = tmp_path / "cal.json"
    fitted = Temperature(activation="sigmoid").fit(*data(classes=1))
    save_calibrator(path, fitted, classes=1, meta={"activation": "sigmoid"})
    assert load_calibrator(path, classes=1, activation="sigmoid").temperature_ == fitted.temperature_
    with pytest.raises(InputError, match="was fitted on a sigmoid head and the model's is a softmax"):
        load_calibrator(path, activation="softmax")
    save_calibrator(path, Platt().fit(*data()), classes=3, meta={}, force=True)
    with pytest.raises(InputError, match="platt is for sigmoid heads, and this one is a softmax"):
        load_calibrator(path, activation="softmax")
