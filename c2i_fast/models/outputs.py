"""Which value of a foreign graph holds the logits, and whether somebody put a softmax on it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Preprocessing

SHAPING = frozenset(("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Dropout"))
PROBABILITY = frozenset(("Softmax", "Sigmoid"))


def choose_output(
    model: ir.Model, wanted: str | None, preprocessing: Preprocessing, name: str, activation: Activation = "softmax"
) -> ir.Value:
    """Returns the value of the graph that is followed: the one asked for, or the only output.

    Args:
        model: the whole graph.
        wanted: the name of an output or of any value inside; None takes the only output.
        preprocessing: says whether probabilities are expected.
        name: of the classifier, for messages.
        activation: what makes the logits probabilities.

    Raises:
        InputError: several outputs and none asked for, no such value, no float32, probabilities not asked for, a
            softmax on a softmax, a sigmoid where a softmax was declared or the other way round.

    Example:
        >>> choose_output(model, None, Preprocessing(), "net.onnx").name
        'logits'
    """
    value = _named(model, wanted, name) if wanted else _only(model, name)
    if value.dtype not in (None, ir.DataType.FLOAT):
        raise InputError(f"{name}: output {value.name!r} must be float32 scores, got {value.dtype}; see --output")
    check_end(value, preprocessing, name, activation)
    return value


def _only(model: ir.Model, name: str) -> ir.Value:
    outputs = model.graph.outputs
    if len(outputs) == 1:
        return outputs[0]
    names = ", ".join(str(value.name) for value in outputs)
    raise InputError(f"{name} has {len(outputs)} outputs: {names}; say which holds the logits by --output NAME")


def _named(model: ir.Model, wanted: str, name: str) -> ir.Value:
    for node in model.graph:
        for value in node.outputs:
            if value.name == wanted:
                return value
    names = ", ".join(str(value.name) for value in model.graph.outputs)
    raise InputError(f"{name} computes no value {wanted!r}; its outputs are: {names}")


def check_end(value: ir.Value, preprocessing: Preprocessing, name: str, activation: Activation) -> None:
    """Raises an `InputError` where what a value ends in, a softmax or a sigmoid, is not what was declared."""
    softmaxes = [node for node in _origins(value) if node.op_type in PROBABILITY | {"LogSoftmax"}]
    if len(softmaxes) > 1:
        kinds = " of a ".join(node.op_type for node in softmaxes)
        raise InputError(
            f"{name}: {value.name!r} is the {kinds}; name the logits before both by --output{_before(softmaxes)}"
        )
    if softmaxes and softmaxes[0].op_type in PROBABILITY and preprocessing.outputs == "logits":
        sigmoid = softmaxes[0].op_type == "Sigmoid" and activation == "softmax"
        raise InputError(
            f"{name}: outputs are probabilities where logits were expected: {value.name!r} comes from a "
            f"{softmaxes[0].op_type}; pass --outputs probabilities or name the logits by --output{_before(softmaxes)}"
            f"{'; either way add --activation sigmoid' if sigmoid else ''}"
        )
    kind = softmaxes[0].op_type if softmaxes else None
    if activation == "sigmoid" and kind not in (None, "Sigmoid"):
        raise InputError(f"{name}: {value.name!r} comes from a {kind}, which is no sigmoid; leave --activation out")
    if kind == "Sigmoid" and activation == "softmax":
        raise InputError(f"{name}: {value.name!r} comes from a Sigmoid, so its head is one: add --activation sigmoid")


def _before(softmaxes: list[ir.Node]) -> str:
    value = softmaxes[-1].inputs[0]
    return f" {value.name}" if value is not None and value.producer() is not None else " NAME"


def _origins(value: ir.Value) -> Iterator[ir.Node]:
    """Yields the nodes a value comes from, back through softmaxes and nodes that only shape, ending with another."""
    node = value.producer()
    while node is not None:
        yield node
        first = node.inputs[0] if node.inputs else None
        if first is None or node.op_type not in SHAPING | PROBABILITY | {"LogSoftmax"}:
            return
        node = first.producer()


def flatten_output(model: ir.Model) -> None:
    """Makes, in place, an output (N, K, 1, …) into (N, K): networks that end in a pooling leave the ones behind."""
    graph = model.graph
    node = ir.node("Flatten", [graph.outputs[0]], {"axis": 1}, name="flatten_output")
    value, flat = graph.outputs[0], node.outputs[0]
    flat.name, value.name = value.name, "unflattened_output"
    graph.append(node)
    graph.outputs[0] = flat
