"""Reading back a fused graph: the contract and the network between two values, whatever was put around it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import helper

from c2i_fast.errors import ContractError, InputError, UsageError
from c2i_fast.models import load_classifier
from c2i_fast.types import GraphContract, Preprocessing
from tests.models import graphs

CONTRACT = GraphContract(
    channels=3,
    space=(8, 8),
    classes=graphs.CLASSES - 1,
    preprocessing=Preprocessing(size=(8, 8), mean=(0.5,), std=(0.25,), drop_class=1),
    calibrator={"method": "temperature", "parameters": {"temperature": 2.0}},
    class_names=("a", "b", "c", "d"),
    opset=17,
    source_sha256="ab" * 32,
)


def _network(graph: graphs.Graph) -> graphs.Graph:
    return graph.body().add("Flatten").dense(to="network_output")


def _fused(contract: GraphContract = CONTRACT, name: str = "network_output") -> onnx.ModelProto:
    """Normalisation, the network, a class dropped, a temperature, a softmax."""
    graph = graphs.Graph(shape=("N", 3, 8, 8), name="pixels")
    graph.add("Sub", graph.weight(np.float32(0.5))).add("Div", graph.weight(np.float32(0.25)), to="normalised")
    graph.body().add("Flatten").dense(to=name)
    ends = [graph.weight(np.array([value])) for value in (1, 100, 1)]
    graph.add("Slice", *ends, to="logits").output(shape=("N", 4))
    graph.add("Div", graph.weight(np.float32(2))).add("Softmax", axis=1, to="probabilities").output(shape=("N", 4))
    model = graph.model()
    helper.set_model_props(model, {"c2i_fast.contract": contract.to_json()})
    return model


def test_the_contract_comes_back_whole():
    classifier = load_classifier(_fused().SerializeToString())
    assert classifier.contract == CONTRACT
    assert classifier.module is None
    assert classifier.notes == ()


def test_the_backbone_is_the_network_alone():
    backbone = load_classifier(_fused().SerializeToString()).backbone()
    assert [node.op_type for node in backbone.graph] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert (backbone.graph.inputs[0].name, backbone.graph.outputs[0].name) == ("normalised", "network_output")
    assert list(backbone.graph.outputs[0].shape)[1] == graphs.CLASSES
    assert not backbone.metadata_props
    rows = graphs.images(3)
    network = graphs.Graph()
    network.initializers += [graphs.constant("offset", np.float32(0)), graphs.constant("scale", np.float32(1))]
    expected = graphs.answers(_network(network).model(), rows)
    np.testing.assert_array_equal(graphs.answers(backbone, rows), expected)


def test_a_file_gives_the_same_as_its_bytes(tmp_path):
    path = tmp_path / "fused.onnx"
    path.write_bytes(_fused().SerializeToString())
    classifier = load_classifier(path)
    assert (classifier.name, classifier.contract) == (str(path), CONTRACT)


@pytest.mark.parametrize("flags", [{"preprocessing": Preprocessing(size=(8, 8))}, {"output": "logits"}])
def test_flags_for_a_fused_file_are_refused(flags):
    with pytest.raises(UsageError, match="carries its own preprocessing"):
        load_classifier(_fused().SerializeToString(), **flags)


@pytest.mark.parametrize(
    "text",
    [
        "{not json",
        "[]",
        "{}",
        json.dumps({**json.loads(CONTRACT.to_json()), "version": 2}),
        json.dumps({**json.loads(CONTRACT.to_json()), "surprise": 1}),
        json.dumps({**json.loads(CONTRACT.to_json()), "preprocessing": {"std": [0.0]}}),
        json.dumps({"version": 1, "preprocessing": {}}),
    ],
)
def test_a_contract_that_cannot_be_read_is_refused(text):
    model = _fused()
    helper.set_model_props(model, {"c2i_fast.contract": text})
    with pytest.raises(ContractError, match="contract in the file cannot be read"):
        load_classifier(model.SerializeToString())


def test_a_graph_without_the_promised_values_is_refused():
    with pytest.raises(ContractError, match="has no value network_output"):
        load_classifier(_fused(name="something_else").SerializeToString())


def test_a_scorer_graph_is_no_classifier():
    scorer = dataclasses.replace(CONTRACT, step_map_dtype="uint8")
    with pytest.raises(InputError, match="is a scorer graph"):
        load_classifier(_fused(scorer).SerializeToString())


def test_a_fixed_batch_is_kept():
    backbone = load_classifier(_fused(dataclasses.replace(CONTRACT, batch=4)).SerializeToString()).backbone()
    assert list(backbone.graph.inputs[0].shape) == [4, 3, 8, 8]
