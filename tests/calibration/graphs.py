"""A calibrator as a model of its own, and how far its graph may be from its float64 map."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest


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


def opened(calibrator, **shape):
    """A function logits → calibrated logits, by ONNX Runtime on one thread."""
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    proto = ir.to_proto(build(calibrator, **shape)).SerializeToString()
    session = onnxruntime.InferenceSession(proto, options, providers=["CPUExecutionProvider"])
    return lambda logits: session.run(["calibrated"], {"logits": logits})[0]


def softmax(logits):
    p = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def probability_slack(logits):
    """How far p moves if every logit moves by 4 float32 ulp of the row's largest: the points excepted at a knot."""
    step = 4 * np.spacing(np.abs(logits).max(axis=-1, keepdims=True).astype(np.float32)).astype(np.float64)
    p = softmax(logits)
    return 2 * step * p * (1 - p) + 4 * np.spacing(p.astype(np.float32))


def renormalised_bounds(low, high):
    """The least and greatest q_k = f_k / Σ f with each f within its bounds."""
    least = low / (low + high.sum(axis=-1, keepdims=True) - high)
    greatest = high / (high + low.sum(axis=-1, keepdims=True) - low)
    return least, greatest
