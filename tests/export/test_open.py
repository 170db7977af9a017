"""Opening a classifier's graphs: the right graph for the right engine, and weights too large for one message."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

import c2i_fast.export.open as open_module
from c2i_fast.export.open import GraphOpener, onnx_graph, weight_bytes
from c2i_fast.types import EngineConfig, Preprocessing
from tests import nets

ENGINES = ("onnxruntime", "openvino", "torch")
INPUTS = {
    "fused": {"pixels"},
    "select": {"start", "end", "step_map", "steps"},
    "blend": {"start", "end", "grids", "axis_0", "axis_1"},
}


def opener(engine: str, **options) -> GraphOpener:
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    return GraphOpener(nets.conv_net(torch=engine == "torch", **options), EngineConfig(engine=engine, threads=1))


def feeds_of(kind: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    plans = {name: rng.random((2, 3, 9, 7), np.float32) for name in ("start", "end")}
    axes = [rng.dirichlet(np.ones(2), (2, 4, size)).astype(np.float32) for size in (9, 7)]
    return {
        "fused": {"pixels": rng.random((8, 3, 9, 7), np.float32)},
        "select": plans
        | {
            "step_map": rng.integers(0, 4, (2, 1, 9, 7)).astype(np.uint8),
            "steps": rng.integers(0, 5, (2, 4)).astype(np.int32),
        },
        "blend": plans | {"grids": rng.random((2, 4, 2, 2), np.float32), "axis_0": axes[0], "axis_1": axes[1]},
    }[kind]


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_kind_opens_on_every_engine_and_answers_alike(engine, kind):
    reference = opener("onnxruntime")(kind, "uint8").run(feeds_of(kind))
    answers = opener(engine)(kind, "uint8").run(feeds_of(kind))
    assert list(answers) == ["logits", "probabilities"]
    for name, found in answers.items():
        assert found.dtype == np.float32
        assert found.shape == ((8, 5) if kind == "fused" else (2, 4, 5))
        np.testing.assert_allclose(found, reference[name], atol=1e-5)


@pytest.mark.parametrize("kind", INPUTS)
def test_graphs_take_the_inputs_of_their_kind_and_leave_the_calibrator_out(kind):
    """Scoring reads every read-out from raw logits: a calibrator in the contract must not be in the graph."""
    spec = {"method": "temperature", "parameters": {"temperature": 3.0}}
    graph = onnx_graph(nets.conv_net(calibrator=spec), kind, "uint16").graph
    assert {value.name for value in graph.inputs} == INPUTS[kind]
    assert not any("calibrator" in name for name in graph.initializers)
    assert [node.op_type for node in graph if node.op_type == "Div"] == []


def test_weight_bytes_is_the_size_of_all_initializers():
    matrix = np.zeros((3, 12), np.float32)
    classifier = nets.linear_net(matrix, np.zeros(3), 3, (2, 2))
    shape = 2 * 8  # the int64 target of the reshape
    assert weight_bytes(classifier.backbone()) == matrix.nbytes + 3 * 4 + shape


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_too_large_for_a_message_travel_beside_the_graph_and_go_with_the_opener(engine, monkeypatch):
    feeds = feeds_of("select")
    expected = opener(engine)("select", "uint8").run(feeds)["logits"]
    monkeypatch.setattr(open_module, "INLINE_BYTES", 100)
    large = opener(engine)
    path = large.serialised(onnx_graph(large.classifier, "select"))
    assert isinstance(path, Path)
    folder = path.parent
    assert sorted(file.name for file in folder.iterdir()) == ["graph.onnx", "graph.onnx.data"]
    np.testing.assert_array_equal(large("select", "uint8").run(feeds)["logits"], expected)
    del large
    gc.collect()
    assert not folder.exists()


def test_small_graphs_are_bytes_and_touch_no_disk(monkeypatch):
    monkeypatch.setattr(open_module.tempfile, "TemporaryDirectory", lambda **_: pytest.fail("wrote to disk"))
    small = opener("onnxruntime")
    assert isinstance(small.serialised(onnx_graph(small.classifier, "fused")), bytes)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_torch_module_and_the_graph_normalise_and_drop_alike(engine):
    preprocessing = Preprocessing(mean=(0.4, 0.45, 0.5), std=(0.1, 0.2, 0.3), bgr=True, drop_class=2)
    answers = opener(engine, preprocessing=preprocessing)("select", "uint8").run(feeds_of("select"))["logits"]
    reference = opener("onnxruntime", preprocessing=preprocessing)("select", "uint8").run(feeds_of("select"))["logits"]
    assert answers.shape == (2, 4, 5)
    np.testing.assert_allclose(answers, reference, atol=1e-5)
