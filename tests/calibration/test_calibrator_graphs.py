"""Every calibrator: its graph against its float64 map on any logits, declared orders, nonsense survived, bad files."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.calibration import CALIBRATORS
from c2i_fast.errors import InputError, NotFittedError

pytest.importorskip("onnx_ir")

from tests.calibration.graphs import build, opened, probability_slack, renormalised_bounds, softmax

CLASSES = 7
AFFINE = ["vector", "matrix", "dirichlet-l2", "dirichlet-odir"]
ON_PROBABILITIES = ["isotonic", "isotonic-ovr", "histogram-ovr"]
SOFTMAX = ["temperature", "ets", *AFFINE, *ON_PROBABILITIES]
ETS = {"temperature": 1.7, "weights": [0.7, 0.2, 0.1], "classes": CLASSES}
quick = settings(deadline=None, max_examples=80)


def data(samples=500, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=1.5, size=(samples, CLASSES))
    return (2.5 * true).astype(np.float32), (true + rng.gumbel(size=true.shape)).argmax(axis=1)


@functools.cache
def fitted(name):
    if name == "ets-mixed":
        return CALIBRATORS["ets"].from_parameters(ETS)
    logits, labels = data()
    if name == "platt":
        return CALIBRATORS[name]().fit(logits, logits + np.random.default_rng(1).logistic(size=logits.shape) > 0)
    return CALIBRATORS[name]().fit(logits, labels)


@functools.cache
def graph(name):
    return opened(fitted(name), classes=CLASSES)


def rows(largest):
    """Float32 logits (N, 7): anything up to `largest`, near ties and equal values included."""
    numbers = st.one_of(
        st.floats(-largest, largest, width=32), st.floats(-4, 4, width=32), st.sampled_from([0.0, largest, -largest])
    )
    return arrays(np.float32, st.tuples(st.integers(1, 6), st.just(CLASSES)), elements=numbers)


@pytest.mark.parametrize("name", ["temperature", "ets", "ets-mixed", *AFFINE])
@quick
@given(logits=rows(80.0))
def test_graph_and_float64_map_agree(name, logits):
    found, exact = softmax(graph(name)(logits)), softmax(fitted(name).transform(logits))
    np.testing.assert_allclose(found, exact, atol=1e-5, rtol=0)


def levels(name, p):
    """f(p) before it is renormalised, from the map's own parameters and loops over classes."""
    calibrator = fitted(name)
    if name == "isotonic":
        return np.maximum(calibrator.map_(p), 1e-9)
    if name == "isotonic-ovr":
        return np.maximum(np.stack([f(p[:, k]) for k, f in enumerate(calibrator.maps_)], axis=1), 1e-9)
    bins = calibrator.values_.shape[1]
    number = np.clip(np.ceil(p * bins) - 1, 0, bins - 1).astype(int)
    return np.maximum(np.stack([calibrator.values_[k][number[:, k]] for k in range(CLASSES)], axis=1), 1e-9)


@pytest.mark.parametrize("name", ON_PROBABILITIES)
@quick
@given(logits=rows(80.0))
def test_graph_and_float64_map_agree_but_within_4_ulp_of_a_knot(name, logits):
    p, slack = softmax(logits), probability_slack(logits)
    around = [levels(name, np.clip(p + shift, 0, 1)) for shift in (-slack, 0, slack)]
    least, greatest = renormalised_bounds(np.min(around, axis=0), np.max(around, axis=0))
    for found in (softmax(graph(name)(logits)), softmax(fitted(name).transform(logits))):
        assert (found >= least - 1e-5).all()
        assert (found <= greatest + 1e-5).all()


@quick
@given(logits=rows(80.0))
def test_the_sigmoid_of_platts_graph_is_that_of_its_map(logits):
    found, exact = (1 / (1 + np.exp(-x)) for x in (graph("platt")(logits), fitted("platt").transform(logits)))
    np.testing.assert_allclose(found, exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["ets", "ets-mixed", *AFFINE, *ON_PROBABILITIES])
