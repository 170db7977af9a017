"""Finding the logits, and noticing where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
from c2i_fast.types import Preprocessing
from tests.models import graphs

PROBABILITIES = Preprocessing(outputs="probabilities")


def test_of_several_outputs_one_must_be_named():
    with pytest.raises(InputError, match=r"has 2 outputs: logits, auxiliary; say which .* --output NAME"):
        load_classifier(graphs.two_outputs().bytes())


@pytest.mark.parametrize(("name", "index"), [("logits", 0), ("auxiliary", 1)])
def test_the_named_output_is_the_one_that_is_followed(name, index):
    graph = graphs.two_outputs()
    backbone = load_classifier(graph.bytes(), output=name).backbone()
    model = graph.model()
    kept = model.graph.output[index]
    del model.graph.output[:]
    model.graph.output.append(kept)
    rows = graphs.images(2)
    assert len(backbone.graph.outputs) == 1
    np.testing.assert_array_equal(graphs.answers(backbone, rows), graphs.answers(model, rows))


def test_a_name_the_graph_does_not_compute_is_refused_with_those_it_does():
    with pytest.raises(InputError, match="computes no value 'scores'; its outputs are: logits, auxiliary"):
        load_classifier(graphs.two_outputs().bytes(), output="scores")


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid"])
@pytest.mark.parametrize("after", [None, "Identity", "Flatten"])
def test_probabilities_are_refused_and_the_logits_before_them_offered(op, after):
    graph = graphs.simple().add(op)
    if after:
        graph.add(after)
    with pytest.raises(InputError, match=f"comes from a {op}; pass --outputs probabilities or .* --output logits"):
        load_classifier(graph.bytes())


def test_the_offered_name_gives_the_logits():
    rows = graphs.images(2)
    backbone = load_classifier(graphs.softmaxed().bytes(), output="logits").backbone()
    np.testing.assert_array_equal(graphs.answers(backbone, rows), graphs.answers(graphs.simple().model(), rows))
    assert "Softmax" not in {node.op_type for node in backbone.graph}


def test_probabilities_that_are_declared_pass_and_stay_what_they_are():
    classifier = load_classifier(graphs.softmaxed().bytes(), preprocessing=PROBABILITIES)
    assert classifier.contract.preprocessing.outputs == "probabilities"
    sums = graphs.answers(classifier.backbone(), graphs.images(4)).sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


def test_a_softmax_written_out_by_hand_is_seen_in_its_numbers():
    graph = graphs.decomposed_softmax()
    with pytest.raises(InputError, match="outputs are probabilities"):
        load_classifier(graph.bytes())
    assert load_classifier(graph.bytes(), preprocessing=PROBABILITIES).contract.classes == graphs.CLASSES


@pytest.mark.parametrize("second", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("preprocessing", [None, PROBABILITIES])
def test_a_softmax_of_a_softmax_is_refused_whatever_was_declared(second, preprocessing):
    graph = graphs.softmaxed().add("Identity").add(second, axis=1)
    with pytest.raises(InputError, match=f"the {second} of a Softmax; name the logits before both by --output logits"):
        load_classifier(graph.bytes(), preprocessing=preprocessing)


def test_a_log_softmax_counts_as_logits():
    graph = graphs.simple().add("LogSoftmax", axis=1)
    assert load_classifier(graph.bytes()).contract.classes == graphs.CLASSES


def test_trailing_ones_are_flattened_away():
    graph = graphs.unflattened()
    classifier = load_classifier(graph.bytes())
    assert classifier.contract.classes == graphs.CLASSES
    rows = graphs.images(3)
    expected = graphs.answers(graph.model(), rows)
    assert expected.shape == (3, graphs.CLASSES, 1, 1)
    np.testing.assert_array_equal(graphs.answers(classifier.backbone(), rows), expected[:, :, 0, 0])
    assert classifier.backbone().graph.outputs[0].name == "network_output"


def test_a_segmentation_is_no_classifier():
    graph = graphs.Graph()
    graph.add("Conv", graph.weight(graphs.weights((4, 3, 1, 1), 0))).output(shape=("N", 4, 8, 8))
    with pytest.raises(InputError, match=r"must be \(N, K\), .* got \(2, 4, 8, 8\)"):
        load_classifier(graph.bytes())


def test_class_labels_are_no_scores():
    graph = graphs.simple().add("ArgMax", axis=1, keepdims=1)
    graph.output(shape=("N", 1), kind=TensorProto.INT64)
    with pytest.raises(InputError, match="must be float32 scores, got INT64"):
        load_classifier(graph.bytes())
