"""Cutting the network alone out of an ONNX graph, and leaving nothing in it that tells where it was made."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from c2i_fast.errors import ContractError
from c2i_fast.models.classifier import NETWORK_OUTPUT, NORMALISED

# Names the fused and the scorer graph give to their own values: a network's inner values must not hold them.
RESERVED = {
    *("pixels", NORMALISED, NETWORK_OUTPUT, "logits", "probabilities", "perturbed_fraction"),
    *("start", "end", "step_map", "steps"),
}
OLDEST_IR_VERSION = 8  # the one that came with opset 13


def cut(model: ir.Model, source: str, result: str) -> ir.Model:
    """Returns a new model of the nodes between two values; tensors are shared, the given model stays as it is.

    The input is called `normalised` and the output `network_output`. Shapes inside the graph are left out: they go
    stale when the batch changes, and every engine infers them again.

    Args:
        model: the whole graph.
        source: the name of the value the network is fed.
        result: the name of the value that is wanted.

    Raises:
        ContractError: when `result` does not follow from `source` alone.

    Example:
        >>> cut(model, "input", "logits").graph.inputs[0].name
        'normalised'
    """
    if model.functions:
        model = model.clone()
        InlinePass()(model)
    try:
        graph = ir.convenience.extract(model.graph, [source], [result])
    except ValueError as error:
        raise ContractError(f"output {result!r} does not follow from input {source!r} alone: {error}") from error
    if not graph.inputs[0].uses():
        raise ContractError(f"output {result!r} does not depend on input {source!r}; name another one with --output")
    strip(graph)
    _rename(graph)
    used = {node.domain for node in ir.traversal.RecursiveGraphIterator(graph)}
    for domain in set(graph.opset_imports) - used - {""}:
        del graph.opset_imports[domain]
    return ir.Model(graph, ir_version=max(model.ir_version, OLDEST_IR_VERSION))


def strip(graph: ir.Graph) -> None:
    """Removes, in place, documentation, metadata and inner shapes from a graph and the graphs inside its nodes."""
    graph.name = "network"
    for inner in [graph, *graph.subgraphs()]:
        inner.doc_string = None
        inner.metadata_props.clear()
        for value in (*inner.inputs, *inner.initializers.values()):
            _strip_value(value)
    for node in ir.traversal.RecursiveGraphIterator(graph):
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            _strip_value(value)
            value.shape = None


def _strip_value(value: ir.Value) -> None:
    value.doc_string = None
    value.metadata_props.clear()
    tensor = value.const_value
    if tensor is not None and (tensor.doc_string or tensor.metadata_props):
        value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


def _rename(graph: ir.Graph) -> None:
    source, result = graph.inputs[0], graph.outputs[0]
    inner = [value for value in _values(graph) if value not in (source, result)]
    taken = {value.name for value in inner} | RESERVED
    for value in inner:
        if value.name in RESERVED:
            name = f"{value.name}_inner"
            while name in taken:
                name += "_"
            taken.add(name)
            ir.convenience.rename_values(value, name)
    ir.convenience.rename_values([source, result], [NORMALISED, NETWORK_OUTPUT])


def _values(graph: ir.Graph) -> list[ir.Value]:
    values = [*graph.inputs, *graph.initializers.values()]
    for inner in graph.subgraphs():
        values += [*inner.inputs, *inner.initializers.values()]
    for node in ir.traversal.RecursiveGraphIterator(graph):
        values += node.outputs
    return list(dict.fromkeys(values))


def declare(model: ir.Model, batch: int | None, image: Sequence[int | None], outputs: int | None = None) -> None:
    """Writes the outer shapes, in place: (N, *image) in and (N, outputs) out, N symbolic where `batch` is None."""
    rows = "N" if batch is None else batch
    source, result = model.graph.inputs[0], model.graph.outputs[0]
    source.type = result.type = ir.TensorType(ir.DataType.FLOAT)
    source.shape = ir.Shape([rows, *image])
    result.shape = ir.Shape([rows, outputs])


def image_shape(model: ir.Model) -> tuple[int, ...]:
    """Returns (C, *space) as `declare` wrote it."""
    shape = model.graph.inputs[0].shape
    assert shape is not None  # written by `declare`
    return tuple(int(size) for size in shape[1:] if isinstance(size, int))
