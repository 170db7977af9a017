"""Each calibrator as graph nodes, run by ONNX Runtime, against its float64 map."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import NotFittedError

ir = pytest.importorskip("onnx_ir")


def build(calibrator, leading=("N",), classes=7, opset=20):
    """A model of one input `logits` and one output `calibrated`."""
    tape = ir.tape.Tape()
    shape = ir.Shape([*leading, classes])
    logits = ir.Value(name="logits", shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
    calibrated = tape.op("Identity", [calibrator.to_graph(tape, logits)])
    calibrated.name, calibrated.shape, calibrated.type = "calibrated", shape, logits.type
    graph = ir.Graph(
        [logits],
        [calibrated],
        nodes=tape.nodes,
        initializers=tape.initializers,
        opset_imports={"": opset},
        name="calibrator",
    )
    return ir.Model(graph, ir_version=8)


def run(model, logits):
    onnxruntime = pytest.importorskip("onnxruntime")
    proto = ir.to_proto(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["calibrated"], {"logits": logits})[0]


def softmax(logits):
    p = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def temperature(value):
    return Temperature.from_parameters({"temperature": value})


@pytest.fixture
def logits():
    return np.random.default_rng(0).uniform(-12, 12, (50, 7)).astype(np.float32)


@pytest.mark.parametrize("value", [0.25, 0.8556, 1.0, 2.593944, 20.0])
def test_calibrated_logits_equal_the_float64_map(logits, value):
    np.testing.assert_allclose(run(build(temperature(value)), logits), temperature(value).transform(logits), rtol=2e-7)


@pytest.mark.parametrize("value", [0.05, 0.1, 0.2499, 0.25, 0.5, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("largest", [12, 80])
def test_probabilities_equal_the_float64_map_at_every_temperature(value, largest):
    rng = np.random.default_rng(1)
    logits = rng.uniform(-largest, largest, (4000, 7)).astype(np.float32)
    logits[:, 1] = logits[:, 0] + rng.normal(scale=value, size=4000)  # a close call near the top
    logits[:, 2:] -= 3
    difference = softmax(run(build(temperature(value)), logits)) - softmax(temperature(value).transform(logits))
    rounding = 2.0**-24 * largest / value  # of a float32 logit after the division
    assert np.abs(difference).max() <= 1e-6 + rounding


@pytest.mark.parametrize("value", [0.05, 0.3, 2.6])
def test_no_ranking_is_inverted(logits, value):
    order = np.argsort(logits, axis=1)
    ranked = np.take_along_axis(run(build(temperature(value)), logits), order, axis=1)
    assert (np.diff(ranked, axis=1) >= 0).all()


@pytest.mark.parametrize("value", [0.05, 2.6])
def test_a_scorer_graph_has_two_leading_axes(logits, value):
    model = build(temperature(value), leading=("N", "S"))
    np.testing.assert_array_equal(
        run(model, logits.reshape(10, 5, 7)).reshape(50, 7), run(build(temperature(value)), logits)
    )


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("calibrator", [temperature(0.1), temperature(2.6), Identity()])
def test_the_model_is_valid_at_every_opset(calibrator, opset, logits):
    onnx = pytest.importorskip("onnx")
    model = build(calibrator, opset=opset)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    np.testing.assert_allclose(softmax(run(model, logits)), softmax(calibrator.transform(logits)), atol=1e-5)


def test_temperature_is_one_division_by_a_named_float32_scalar():
    model = build(temperature(2.593943557136357))
    assert [node.op_type for node in model.graph] == ["Div", "Identity"]
    (initializer,) = model.graph.initializers.values()
    assert initializer.name == "c2i_fast.calibrator/temperature"
    assert initializer.const_value.numpy().shape == ()
    assert initializer.const_value.numpy() == np.float32(2.593943557136357)
    assert initializer.dtype == ir.DataType.FLOAT


def test_identity_adds_nothing(logits):
    model = build(Identity())
    assert [node.op_type for node in model.graph] == ["Identity"]  # the test's own output node
    assert not model.graph.initializers
    np.testing.assert_array_equal(run(model, logits), logits)


def test_an_unfitted_calibrator_makes_no_graph():
    with pytest.raises(NotFittedError, match="call fit"):
        build(Temperature())