@quick
@given(logits=rows(float(np.finfo(np.float32).max)))
def test_no_logits_break_it(name, logits):
    for calibrated in (graph(name)(logits), fitted(name).transform(logits)):
        assert np.isfinite(calibrated).all()
        np.testing.assert_allclose(softmax(calibrated).sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", ["ets", "ets-mixed", "isotonic"])
@quick
@given(logits=rows(80.0))
def test_a_declared_order_is_never_inverted(name, logits):
    assert fitted(name).preserves_order
    order = np.argsort(logits, axis=1)
    raw = np.take_along_axis(logits, order, axis=1)
    far = np.diff(raw, axis=1) > 8 * np.spacing(np.abs(raw).max(axis=1, keepdims=True))
    exact, found = (np.take_along_axis(f(logits), order, axis=1) for f in (fitted(name).transform, graph(name)))
    assert (np.diff(exact, axis=1)[far] >= 0).all()
    # An engine's Exp and Log may round one number differently in and after its vector loop: 1 ulp each way.
    rounding = 0 if name == "ets" else 4 * np.spacing(np.abs(found).max(axis=1, keepdims=True))
    assert ((np.diff(found, axis=1) + rounding)[far] >= 0).all()


@quick
@given(logits=rows(80.0))
def test_the_shared_isotonic_map_ties_only_what_is_nearly_tied(logits):
    order = np.argsort(logits, axis=1)
    raw = np.take_along_axis(logits, order, axis=1)
    far = np.diff(raw, axis=1) > np.maximum(8 * np.spacing(np.abs(raw).max(axis=1, keepdims=True)), 1e-7)
    calibrated = np.take_along_axis(fitted("isotonic").transform(logits), order, axis=1)
    assert (np.diff(calibrated, axis=1)[far] > 0).all()


@pytest.mark.parametrize("name", [*SOFTMAX, "platt"])
def test_a_scorer_graph_has_two_leading_axes(name):
    logits = data(12)[0]
    two = opened(fitted(name), leading=("N", "S"), classes=CLASSES)
    np.testing.assert_array_equal(two(logits.reshape(4, 3, CLASSES)).reshape(12, CLASSES), graph(name)(logits))


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("name", ["ets-mixed", *SOFTMAX[1:], "platt"])
def test_the_model_is_valid_at_every_opset(name, opset):
    onnx = pytest.importorskip("onnx")
    import onnx_ir as ir

    model = build(fitted(name), classes=CLASSES, opset=opset)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert all(each.startswith("c2i_fast.calibrator/") for each in model.graph.initializers)
    logits = data(20)[0]
    np.testing.assert_allclose(opened(fitted(name), classes=CLASSES, opset=opset)(logits), graph(name)(logits))


@pytest.mark.parametrize("name", [*SOFTMAX, "platt"])
def test_nothing_works_before_fit(name):
    calibrator = CALIBRATORS[name]()
    for use in (calibrator.parameters, lambda: calibrator.transform([[1.0, 0.0]]), lambda: build(calibrator)):
        with pytest.raises(NotFittedError, match="call fit"):
            use()


@pytest.mark.parametrize("name", [*SOFTMAX, "ets-mixed", "platt"])
def test_parameters_survive_json(name):
    stored = json.loads(json.dumps(fitted(name).parameters(), allow_nan=False))
    again = type(fitted(name)).from_parameters(stored)
    logits = data(50, seed=3)[0]
    np.testing.assert_array_equal(again.transform(logits), fitted(name).transform(logits))
    assert again.parameters() == stored


def broken(value):
    """Nested data with one thing wrong: its first number infinite, NaN, huge or text, or its first list shorter."""
    if isinstance(value, list) and len(value) > 1:
        yield value[:-1]
    if isinstance(value, dict):
        first = next(iter(value))
        yield {key: each for key, each in value.items() if key != first}
        yield from ({**value, first: each} for each in broken(value[first]))
    elif isinstance(value, list):
        yield from ([each, *value[1:]] for each in broken(value[0])) if value else ()
    else:
        yield from (float("nan"), float("inf"), 1e36, -1e36, "1", None, [1.0])


@pytest.mark.parametrize("name", [*SOFTMAX[1:], "platt"])
def test_a_file_edited_by_hand_is_refused(name):
    good = fitted(name).parameters()
    cases = [{**good, "code": 1}, {}, *({**good, k: bad} for k in good if k != "at_bound" for bad in broken(good[k]))]
    for case in cases:
        if name in ("isotonic-ovr", "histogram-ovr") and case.keys() == good.keys():
            (whole,) = case.values()
            if isinstance(whole, list) and len(whole) == CLASSES - 1:
                continue  # a calibrator of one class less; the file's class count tells
        with pytest.raises(InputError):
            type(fitted(name)).from_parameters(case)


@pytest.mark.parametrize("name", ["ets", "vector", "matrix", "dirichlet-l2"])
def test_an_unknown_bound_is_refused(name):
    with pytest.raises(InputError, match="at_bound"):
        type(fitted(name)).from_parameters(fitted(name).parameters() | {"at_bound": "side"})


@pytest.mark.parametrize("name", ["ets", *AFFINE, "isotonic-ovr", "histogram-ovr", "platt"])
def test_another_class_count_is_refused(name):
    with pytest.raises(InputError, match=f"for {CLASSES} classes"):
        fitted(name).transform(np.zeros((2, CLASSES + 1)))


@pytest.mark.parametrize("name", SOFTMAX)
@pytest.mark.parametrize(
    "case",
    ["few", "missing", "one class", "separable", "noise", "constant", pytest.param("huge", marks=pytest.mark.slow)],
)
def test_hard_data_stay_bounded(name, case):
    logits, labels = data(60)
    if case == "few":
        logits, labels = logits[:3], labels[:3]
    elif case == "missing":
        labels = np.where(labels == 6, 0, labels)
    elif case == "one class":
        labels = np.zeros_like(labels)
    elif case == "separable":
        labels = logits.argmax(axis=1)
    elif case == "noise":
        labels = np.random.default_rng(5).integers(0, CLASSES, len(labels))
    else:
        logits = np.zeros_like(logits) if case == "constant" else logits * np.float32(1e6)
    calibrator = CALIBRATORS[name]().fit(logits, labels)
    json.dumps(calibrator.parameters(), allow_nan=False)
    calibrator = type(calibrator).from_parameters(calibrator.parameters())
    assert np.isfinite(calibrator.transform(logits)).all()
    found = softmax(opened(calibrator, classes=CLASSES)(logits))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("name", SOFTMAX)
def test_logits_that_are_not_finite_are_refused(name):
    logits, labels = data(60)
    logits[3, 2] = np.nan
    with pytest.raises(InputError, match="1 of 60 rows"):
        CALIBRATORS[name]().fit(logits, labels)


def test_a_file_whose_class_count_is_not_its_parameters_is_refused(tmp_path):
    from c2i_fast.calibration import load_calibrator, save_calibrator

    save_calibrator(tmp_path / "cal.json", fitted("vector"), classes=CLASSES + 1, meta={})
    with pytest.raises(InputError, match="the file says 8 classes and its parameters are of 7"):
        load_calibrator(tmp_path / "cal.json")
