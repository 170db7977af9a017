"""Freeing a batch touches what holds the batch, and nothing that only looks like it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.dynamic_batch import freed, padded
from tests.models import graphs


def _fixed(graph: graphs.Graph, batch: int) -> ir.Model:
    model = cut(ir.from_proto(graph.model()), "image", graph.last)
    declare(model, batch, (3, 8, 8))
    return model


def _constants(model: ir.Model) -> list[list[int]]:
    """The target shapes of the graph's Reshapes."""
    nodes = [node for node in model.graph if node.op_type == "Reshape"]
    return [ir.convenience.get_const_tensor(node.inputs[1]).numpy().tolist() for node in nodes]


def _reshaping(*target: int, **attributes: object) -> graphs.Graph:
    graph = graphs.Graph(14, (target[0], 3, 8, 8)).body()
    return graph.add("Reshape", graph.weight(np.array(target)), **attributes).add("Flatten").dense()


@pytest.mark.parametrize(
    ("target", "expected"),
    [((2, 4), [-1, 4]), ((2, -1), [0, -1]), ((2, 4, 1), [-1, 4, 1]), ((1, 4, 1, 1), [-1, 4, 1, 1])],
)
def test_the_head_of_a_target_is_freed_by_minus_one_or_by_zero(target, expected):
    model = _fixed(_reshaping(*target), target[0])
    free = freed(model, target[0], graphs.images(3))
    assert _constants(free) == [expected]
    assert _constants(model) == [list(target)]


def test_where_zero_means_zero_a_target_with_minus_one_is_left():
    model = _fixed(_reshaping(2, -1, allowzero=1), 2)
    assert freed(model, 2, graphs.images(3)) is None
    assert _constants(freed(_fixed(_reshaping(2, 4, allowzero=1), 2), 2, graphs.images(3))) == [[-1, 4]]


def test_the_shape_of_a_weight_is_no_batch_and_a_shared_constant_stays_what_it_was():
    graph = graphs.Graph(13, (1, 3, 8, 8)).body()
    shape = graph.weight(np.array([1, -1]))
    bias = graph.weight(graphs.weights((4,), 5))
    graph.nodes.append(helper.make_node("Reshape", [bias, shape], ["row"]))
    graph.add("Reshape", shape).add("Add", "row").dense()
    model = _fixed(graph, 1)
    free = freed(model, 1, graphs.images(3))
    assert sorted(_constants(free)) == [[0, -1], [1, -1]]
    rows = graphs.images(4)
    one_by_one = np.concatenate([graphs.answers(model, row[None]) for row in rows])
    np.testing.assert_allclose(graphs.answers(free, rows), one_by_one, rtol=1e-5, atol=1e-6)


def test_a_graph_that_answers_otherwise_at_another_batch_is_not_freed():
    """It runs at any batch, but divides by its batch of 2 what it should divide by N: only the numbers tell."""
    graph = graphs.Graph(13, (2, 3, 8, 8)).classifier()
    logits = graph.last
    graph.add("ReduceSum", graph.weight(np.array([0])), keepdims=1).add("Mul", graph.weight(np.float32(0.5)), to="mean")
    graph.nodes.append(helper.make_node("Sub", [logits, "mean"], ["centred"]))
    graph.last = "centred"
    assert freed(_fixed(graph, 2), 2, graphs.images(3)) is None


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_padding_fills_the_last_batch_and_is_dropped(count):
    seen = []

    def run(rows):
        seen.append(rows)
        return rows.sum(axis=(1, 2, 3))[:, None]

    rows = graphs.images(count)
    np.testing.assert_array_equal(padded(run, rows, 4), rows.sum(axis=(1, 2, 3))[:, None])
    assert all(len(batch) == 4 for batch in seen)
    assert len(seen) == -(-count // 4)
    np.testing.assert_array_equal(seen[-1][-1], rows[-1])
