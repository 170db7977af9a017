"""Tiny ONNX graphs of every kind a user might bring, built by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5


def weights(shape: Sequence[int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def constant(name: str, array: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


class Graph:
    """Nodes one after another; each method adds some and moves `last` on."""

    def __init__(self, opset: int = 17, shape: Sequence[int | str] = ("N", 3, 8, 8), name: str = "image") -> None:
        self.opset = opset
        self.inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.last = name
        self.batch = shape[0]

    def add(self, op: str, *more: str, to: str | None = None, **attributes: object) -> Graph:
        """Adds a node from the last value and more; `to` names what it makes."""
        to = to or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, [self.last, *more], [to], **attributes))
        self.last = to
        return self

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.initializers)}"
        self.initializers.append(constant(name, array))
        return name

    def body(self, channels: int = 3, dims: int = 2) -> Graph:
        """Convolution, ReLU, global average: (N, 4, 1, 1), or (N, 4, 1)."""
        self.add("Conv", self.weight(weights((4, channels, *[3] * dims), 0)), pads=[1] * 2 * dims)
        return self.add("Relu").add("GlobalAveragePool")

    def dense(self, to: str = "logits", seed: int = 1) -> Graph:
        kernel, bias = self.weight(weights((4, CLASSES), seed)), self.weight(weights((CLASSES,), seed + 1))
        return self.add("Gemm", kernel, bias, to=to)

    def classifier(self) -> Graph:
        return self.body().add("Flatten").dense()

    def output(
        self, name: str | None = None, shape: Sequence[int | str] | None = None, kind: int = TensorProto.FLOAT
    ) -> Graph:
        shape = (self.batch, CLASSES) if shape is None else shape
        self.outputs.append(helper.make_tensor_value_info(name or self.last, kind, shape))
        return self

    def model(self, **options: object) -> onnx.ModelProto:
        if not self.outputs:
            self.output()
        graph = helper.make_graph(self.nodes, "tiny", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, **{"ir_version": 8, **options})

    def bytes(self) -> bytes:
        return self.model().SerializeToString()


def simple(opset: int = 17) -> Graph:
    return Graph(opset).classifier()


def old(opset: int) -> Graph:
    """Operators whose attributes became inputs, or whose meaning moved, between opsets 7 and 13."""
    graph = Graph(opset)
    graph.add("Conv", graph.weight(weights((4, 3, 3, 3), 0)))
    batch_norm = [graph.weight(np.abs(weights((4,), seed)) + 0.5) for seed in (3, 4, 5, 6)]
    graph.add("BatchNormalization", *batch_norm)
    if opset < 11:
        graph.add("Clip", min=0.0, max=6.0)
    else:
        graph.add("Clip", graph.weight(np.float32(0)), graph.weight(np.float32(6)))
    graph.add("ReduceMean", axes=[2, 3], keepdims=1)
    if opset < 13:
        graph.add("Squeeze", axes=[2, 3])
    else:
        graph.add("Squeeze", graph.weight(np.array([2, 3])))
    return graph.dense()


def reshaped(batch: int) -> Graph:
    """A fixed batch that is written into the target of a Reshape as well."""
    graph = Graph(13, (batch, 3, 8, 8)).body()
    return graph.add("Reshape", graph.weight(np.array([batch, -1]))).dense()


def tied_to_its_batch(batch: int) -> Graph:
    """Every row of the batch has a bias of its own: no other batch can answer the same."""
    graph = Graph(13, (batch, 3, 8, 8)).classifier()
    return graph.add("Add", graph.weight(weights((batch, CLASSES), 9)), to="scores")


def bound_to_its_batch(batch: int) -> Graph:
    """Every image is answered alike, but a constant shape deep inside allows one batch only."""
    graph = Graph(13, (batch, 3, 8, 8))
    graph.add("Reshape", graph.weight(np.array([batch // 2, 2, 3, 8, 8])), to="halves")
    return graph.add("Reshape", graph.weight(np.array([batch, 3, 8, 8])), to="whole").classifier()


def two_inputs() -> Graph:
    graph = simple()
    graph.inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", CLASSES]))
    return graph.add("Mul", "mask", to="masked")


def two_outputs() -> Graph:
    graph = simple().output()
    graph.last = graph.nodes[-1].input[0]
    return graph.dense("auxiliary", seed=7).output()


def softmaxed() -> Graph:
    return simple().add("Softmax", axis=1, to="probabilities")


def decomposed_softmax() -> Graph:
    graph = simple().add("Exp", to="exp")
    graph.add("ReduceSum", graph.weight(np.array([1])), keepdims=1, to="sum")
    graph.nodes.append(helper.make_node("Div", ["exp", "sum"], ["share"]))
    graph.last = "share"
    return graph


def channels_last() -> Graph:
    graph = Graph(shape=("N", 8, 8, 3)).add("Transpose", perm=[0, 3, 1, 2])
    return graph.classifier()


def unflattened() -> Graph:
    """SqueezeNet's way: the classes are channels, and pooled."""
    graph = Graph()
    graph.add("Conv", graph.weight(weights((CLASSES, 3, 3, 3), 0))).add("GlobalAveragePool")
    return graph.output(shape=("N", CLASSES, 1, 1))


def signal() -> Graph:
    return Graph(shape=("N", 2, 16)).body(channels=2, dims=1).add("Flatten").dense()


def averaged_over_the_batch() -> Graph:
    """What a network exported in training mode does."""
    graph = simple()
    logits = graph.last
    graph.add("ReduceMean", axes=[0], keepdims=1, to="mean")
    graph.nodes.append(helper.make_node("Sub", [logits, "mean"], ["centred"]))
    graph.last = "centred"
    return graph


def with_external_data(path: Path, location: str, content_at: Path | None = None) -> Path:
    """Writes `simple()` with its first weight in a file of its own, that the graph says lies at `location`."""
    model = simple().model()
    tensor = model.graph.initializer[0]
    data = content_at or path.parent / location
    data.write_bytes(tensor.raw_data)
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def spatial_batch_norm() -> Graph:
    """A meaning of BatchNormalization that opset 9 took away."""
    graph = Graph(7)
    graph.add("Conv", graph.weight(weights((4, 3, 3, 3), 0)))
    graph.add("BatchNormalization", *[graph.weight(np.abs(weights((4, 6, 6), s)) + 0.5) for s in range(4)], spatial=0)
    return graph.add("GlobalAveragePool").add("Flatten").dense()


def images(count: int, shape: Sequence[int] = (3, 8, 8), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def answers(model: onnx.ModelProto | ir.Model, batch: np.ndarray) -> np.ndarray:
    """The first output of a graph, by ONNX Runtime."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]
