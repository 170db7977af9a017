"""The network alone: what lies between two values, under the promised names, with nothing about its author."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from c2i_fast.errors import ContractError
from c2i_fast.models.backbone import RESERVED, cut, declare, image_shape
from tests.models import graphs

SECRETS = ("/home/author/train.py", "trained by night", "pkg.torch.onnx.stack_trace")


def _talkative() -> onnx.ModelProto:
    """A graph that says everywhere who made it."""
    model = graphs.simple().model(producer_name=SECRETS[0], producer_version="1", domain=SECRETS[0])
    helper.set_model_props(model, {SECRETS[2]: SECRETS[0]})
    graph = model.graph
    holders = [*graph.node, *graph.initializer, *graph.input, *graph.output, graph]
    middle = helper.make_tensor_value_info(graph.node[0].output[0], TensorProto.FLOAT, ["stale", 4, 8, 8])
    graph.value_info.append(middle)
    for holder in [model, *holders, graph.value_info[0]]:
        holder.doc_string = SECRETS[1]
        holder.metadata_props.add(key=SECRETS[2], value=SECRETS[0])
    graph.name = SECRETS[0]
    return model


def test_nothing_is_told_about_the_author():
    proto = _talkative()
    assert all(secret.encode() in proto.SerializeToString() for secret in SECRETS)
    content = ir.to_proto(cut(ir.from_proto(proto), "image", "logits")).SerializeToString()
    assert not [secret for secret in (*SECRETS, "stale") if secret.encode() in content]


def test_the_given_model_stays_as_it_is():
    model = ir.from_proto(_talkative())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    cut(model, "image", "logits")
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_the_cut_answers_what_the_value_held():
    model = graphs.two_outputs().model()
    rows = graphs.images(2)
    middle = ir.to_proto(cut(ir.from_proto(model), "image", "auxiliary"))
    assert {tensor.name for tensor in middle.graph.initializer} == {"w0", "w3", "w4"}
    del model.graph.output[0]
    np.testing.assert_array_equal(graphs.answers(middle, rows), graphs.answers(model, rows))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_inner_values_leave_the_reserved_names_free(name):
    graph = graphs.Graph().body().add("Flatten", to=name).dense(to="scores")
    graph.add("Mul", graph.weight(np.float32(2)), to="twice")
    cutting = cut(ir.from_proto(graph.model()), "image", "twice")
    inner = [value.name for node in cutting.graph for value in node.outputs][:-1]
    assert not RESERVED & set(inner)
    assert cutting.graph.outputs[0].name == "network_output"
    rows = graphs.images(2)
    np.testing.assert_array_equal(graphs.answers(cutting, rows), graphs.answers(graph.model(), rows))


def test_an_initializer_under_a_reserved_name_is_renamed_where_it_lives():
    graph = graphs.simple()
    graph.initializers.append(graphs.constant("pixels", np.float32(3)))
    graph.add("Mul", "pixels", to="scores")
    cutting = cut(ir.from_proto(graph.model()), "image", "scores")
    assert "pixels" not in cutting.graph.initializers
    rows = graphs.images(2)
    np.testing.assert_array_equal(graphs.answers(cutting, rows), graphs.answers(graph.model(), rows))


def test_functions_are_written_out():
    twice = helper.make_function(
        "local", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
    )
    model = graphs.simple().add("Twice", domain="local", to="scores").model()
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("local", 1))
    cutting = cut(ir.from_proto(model), "image", "scores")
    assert not cutting.functions
    assert cutting.opset_imports == {"": 17}
    rows = graphs.images(2)
    np.testing.assert_array_equal(graphs.answers(cutting, rows), graphs.answers(model, rows))


def test_an_answer_that_needs_another_input_is_refused():
    with pytest.raises(ContractError, match="'masked' does not follow from input 'image' alone"):
        cut(ir.from_proto(graphs.two_inputs().model()), "image", "masked")


def test_an_answer_that_needs_no_input_is_refused():
    graph = graphs.simple()
    graph.last = graph.weight(graphs.weights((1, graphs.CLASSES), 3))
    model = graph.add("Identity", to="always").model()
    with pytest.raises(ContractError, match="'always' does not depend on input 'image'"):
        cut(ir.from_proto(model), "image", "always")


def test_declared_shapes_are_written_and_read_back():
    model = cut(ir.from_proto(graphs.simple().model()), "image", "logits")
    declare(model, 4, (3, 8, 8), 5)
    assert image_shape(model) == (3, 8, 8)
    assert (list(model.graph.inputs[0].shape), list(model.graph.outputs[0].shape)) == ([4, 3, 8, 8], [4, 5])
    declare(model, None, (3, None, 8), 5)
    assert str(model.graph.inputs[0].shape[0]) == "N"
    assert model.graph.inputs[0].shape[2].value is None
