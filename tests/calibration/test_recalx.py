"""ReCalX: levels and their edges, a temperature for each, one level is temperature scaling, graphs, bad files."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.recalx import ReCalX, check_mismatch, level_edges, level_of, nearest
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError, NotFittedError

CLASSES = 7
EDGES = [b / 10 for b in range(11)]
quick = settings(deadline=None, max_examples=60)


def by_hand(fraction, levels):
    """b with b/B ≤ λ < (b+1)/B in float32, found by going through the levels; the last one holds 1."""
    fraction, level = np.float32(fraction), 0
    while level + 1 < levels and np.float32((level + 1) / levels) <= fraction:
        level += 1
    return level


def masked(samples=600, seed=0, levels=10):
    """Logits whose true temperature rises with λ: 1 at 0, 4 at 1."""
    rng = np.random.default_rng(seed)
    fraction = rng.random(samples)
    true = rng.normal(scale=1.5, size=(samples, CLASSES))
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    return ((1 + 3 * fraction)[:, None] * true).astype(np.float32), labels, fraction


@functools.cache
def fitted(levels=10):
    return ReCalX(levels).fit(*masked())


# ------------------------------------------------------------------------------------------------ levels


@pytest.mark.parametrize("levels", [1, 2, 3, 7, 10, 33])
def test_levels_at_0_at_1_and_at_every_edge(levels):
    assert level_of(0.0, levels) == 0
    assert level_of(1.0, levels) == levels - 1
    edges = [b / levels for b in range(1, levels)]
    np.testing.assert_array_equal(level_of(np.array(edges), levels), np.arange(1, levels))
    below = np.nextafter(level_edges(levels), np.float32(0))
    np.testing.assert_array_equal(level_of(below, levels), np.arange(levels - 1))


@quick
@given(st.floats(0, 1), st.integers(1, 40))
def test_levels_are_those_of_the_definition(fraction, levels):
    assert level_of(fraction, levels) == by_hand(fraction, levels)


@pytest.mark.parametrize("fraction", [-0.01, 1.01, np.nan, np.inf])
def test_there_is_no_level_outside_0_to_1(fraction):
    with pytest.raises(InputError, match=r"perturbed fractions in \[0, 1\]"):
        level_of([0.5, fraction], 10)


# ------------------------------------------------------------------------------------------------ the map


def test_each_level_minimises_its_own_nll():
    logits, labels, fraction = masked()
    calibrator = fitted()
    level = np.array([by_hand(f, 10) for f in fraction])
    for b, beta in enumerate(calibrator.inverse_temperatures_):
        own, at = logits[level == b].astype(np.float64), labels[level == b]

        def loss(scale, own=own, at=at):
            return -log_probabilities(scale * own)[np.arange(len(at)), at].mean()

        assert loss(beta) <= min(loss(beta * 1.001), loss(beta * 0.999))
        assert calibrator.samples_[b] == len(at)
    temperatures = 1 / calibrator.inverse_temperatures_
    assert temperatures[0] < 1.6 < 2.8 < temperatures[-1]


def test_the_map_divides_each_row_by_its_levels_temperature():
    logits, _, fraction = masked(40, seed=1)
    calibrated = fitted().transform(logits, fraction)
    for row, z, f in zip(calibrated, logits, fraction, strict=True):
        np.testing.assert_allclose(row, z * fitted().inverse_temperatures_[by_hand(f, 10)], rtol=1e-15)
    assert (calibrated.argmax(axis=1) == logits.argmax(axis=1)).all()


@quick
@given(arrays(np.float32, (3, CLASSES), elements=st.floats(-80, 80, width=32)), st.floats(0, 1))
def test_the_argmax_and_every_order_stay(logits, fraction):
    calibrated = fitted().transform(logits, [fraction] * 3)
    order = np.argsort(logits, axis=1, kind="stable")
    np.testing.assert_array_equal(np.argsort(calibrated, axis=1, kind="stable"), order)


@pytest.mark.parametrize("seed", range(5))
def test_one_level_at_0_is_temperature_scaling_exactly(seed, overconfident):
    logits, labels = overconfident(seed=seed)
    one, plain = ReCalX(1).fit(logits, labels, np.zeros(len(labels))), Temperature().fit(logits, labels)
    assert 1 / one.inverse_temperatures_[0] == plain.temperature_
    np.testing.assert_array_equal(one.transform(logits, np.zeros(len(labels))), plain.transform(logits))
    np.testing.assert_array_equal(one.transform(logits), plain.transform(logits))
    assert not one.needs_perturbed_fraction
    np.testing.assert_array_equal(
        ReCalX(10).fit(logits, labels, 0 * labels).transform(logits, 0 * labels), one.transform(logits)
    )


def test_an_optimum_beyond_a_bound_is_kept_at_it_and_flagged():
    logits = np.array([[2.0, 0.0]] * 4 + [[2.0, 0.0]] * 4 + [[2.0, 0.0]] * 4)
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    calibrator = ReCalX(3).fit(logits, labels, np.repeat([0.1, 0.5, 0.9], 4))
    np.testing.assert_allclose(calibrator.inverse_temperatures_, [1e-3, 20, np.log(3) / 2])
    assert calibrator.at_bound_ == ("lower", "upper", None)


def test_an_empty_level_takes_the_nearest_fitted_one_of_two_the_lower():
    logits, labels, _ = masked()
    calibrator = ReCalX(5).fit(logits, labels, np.where(np.arange(600) < 300, 0.3, 0.7))
    beta = calibrator.inverse_temperatures_
    assert calibrator.samples_ == (0, 300, 0, 300, 0)
    assert (beta[0], beta[2], beta[4]) == (beta[1], beta[1], beta[3])
    assert beta[1] != beta[3]
    assert nearest(np.array([True])).tolist() == [0]


def test_what_it_cannot_do_it_says():
    logits, labels, fraction = masked(20)
    with pytest.raises(InputError, match="perturbed fraction of every sample"):
        ReCalX().fit(logits, labels)
    with pytest.raises(InputError, match="perturbed fraction of every sample"):
        fitted().transform(logits)
    with pytest.raises(InputError, match="one perturbed fraction for each of 20 rows"):
        fitted().transform(logits, fraction[:3])
    with pytest.raises(InputError, match="levels"):
        ReCalX(0).fit(logits, labels, fraction)
    with pytest.raises(NotFittedError):
        ReCalX().parameters()
    with pytest.raises(NotFittedError):
        ReCalX().transform(logits, fraction)


# ------------------------------------------------------------------------------------------------ files


def test_parameters_survive_json():
    law = {"law": "grid", "grid": [7, 7]}
    calibrator = ReCalX(10, "zero", law).fit(*masked())
    rebuilt = ReCalX.from_parameters(json.loads(json.dumps(calibrator.parameters(), allow_nan=False)))
    assert rebuilt.parameters() == calibrator.parameters()
    assert (rebuilt.baseline, rebuilt.mask_law, rebuilt.levels) == ("mean", law, 10)
    logits, _, fraction = masked(50, seed=3)
    np.testing.assert_array_equal(rebuilt.transform(logits, fraction), calibrator.transform(logits, fraction))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("levels", 9),
        ("levels", True),
        ("levels", 0),
        ("levels", "10"),
        ("levels", 10**9),
        ("inverse_temperatures", [1.0] * 9),
        ("inverse_temperatures", [0.0] * 10),
        ("inverse_temperatures", [-1.0] * 10),
        ("inverse_temperatures", [float("nan")] * 10),
        ("inverse_temperatures", [1e9] * 10),
        ("inverse_temperatures", "1"),
        ("at_bound", ["both"] * 10),
        ("at_bound", [None]),
        ("at_bound", 3),
        ("samples", [0.5] * 10),
        ("samples", [-1] * 10),
        ("baseline", 3),
        ("mask_law", "grid"),
        ("extra", 1),
    ],
)
def test_parameters_from_a_file_are_distrusted(name, value):
    with pytest.raises(InputError):
        ReCalX.from_parameters(fitted().parameters() | {name: value})


@pytest.mark.parametrize("name", ["levels", "inverse_temperatures", "at_bound", "samples", "baseline", "mask_law"])
def test_every_parameter_is_needed(name):
    parameters = fitted().parameters()
    del parameters[name]
    with pytest.raises(InputError, match="expected the parameters"):
        ReCalX.from_parameters(parameters)


# ------------------------------------------------------------------------------------------------ baselines


def test_another_baseline_is_refused_unless_it_is_said_to_be_ok():
    calibrator = fitted()
    check_mismatch(calibrator, ["mean", "zero"], "refuse")
    check_mismatch(calibrator, ["blur"], "ok")
    check_mismatch(Temperature(), ["blur"], "refuse")
    check_mismatch(None, ["blur"], "refuse")
    with pytest.raises(InputError, match=r"fitted for the baseline mean, .* has blur; .*--baseline blur") as refusal:
        check_mismatch(calibrator, ["mean", "blur"], "refuse")
    assert "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="refuse or ok"):
        check_mismatch(calibrator, [], "maybe")


# ------------------------------------------------------------------------------------------------ graphs


@functools.cache
def graph(levels, leading=("N",), opset=20):
    """A function (logits, λ) → calibrated logits, by ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime")
    ir = pytest.importorskip("onnx_ir")
    tape = ir.tape.Tape()
    real = ir.TensorType(ir.DataType.FLOAT)
    logits = ir.Value(name="logits", shape=ir.Shape([*leading, CLASSES]), type=real)
    fraction = ir.Value(name="perturbed_fraction", shape=ir.Shape(leading), type=real)
    answer = tape.op("Identity", [fitted(levels).to_graph(tape, logits, fraction)])
    answer.name, answer.shape, answer.type = "calibrated", logits.shape, real
    inputs = [logits, fraction] if fitted(levels).needs_perturbed_fraction else [logits]
    body = ir.Graph(
        inputs, [answer], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": opset}, name="recalx"
    )
    assert all(name.startswith("c2i_fast.calibrator/") for name in body.initializers)
    proto = ir.to_proto(ir.Model(body, ir_version=8))
    pytest.importorskip("onnx").checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in inputs]
    return lambda *given: session.run(None, dict(zip(names, given, strict=False)))[0]


