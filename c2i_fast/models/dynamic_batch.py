"""Freeing a graph from the batch size it was exported at, and proving that it still answers the same."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from c2i_fast.models.backbone import declare, image_shape
from c2i_fast.models.running import Run, difference, opened
from c2i_fast.types import Floats

TOLERANCE = 1e-5


def freed(model: ir.Model, batch: int, images: Floats) -> ir.Model | None:
    """Returns the graph with a symbolic batch, or None where its answers cannot be proved to stay the same.

    The new graph must answer batches of 1, 2 and 3 as the old one answers the same images at its own batch, to 1e-5 of
    the largest answer.

    Args:
        model: a graph whose batch is an integer.
        batch: that integer.
        images: three or more, (N, C, *space).

    Example:
        >>> freed(model, 1, images).graph.inputs[0].shape[0]
        SymbolicDim('N')
    """
    expected = padded(opened(model), images[:3], batch)
    free = model.clone()
    declare(free, None, image_shape(free))
    for node in _fed(free.graph):
        _free_reshape(node, batch)
    try:
        run = opened(free)
        gaps = [difference(run(images[:count]), expected[:count]) for count in (1, 2, 3)]
    except Exception:  # whatever a runtime makes of a graph that only works at its own batch
        return None
    return free if max(gaps) <= TOLERANCE else None


def padded(run: Run, images: Floats, batch: int) -> Floats:
    """Returns the answers (N, …) of a graph that only takes `batch` images at once; the last image fills it up."""
    chunks = [images[i : i + batch] for i in range(0, len(images), batch)]
    full = [np.concatenate([chunk, np.repeat(chunk[-1:], batch - len(chunk), axis=0)]) for chunk in chunks]
    rows = [run(chunk)[: len(kept)] for chunk, kept in zip(full, chunks, strict=True)]
    return np.concatenate(rows)


def _fed(graph: ir.Graph) -> list[ir.Node]:
    """Returns the nodes the images reach: a weight's shape has no batch, even where its head is the same number."""
    reached: set[ir.Value | None] = set(graph.inputs)
    nodes = []
    for node in graph:
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
            nodes.append(node)
    return nodes


def _free_reshape(node: ir.Node, batch: int) -> None:
    """Replaces the batch at the head of a constant target shape: by −1 where that is free, else by 0, "as it comes"."""
    target = node.inputs[1] if node.op_type == "Reshape" and len(node.inputs) > 1 else None
    constant = ir.convenience.get_const_tensor(target) if target is not None else None
    if constant is None or not node.graph:
        return
    shape = constant.numpy().astype(np.int64)
    if shape.ndim != 1 or not shape.size or shape[0] != batch:
        return
    keeps_zero = node.attributes.get_int("allowzero", 0) == 1
    if -1 in shape and keeps_zero:
        return
    shape[0] = 0 if -1 in shape else -1
    graph = node.graph
    value = ir.val(f"{node.outputs[0].name}_shape", const_value=ir.tensor(shape))
    graph.register_initializer(value)  # a new one: the old constant may serve other nodes too
    node.replace_input_with(1, value)
