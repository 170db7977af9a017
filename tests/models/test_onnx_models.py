"""Foreign ONNX graphs: what is accepted answers as before; what is not is refused in a line that says what to do."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from c2i_fast.errors import ContractError, InputError
from c2i_fast.models import load_classifier, onnx_models
from c2i_fast.types import Preprocessing
from tests.models import graphs


def test_a_plain_graph_is_taken_as_it_is():
    graph = graphs.simple()
    classifier = load_classifier(graph.bytes())
    contract = classifier.contract
    assert (contract.channels, contract.space, contract.classes) == (3, (8, 8), graphs.CLASSES)
    assert (contract.batch, contract.opset, contract.calibrator) == (None, 17, None)
    assert contract.preprocessing == Preprocessing(size=(8, 8))
    assert contract.source_sha256 == hashlib.sha256(graph.bytes()).hexdigest()
    assert classifier.module is None
    batch = graphs.images(3)
    np.testing.assert_array_equal(graphs.answers(classifier.backbone(), batch), graphs.answers(graph.model(), batch))


def test_the_backbone_has_the_promised_names_and_shapes_and_is_made_once():
    classifier = load_classifier(graphs.simple().bytes())
    backbone = classifier.backbone()
    assert backbone is classifier.backbone()
    (source,), (result,) = backbone.graph.inputs, backbone.graph.outputs
    assert (source.name, result.name) == ("normalised", "network_output")
    assert (source.dtype, result.dtype) == (ir.DataType.FLOAT, ir.DataType.FLOAT)
    assert [str(size) for size in source.shape] == ["N", "3", "8", "8"]
    assert [str(size) for size in result.shape] == ["N", str(graphs.CLASSES)]


def test_without_preprocessing_a_note_says_that_nothing_is_normalised():
    assert "no normalisation" in load_classifier(graphs.simple().bytes()).notes[0]
    assert load_classifier(graphs.simple().bytes(), preprocessing=Preprocessing(mean=(0.5,))).notes == ()


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17])
def test_old_opsets_come_to_thirteen_and_answer_the_same(opset):
    graph = graphs.old(opset)
    classifier = load_classifier(graph.bytes())
    assert classifier.contract.opset == max(opset, 13)
    assert classifier.backbone().opset_imports == {"": max(opset, 13)}
    batch = graphs.images(3)
    expected = graphs.answers(graph.model(), batch)
    np.testing.assert_allclose(graphs.answers(classifier.backbone(), batch), expected, rtol=1e-5, atol=1e-6)


def test_an_opset_before_seven_is_refused():
    with pytest.raises(InputError, match="opset 6 is too old"):
        load_classifier(graphs.simple(6).bytes())


def test_an_operator_that_cannot_be_converted_is_named():
    with pytest.raises(ContractError, match=r"opset 7 .* because of operator BatchNormalization: Attribute spatial"):
        load_classifier(graphs.spatial_batch_norm().bytes())


def test_a_conversion_that_changes_the_answer_is_refused(monkeypatch):
    def damaged(model, name):
        model = model.clone()
        value = model.graph.initializers["w0"]
        value.const_value = ir.tensor(value.const_value.numpy() * 1.01, name="w0")
        return model

    monkeypatch.setattr("c2i_fast.models.opset._converted", damaged)
    with pytest.raises(ContractError, match="its answers differ"):
        load_classifier(graphs.simple(11).bytes())


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_batch_is_freed_reshapes_included(batch):
    graph = graphs.reshaped(batch)
    classifier = load_classifier(graph.bytes())
    assert classifier.contract.batch is None
    assert str(classifier.backbone().graph.inputs[0].shape[0]) == "N"
    rows = graphs.images(7)
    own = [graphs.answers(graph.model(), np.repeat(rows[i : i + 1], batch, axis=0))[:1] for i in range(7)]
    np.testing.assert_allclose(graphs.answers(classifier.backbone(), rows), np.concatenate(own), rtol=1e-5, atol=1e-6)


def test_a_batch_that_cannot_be_freed_stays_and_is_said():
    graph = graphs.bound_to_its_batch(4)
    classifier = load_classifier(graph.bytes())
    assert classifier.contract.batch == 4
    assert "batches of 4" in classifier.notes[-1]
    assert list(classifier.backbone().graph.inputs[0].shape) == [4, 3, 8, 8]
    batch = graphs.images(4)
    np.testing.assert_array_equal(graphs.answers(classifier.backbone(), batch), graphs.answers(graph.model(), batch))


def test_a_batch_whose_rows_answer_differently_is_refused():
    """Masked images are packed in any order: their scores would depend on it."""
    with pytest.raises(ContractError, match="scores change with the other images of its batch"):
        load_classifier(graphs.tied_to_its_batch(4).bytes())


def test_two_inputs_are_named_and_refused():
    with pytest.raises(InputError, match="has 2: image, mask"):
        load_classifier(graphs.two_inputs().bytes())


def test_initializers_listed_among_the_inputs_are_no_inputs():
    graph = graphs.simple(8)
    model = graph.model(ir_version=3)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    classifier = load_classifier(model.SerializeToString())
    assert [value.name for value in classifier.backbone().graph.inputs] == ["normalised"]


def _with_input(kind=TensorProto.FLOAT, shape=("N", 3, 8, 8)):
    model = graphs.simple().model()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", kind, shape))
    return ir.from_proto(model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_with_input(TensorProto.FLOAT16), "must be float32, got FLOAT16; export it in fp32"),
        (_with_input(TensorProto.UINT8), "must be float32, got UINT8"),
        (_with_input(shape=("N", 3)), r"must be \(N, C, H, W\) or \(N, C, T\), got \(N, 3\)"),
        (_with_input(shape=None), "got no shape at all"),
        (_with_input(shape=("N", "C", 8, 8)), "fixed number of channels"),
        (_with_input(shape=("N", "H", "W", 3)), "channels last"),
        (_with_input(shape=("N", 8, 8, 1)), "channels last"),
    ],
)
def test_inputs_that_are_no_image_batch_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        onnx_models.from_onnx(model, name="net.onnx", sha256="")


def test_a_working_channels_last_network_is_refused_too():
    with pytest.raises(InputError, match="channels last"):
        load_classifier(graphs.channels_last().bytes())


def test_a_signal_network_has_one_space_axis():
    classifier = load_classifier(graphs.signal().bytes())
    assert (classifier.contract.channels, classifier.contract.space) == (2, (16,))
    rows = graphs.images(3, (2, 16))
    np.testing.assert_array_equal(
        graphs.answers(classifier.backbone(), rows), graphs.answers(graphs.signal().model(), rows)
    )


def test_a_size_that_contradicts_the_graph_is_refused():
    with pytest.raises(InputError, match="takes images of 8×8, but --size says 9×8"):
        load_classifier(graphs.simple().bytes(), preprocessing=Preprocessing(size=(9, 8)))


def test_an_open_size_must_be_said():
    graph = graphs.Graph(shape=("N", 3, "H", "W")).classifier()
    with pytest.raises(InputError, match=r"leaves the image size open \?×\?; say it, e.g. --size 224"):
        load_classifier(graph.bytes())
    classifier = load_classifier(graph.bytes(), preprocessing=Preprocessing(size=(6, 10)))
    assert classifier.contract.space == (6, 10)
    assert list(classifier.backbone().graph.inputs[0].shape)[1:] == [3, 6, 10]


def test_zero_and_minus_one_are_dynamic_sizes_too():
    graph = graphs.Graph(shape=(-1, 3, 8, 8)).classifier()
    assert load_classifier(graph.bytes()).contract.batch is None


def test_statistics_for_other_channels_are_refused():
    with pytest.raises(InputError, match="have 3 values, but the network takes 2 channels"):
        load_classifier(graphs.signal().bytes(), preprocessing=Preprocessing(mean=(0.1, 0.2, 0.3)))


def test_dropped_classes_are_left_out_of_the_count_but_stay_in_the_backbone():
    classifier = load_classifier(graphs.simple().bytes(), preprocessing=Preprocessing(drop_class=1))
    assert classifier.contract.classes == graphs.CLASSES - 1
    assert graphs.answers(classifier.backbone(), graphs.images(2)).shape == (2, graphs.CLASSES)
    with pytest.raises(InputError, match="at least 2 classes"):
        load_classifier(graphs.simple().bytes(), preprocessing=Preprocessing(drop_class=4))


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(ContractError, match="export the network in eval mode"):
        load_classifier(graphs.averaged_over_the_batch().bytes())


def test_weights_that_give_nan_are_refused():
    graph = graphs.simple()
    graph.add("Mul", graph.weight(np.float32(np.nan)))
    with pytest.raises(ContractError, match="NaN"):
        load_classifier(graph.bytes())


def test_an_operator_that_no_engine_knows_is_refused_in_one_line():
    graph = graphs.simple().add("Wishful", domain="nowhere", to="scores")
    model = graph.model()
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    with pytest.raises(ContractError, match="cannot be opened") as caught:
        load_classifier(model.SerializeToString())
    assert "\n" not in str(caught.value)


def test_without_onnxruntime_the_reference_answers_and_a_fixed_batch_stays(monkeypatch):
    monkeypatch.setattr("c2i_fast.models.running.have_onnxruntime", lambda: False)
    monkeypatch.setattr("c2i_fast.models.onnx_models.have_onnxruntime", lambda: False)
    assert load_classifier(graphs.old(9).bytes()).contract.classes == graphs.CLASSES
    fixed = load_classifier(graphs.reshaped(2).bytes())
    assert fixed.contract.batch == 2
    assert "onnxruntime is needed" in fixed.notes[-1]
