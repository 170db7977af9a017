"""Recognising the head of a pooled linear classifier in a graph: layer → mean over the grid → one matrix → scores."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

# What a head may do besides: nothing to the order of its values, and nothing to which class leads.
_AFTER = {"Identity", "Flatten", "Reshape", "Squeeze", "Dropout", "Cast", "Softmax", "LogSoftmax", "Sigmoid"}
_BETWEEN = _AFTER - {"Softmax", "LogSoftmax", "Sigmoid"}
_POOLING = {"GlobalAveragePool", "ReduceMean", "AveragePool"}


def linear_head(model: ir.Model, drop_class: int = 0) -> tuple[str, Doubles]:
    """Returns the name of the layer whose mean over the grid the head reads, and the head's weights float64 (K, C).

    The head is a Gemm, a MatMul or a 1×1 convolution, with or without a bias, behind a global mean.

    Args:
        model: a backbone with the shapes of its values.
        drop_class: leading classes that are left out.

    Raises:
        InputError: The head is another one.
    """
    value = _back(model.graph.outputs[0], _AFTER)
    node = value.producer()
    if node is not None and node.op_type == "Add":
        variable = [v for v in node.inputs if v is not None and _constant(v) is None]
        value = _back(variable[0], _AFTER) if len(variable) == 1 else value
        node = value.producer()
    weights = None if node is None else _weights(node)
    if node is None or weights is None or node.inputs[0] is None:
        raise _other(f"ends in {node.op_type if node else 'its input'}")
    pooled = _back(node.inputs[0], _BETWEEN)
    pooling = pooled.producer()
    if pooling is None or pooling.op_type not in _POOLING or not _is_global(pooling, weights.shape[1]):
        raise _other(f"puts {pooling.op_type if pooling else 'nothing'} before the matrix")
    layer = pooling.inputs[0]
    assert layer is not None  # a pooling has an input
    return str(layer.name), weights[drop_class:]


def _other(why: str) -> InputError:
    return InputError(
        f"cam needs a network of a global mean and one linear layer, and this one {why}; use scorecam or gradcam"
    )


def _back(value: ir.Value, through: set[str]) -> ir.Value:
    """Returns the value that went into the nodes that change nothing."""
    node = value.producer()
    while node is not None and node.op_type in through and node.inputs[0] is not None:
        value, node = node.inputs[0], node.inputs[0].producer()
    return value


def _constant(value: ir.Value) -> Doubles | None:
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else np.asarray(tensor.numpy(), np.float64)


def _weights(node: ir.Node) -> Doubles | None:
    """Returns the matrix (K, C) of a node that is linear in its first input; None where it is not such a node."""
    if node.op_type not in ("Gemm", "MatMul", "Conv") or len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    matrix = _constant(node.inputs[1])
    if matrix is None:
        return None
    if node.op_type == "Conv":
        alone = node.attributes.get_int("group", 1) == 1 and set(matrix.shape[2:]) <= {1}
        return matrix.reshape(matrix.shape[:2]) if alone else None
    if matrix.ndim != 2 or node.attributes.get_int("transA", False):
        return None
    scaled = matrix * node.attributes.get_float("alpha", 1.0)
    return scaled if node.attributes.get_int("transB", False) else scaled.T


def _is_global(pooling: ir.Node, channels: int) -> bool:
    """Whether a pooling turns (N, C, *grid) into C means: by its shapes, and no padding counted in."""
    source, result = pooling.inputs[0], pooling.outputs[0]
    if source is None or source.shape is None or result.shape is None or len(source.shape) < 3:
        return False
    if pooling.op_type == "AveragePool" and list(pooling.attributes.get_ints("kernel_shape")) != list(source.shape[2:]):
        return False
    kept = [size for size in result.shape if isinstance(size, int)]
    per_image = math.prod(kept) // (kept[0] or 1)
    return per_image == channels == source.shape[1]
