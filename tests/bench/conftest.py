"""A network small enough to be timed in milliseconds, and the same as a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

CLASSES, CHANNELS, SIDE = 5, 3, 16


def tiny_graph(seed: int = 0) -> onnx.ModelProto:
    """Convolution, ReLU, global mean, a linear layer: images (N, 3, 16, 16) → logits (N, 5)."""
    rng = np.random.default_rng(seed)
    kernel = numpy_helper.from_array(rng.normal(size=(8, CHANNELS, 3, 3)).astype(np.float32), "kernel")
    matrix = numpy_helper.from_array(rng.normal(size=(8, CLASSES)).astype(np.float32), "matrix")
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["logits"]),
    ]
    shape = ["N", CHANNELS, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        initializer=[kernel, matrix],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "tiny.onnx"
    onnx.save(tiny_graph(), path)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_file):
    """The network as a classifier."""
    from c2i_fast.models import load_classifier

    return load_classifier(tiny_file)