EDGED = st.one_of(
    st.floats(0, 1, width=32),
    st.sampled_from([float(np.float32(b / 10)) for b in range(11)]),
    st.sampled_from([float(np.nextafter(np.float32(b / 10), np.float32(0))) for b in range(1, 11)]),
)


@quick
@given(st.lists(EDGED, min_size=4, max_size=4), arrays(np.float32, (4, CLASSES), elements=st.floats(-80, 80, width=32)))
def test_graph_and_float64_map_agree_at_the_edges_too(fractions, logits):
    fraction = np.array(fractions, np.float32)
    found, exact = graph(10)(logits, fraction), fitted().transform(logits, fraction)
    np.testing.assert_allclose(found, exact, rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("opset", [13, 18, 20])
def test_every_edge_is_on_the_same_side_in_graph_and_map(opset):
    """λ as Python computes it in float64, and as a user feeds it in float32."""
    exact = np.array([*EDGES, 3 / 49, 1 / 3, 44.1 / 49, 0.3000000001])
    logits = np.tile(np.arange(CLASSES, dtype=np.float32), (len(exact), 1))
    found = graph(10, opset=opset)(logits, exact.astype(np.float32))
    np.testing.assert_allclose(found, fitted().transform(logits, exact), rtol=3e-7)


def test_a_scorer_graph_has_two_leading_axes():
    logits, _, fraction = masked(12, seed=5)
    fraction = fraction.astype(np.float32)
    two = graph(10, ("N", "S"))(logits.reshape(4, 3, CLASSES), fraction.reshape(4, 3))
    np.testing.assert_array_equal(two.reshape(12, CLASSES), graph(10)(logits, fraction))


def test_one_levels_graph_has_no_fraction():
    logits, _, _ = masked(12, seed=5)
    np.testing.assert_allclose(graph(1)(logits), fitted(1).transform(logits), rtol=3e-7)


def test_several_levels_need_the_fraction_in_the_graph():
    ir = pytest.importorskip("onnx_ir")
    logits = ir.Value(name="logits", shape=ir.Shape(["N", CLASSES]), type=ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(InputError, match="perturbed_fraction"):
        fitted().to_graph(ir.tape.Tape(), logits)
