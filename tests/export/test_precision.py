"""fp16 and int8: what is converted and what is not, how far the answers move, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import ContractError, EngineError, InputError, MissingDependencyError, UsageError
from c2i_fast.export.classifier import export_classifier
from c2i_fast.export.graphs import blend_graph, fused_graph, scorer_graph
from c2i_fast.export.open import GraphOpener, effective_precision, engine_for
from c2i_fast.export.precision import HALF_MAX, IN_FLOAT, at_precision, calibration_batches, converted_for
from c2i_fast.export.save import save_graph
from c2i_fast.export.verify import BOUNDS, verify_fused
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.models import load_classifier
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.perturb.plan import plan_image
from c2i_fast.types import EngineConfig, Preprocessing
from tests import nets

ort = pytest.importorskip("onnxruntime", reason="the converters are onnxruntime's")

ROOT = Path(__file__).resolve().parents[2]
LOW = ("fp16", "int8")
RGB = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = Preprocessing(mean=(0.4, 0.45, 0.5), std=(0.1, 0.2, 0.3), bgr=True, drop_class=2)


def images(count: int = 8, shape: tuple[int, ...] = (3, 9, 7), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def config(precision: str = "fp32", engine: str = "onnxruntime") -> EngineConfig:
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    return EngineConfig(engine=engine, precision=precision, threads=1, batch_size=6)


def answers(classifier, given: np.ndarray, engine: str = "onnxruntime") -> np.ndarray:
    opened = GraphOpener(classifier, config(classifier.contract.precision, engine))
    return opened("fused").run({"pixels": given})["logits"]


def attention_net():
    """What a transformer computes: scores, a Softmax over tokens, a normalisation written out, a quotient."""
    rng = np.random.default_rng(0)

    def body(tape, value):
        tokens = tape.op("Reshape", [value, nets.weights(tape, np.array([-1, 6, 8]), "tokens")])
        keys = tape.op("MatMul", [tokens, nets.weights(tape, rng.normal(size=(8, 8)).astype("f"), "keys")])
        scores = tape.op("MatMul", [tokens, tape.op("Transpose", [keys], {"perm": [0, 2, 1]})])
        scaled = tape.op("Div", [scores, nets.weights(tape, np.array(8**0.5, "f"), "scale")])
        mixed = tape.op("MatMul", [tape.op("Softmax", [scaled], {"axis": -1}), tokens])
        last = nets.weights(tape, np.array([-1], np.int64), "last")
        centred = tape.op("Sub", [mixed, tape.op("ReduceMean", [mixed, last])])
        spread = tape.op("Sqrt", [tape.op("ReduceMean", [tape.op("Mul", [centred, centred]), last])])
        flat = tape.op("Flatten", [tape.op("Div", [centred, spread])])
        return tape.op("Gemm", [flat, nets.weights(tape, rng.normal(size=(48, 4)).astype("f"), "matrix")])

    return nets.classifier(body, 1, (6, 8), 4)


def types(model: ir.Model) -> dict[str, int]:
    """The element type of every value, by strict inference over the whole graph."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model), check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(proto)
    found = {value.name: value.type.tensor_type.elem_type for value in (*proto.graph.value_info, *proto.graph.input)}
    found |= {value.name: value.type.tensor_type.elem_type for value in proto.graph.output}
    return found | {tensor.name: tensor.data_type for tensor in proto.graph.initializer}


def halves(model: ir.Model) -> list[ir.Node]:
    """The nodes that compute in half (a Cast computes nothing)."""
    kinds = types(model)
    return [
        node
        for node in model.graph
        if node.op_type != "Cast" and any(kinds[v.name] == onnx.TensorProto.FLOAT16 for v in node.outputs)
    ]


def graphs(classifier, calibrator=None) -> list[ir.Model]:
    backbone, contract = classifier.backbone(), classifier.contract
    return [build(backbone, contract, calibrator) for build in (fused_graph, scorer_graph, blend_graph)]


# -------------------------------------------------------------------------------- what at_precision returns


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_fp32_and_bf16_are_no_conversion(precision):
    classifier = nets.conv_net()
    assert at_precision(classifier, precision) is classifier


@pytest.mark.parametrize("precision", LOW)
def test_the_contract_says_the_precision_and_nothing_else_changes(precision):
    classifier = nets.conv_net(preprocessing=CAFFE, torch=False)
    before = ir.to_proto(classifier.backbone()).SerializeToString()
    low = at_precision(classifier, precision, images())
    assert low.contract.precision == precision
    kept = {"channels", "space", "classes", "preprocessing", "activation", "batch", "source_sha256"}
    assert all(getattr(low.contract, name) == getattr(classifier.contract, name) for name in kept)
    assert low.module is None
    assert [value.name for value in (*low.backbone().graph.inputs, *low.backbone().graph.outputs)] == [
        "normalised",
        "network_output",
    ]
    assert ir.to_proto(classifier.backbone()).SerializeToString() == before, "the fp32 network stays as it is"
    assert at_precision(low, precision) is low


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize(("precision", "apart"), [("fp16", 3e-3), ("int8", 5e-2)])
def test_answers_are_close_to_fp32_and_not_the_same(precision, apart, batch):
    classifier = nets.conv_net(preprocessing=RGB, batch=batch)
    given = images(4)
    exact = answers(classifier, given)
    low = answers(at_precision(classifier, precision, given), given)
    difference = np.abs(low - exact).max() / np.abs(exact).max()
    assert 0 < difference < apart


def test_openvino_runs_the_int8_graph_as_onnxruntime_does():
    classifier = at_precision(nets.conv_net(), "int8", images())
    given = images(16, seed=1)
    first, second = (answers(classifier, given, engine) for engine in ("onnxruntime", "openvino"))
    # A value on the edge between two of 255 steps may fall to either side.
    assert np.abs(first - second).max() < 0.03 * np.abs(first).max()


def test_for_tensorrt_activations_are_signed_and_about_zero():
    classifier, given = nets.conv_net(preprocessing=RGB), images(4)
    for made in (
        at_precision(classifier, "int8", given, symmetric=True),
        converted_for(classifier, EngineConfig(engine="tensorrt", device="cuda", precision="int8"), given),
    ):
        graph = made.backbone().graph
        points = {node.inputs[2].name for node in graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
        zeros = [graph.initializers[name].const_value.numpy() for name in points]
        assert {zero.dtype.name for zero in zeros} <= {"int8", "int32"}  # int32: biases, scaled as their products
        assert not any(zero.any() for zero in zeros)
        exact = answers(classifier, given)
        assert 0 < np.abs(answers(made, given) - exact).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_masks_are_made_in_the_graph_as_by_numpy(precision, engine):
    if (precision, engine) == ("fp16", "openvino"):
        pytest.skip("openvino has no fp16 here")
    low = at_precision(nets.conv_net(preprocessing=CAFFE), precision, images())
    settings = config(precision, engine)
    graph = GraphPasses(GraphOpener(low, settings), low.contract, 6)
    reference = ReferencePasses(GraphOpener(low, settings), low.contract, 6)
    protocols = [protocol_for("c2i", name, {"intervals": "8"}) for name in ("deletion", "insertion")]
    planned = plan_image(images(1)[0], {"map": images(1, (9, 7), seed=1)[0]}, protocols, CAFFE)
    exact = reference.select(planned.plans, planned.work)
    scale = np.abs(exact).max()
    # A rounding of the last bit before a Q node may move its answer by one step of 255.
    allowed = {"fp16": 2e-3, "int8": 2e-2}[precision] * scale
    np.testing.assert_allclose(graph.select(planned.plans, planned.work), exact, rtol=0, atol=allowed)
    work = np.array([[0, 0], [0, 1], [0, 2]], np.int32)
    grids, axes = soft_masks()
    found, wanted = (passes.blend(planned.plans, grids, axes, work) for passes in (graph, reference))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed)


def soft_masks() -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(2)
    return rng.random((3, 2, 2), np.float32), [rng.dirichlet(np.ones(2), (3, n)).astype("f") for n in (9, 7)]


# -------------------------------------------------------------------------------- fp16


@pytest.mark.parametrize("make", [nets.conv_net, attention_net])
def test_softmax_quotients_and_sums_are_never_computed_in_half_and_the_head_is_fp32(make):
    classifier = make()
    low = at_precision(classifier, "fp16")
    for model in graphs(low, Temperature.from_parameters({"temperature": 2.0})):
        computed = halves(model)
        assert {"Gemm"} <= {node.op_type for node in computed}, "it is in half at all"
        assert not {node.op_type for node in computed} & set(IN_FLOAT)
        kinds = types(model)
        nodes = list(model.graph)
        end = next(i for i, node in enumerate(nodes) if "network_output" in {v.name for v in node.outputs})
        head = [v.name for node in nodes[end:] for v in node.outputs]
        assert {kinds[name] for name in head} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
        assert {"Div", "Softmax"} <= {node.op_type for node in nodes[end:]}
        for value in model.graph.inputs:
            assert kinds[value.name] != onnx.TensorProto.FLOAT16


def test_nodes_that_stay_float_hand_floats_to_each_other():
    """Two that follow each other would else lose 13 bits in between, for a Cast there and a Cast back."""
    model = at_precision(attention_net(), "fp16").backbone()
    for node in model.graph:
        if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
            assert node.inputs[0].producer().op_type not in IN_FLOAT
            assert node.inputs[0].producer().op_type != "Cast"
    given = images(6, (1, 6, 8))
    exact = answers(attention_net(), given)
    assert np.abs(answers(at_precision(attention_net(), "fp16"), given) - exact).max() < 5e-3 * np.abs(exact).max()


def test_small_probabilities_survive_where_the_network_ends_in_a_softmax():
    """Half has nothing below 6e-8, and the logarithm is taken of what the network answers."""

    def body(tape, value):
        flat = tape.op("Flatten", [value])
        scores = tape.op("Gemm", [flat, nets.weights(tape, np.diag([1, -20, -30]).astype("f"), "matrix")])
        return tape.op("Softmax", [scores], {"axis": 1})

    classifier = nets.classifier(body, 1, (1, 3), 3, preprocessing=Preprocessing(outputs="probabilities"))
    given = np.ones((1, 1, 1, 3), np.float32)
    np.testing.assert_allclose(answers(at_precision(classifier, "fp16"), given), [[0, -21, -31]], atol=1e-3)


def test_weights_are_stored_in_half():
    low = at_precision(nets.conv_net(), "fp16").backbone().graph.initializers
    whole = nets.conv_net().backbone().graph.initializers
    for name in ("kernel", "matrix"):
        tensor = low[name].const_value
        assert tensor.dtype == ir.DataType.FLOAT16
        np.testing.assert_array_equal(tensor.numpy(), whole[name].const_value.numpy().astype(np.float16))


@pytest.mark.parametrize(("largest", "refused"), [(HALF_MAX, False), (65600, True), (-1e6, True), (-np.inf, False)])
def test_weights_beyond_half_are_refused_by_name(largest, refused):
    matrix = np.zeros((2, 4), np.float32)
    matrix[1, 2] = largest
    classifier = nets.linear_net(matrix, np.zeros(2), 1, (2, 2))
    if not refused:
        at_precision(classifier, "fp16")
        return
    said = f"linear: weight 'matrix' holds {abs(largest):.4g}, and fp16 ends at 65504"
    with pytest.raises(InputError, match=re.escape(said)):
        at_precision(classifier, "fp16")


def test_constants_are_weights_too():
    def body(tape, value):
        huge = tape.op("Constant", [], {"value": ir.tensor(np.array([7e4], np.float32), name="huge")})
        huge.name = "huge_constant"
        return tape.op("Flatten", [tape.op("Add", [value, huge])])

    with pytest.raises(InputError, match="weight 'huge_constant' holds 7e"):
        at_precision(nets.classifier(body, 1, (2, 2), 4), "fp16")


def test_a_large_number_that_stays_float_is_no_obstacle():
    def body(tape, value):
        return tape.op("Flatten", [tape.op("Div", [value, nets.weights(tape, np.array([1e5], np.float32), "huge")])])

    classifier = nets.classifier(body, 1, (2, 2), 4)
    given = images(2, (1, 2, 2))
    np.testing.assert_allclose(answers(at_precision(classifier, "fp16"), given), given.reshape(2, 4) / 1e5, atol=6e-8)


def test_a_result_of_two_types_is_refused_in_one_line(monkeypatch):
    """As converters have made: one side of a node in half, the other in float."""
    from onnxruntime.transformers import float16

    def half_done(model, **_):
        (tensor,) = (t for t in model.graph.initializer if t.name == "matrix")
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), "matrix"))
        return model

    monkeypatch.setattr(float16, "convert_float_to_float16", half_done)
    with pytest.raises(ContractError, match=r"^conv 0 cannot be brought to fp16: .*; use fp32$") as caught:
        at_precision(nets.conv_net(), "fp16")
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------- int8


def test_products_lie_between_dequantised_values_with_one_scale_a_channel():
    classifier = nets.conv_net()
    model = at_precision(classifier, "int8", images()).backbone()
    onnx.checker.check_model(ir.to_proto(model))
    products = [node for node in model.graph if node.op_type in ("Conv", "Gemm")]
    assert len(products) == 2
    for node in products:
        assert {value.producer().op_type for value in node.inputs[:2]} == {"DequantizeLinear"}
    assert [value.name for value in model.graph.inputs] == ["normalised"]
    kernel = nets.conv_weights(3, 2, 5, 0)[0]
    stored = products[0].inputs[1].producer()
    levels, scales = (stored.inputs[i].const_value.numpy() for i in (0, 1))
    assert levels.dtype == np.int8
    np.testing.assert_allclose(scales, np.abs(kernel).max(axis=(1, 2, 3)) / 127, rtol=1e-5)
    np.testing.assert_array_equal(levels, np.round(kernel / scales.reshape(-1, 1, 1, 1)))


def test_masked_images_are_among_those_that_ranges_are_taken_from():
    """A layer that answers 10 − x: on clean images, all near 5, up to 6; on a wholly masked one 10."""

    def body(tape, value):
        wired = [
            nets.weights(tape, np.full((1, 1, 1, 1), -1, "f"), "kernel"),
            nets.weights(tape, np.full(1, 10, "f"), "b"),
        ]
        flat = tape.op("Flatten", [tape.op("Conv", [value, *wired])])
        return tape.op("Gemm", [flat, nets.weights(tape, np.eye(4, dtype="f"), "matrix")])

    classifier = nets.classifier(body, 1, (2, 2), 4)
    given = 4 + images(6, (1, 2, 2))
    model = at_precision(classifier, "int8", given).backbone()
    (product,) = (node for node in model.graph if node.op_type == "Conv")
    ((after, _),) = product.outputs[0].uses()
    assert after.op_type == "QuantizeLinear"
    assert after.inputs[1].const_value.numpy() == pytest.approx(10 / 255, rel=1e-3)
    masked = np.zeros((1, 1, 2, 2), np.float32)
    np.testing.assert_allclose(answers(at_precision(classifier, "int8", given), masked), 10, atol=0.1)


@pytest.mark.parametrize("preprocessing", [Preprocessing(), RGB, CAFFE])
def test_calibration_shows_each_image_whole_half_masked_and_masked(preprocessing):
    contract = nets.conv_net(preprocessing=preprocessing, space=(40, 30)).contract
    given = images(3, (3, 40, 30))
    mean, std = (v.reshape(3, 1, 1) for v in preprocessing.channel_stats(3))
    batches = list(calibration_batches(contract, given))
    assert [batch.shape for batch in batches] == [(3, 3, 40, 30)] * 3
    for image, (whole, half, none) in zip(given, batches, strict=True):
        expected = ((image - mean) / std)[:: -1 if preprocessing.bgr else 1]
        np.testing.assert_allclose(whole, expected, rtol=1e-6)
        assert not none.any()
        hidden = np.all(half == 0, axis=0)
        assert 0.4 < hidden.mean() < 0.6
        np.testing.assert_array_equal(half, np.where(hidden, 0, whole), "all channels of a pixel together")
    again = list(calibration_batches(contract, given[:2]))
    np.testing.assert_array_equal(again, batches[:2])
    assert ((batches[0][1] == 0) != (batches[1][1] == 0)).any(), "every image has its own mask"


def test_a_fixed_batch_is_filled():
    contract = nets.conv_net(batch=2).contract
    batches = list(calibration_batches(contract, images(2)))
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    np.testing.assert_array_equal(batches[1][0], batches[1][1])


def test_the_same_images_give_the_same_bytes_in_another_process():
    """A resumed run quantises again: Python's random hashes must play no part."""
    code = (
        "import hashlib, numpy as np, onnx_ir as ir; from tests import nets;"
        "from c2i_fast.export.precision import at_precision;"
        "x = np.random.default_rng(0).random((4, 3, 9, 7), np.float32);"
        "ms = [at_precision(nets.conv_net(), p, x).backbone() for p in ('fp16', 'int8') for _ in range(2)];"
        "print(*[hashlib.sha256(ir.to_proto(m).SerializeToString()).hexdigest() for m in ms])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (line,) = said
    half, half_again, eight_bits, eight_bits_again = line.split()
    assert half == half_again
    assert eight_bits == eight_bits_again


def test_other_images_give_other_scales():
    first, second = (at_precision(nets.conv_net(), "int8", k * images()).backbone() for k in (1, 2))
    assert ir.to_proto(first).SerializeToString() != ir.to_proto(second).SerializeToString()


def test_int8_without_an_image_says_what_to_give():
    with pytest.raises(InputError, match=r"int8 needs images.*--calibration-images SRC"):
        at_precision(nets.conv_net(), "int8")


def test_images_of_another_shape_are_named():
    with pytest.raises(InputError, match=r"takes images of shape \(3, 9, 7\), got \(3, 5, 5\)"):
        at_precision(nets.conv_net(), "int8", images(1, (3, 5, 5)))


def test_a_network_without_products_has_nothing_to_quantise():
    with pytest.raises(ContractError, match="identity has no layer that int8 takes on"):
        at_precision(nets.identity_net(1, (2, 2)), "int8", images(2, (1, 2, 2)))


# -------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("precision", LOW)
def test_without_onnxruntime_its_install_line_is_said(precision, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"onnxruntime is not installed.*c2i-fast\[cpu\]"):
        at_precision(nets.conv_net(), precision, images())


@pytest.mark.parametrize("precision", LOW)
def test_weights_above_protobufs_limit_are_refused(precision, monkeypatch):
    monkeypatch.setattr("c2i_fast.export.precision.INLINE_BYTES", 100)
    with pytest.raises(InputError, match="conv 0 has weights of 2 GiB or more"):
        at_precision(nets.conv_net(), precision, images())


def test_a_low_precision_that_was_never_converted_to_is_not_run_in_fp32():
    for precision in LOW:
        with pytest.raises(EngineError, match=f"conv 0 is in fp32, not {precision}"):
            GraphOpener(nets.conv_net(), config(precision))


def test_torch_is_given_its_module_as_it_is():
    classifier = nets.conv_net()
    for engine, kept in (("torch", True), ("onnxruntime", False)):
        given = converted_for(classifier, EngineConfig(engine=engine, precision="fp16"))
        assert (given is classifier) == kept


def test_what_is_in_one_low_precision_stays_in_it():
    low = at_precision(nets.conv_net(), "int8", images())
    assert effective_precision(low.contract, "fp32") == effective_precision(low.contract, "int8") == "int8"
    assert effective_precision(nets.conv_net().contract, "bf16") == "bf16"
    for asked in ("fp16", "bf16"):
        with pytest.raises(UsageError, match=f"is in int8 and cannot be run in {asked}; give the fp32 model"):
            at_precision(low, asked)
    choice = engine_for(low, "onnxruntime")
    assert choice.config.precision == "int8"
    assert "the file is in int8, which applies whatever --precision says" in choice.reason


# -------------------------------------------------------------------------------- files


@pytest.mark.parametrize("precision", LOW)
def test_an_exported_file_is_what_was_converted_and_is_read_back(precision, tmp_path):
    classifier = nets.conv_net(preprocessing=RGB)
    calibrator = Temperature.from_parameters({"temperature": 2.0})
    report = export_classifier(
        classifier, tmp_path / "low.onnx", calibrator=calibrator, precision=precision, images=images(), scorer=True
    )
    content = json.loads(onnx.load(tmp_path / "low.onnx").metadata_props[0].value)
    assert report.to_dict()["precision"] == content["precision"] == precision
    assert report.scorer.exists()
    again = load_classifier(tmp_path / "low.onnx")
    assert again.contract.precision == precision
    given = images(5, seed=3)
    np.testing.assert_allclose(
        answers(again, given), answers(at_precision(classifier, precision, images()), given), rtol=1e-6
    )
    copied = export_classifier(again, tmp_path / "copy.onnx")
    assert copied.contract.precision == precision, "fp32 is the default, and no return"


def test_bf16_is_no_file_format(tmp_path):
    with pytest.raises(UsageError, match=r"bf16 is no file format here.*score --precision bf16"):
        export_classifier(nets.conv_net(), tmp_path / "low.onnx", precision="bf16")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", LOW)
def test_another_network_is_found_out_in_any_precision(precision, tmp_path):
    low = at_precision(nets.conv_net(seed=1), precision, images())
    save_graph(fused_graph(low.backbone(), low.contract, None), tmp_path / "low.onnx", low.contract)
    with pytest.raises(ContractError):
        verify_fused(tmp_path / "low.onnx", nets.conv_net(seed=0), None, precision=precision, images=list(images()))
    found = verify_fused(tmp_path / "low.onnx", nets.conv_net(seed=1), None, precision=precision, images=list(images()))
    assert 0 < found.max_abs_dprob <= BOUNDS[precision].probability


def test_nan_is_an_error_in_every_precision(tmp_path):
    matrix = np.ones((2, 4), np.float32)
    finite = nets.linear_net(matrix, np.zeros(2), 1, (2, 2))
    matrix[0, 0] = np.nan
    poisoned = nets.linear_net(matrix, np.zeros(2), 1, (2, 2))
    save_graph(fused_graph(poisoned.backbone(), poisoned.contract, None), tmp_path / "bad.onnx", poisoned.contract)
    for precision in BOUNDS:
        with pytest.raises(ContractError, match="NaN or infinity"):
            verify_fused(tmp_path / "bad.onnx", finite, None, precision=precision)


def test_an_overflow_on_the_way_is_found_by_the_verification_and_leaves_no_file(tmp_path):
    """Every weight fits into half, their product does not."""

    def body(tape, value):
        large = tape.op("Mul", [value, nets.weights(tape, np.array([6e4], np.float32), "up")])
        larger = tape.op("Mul", [large, nets.weights(tape, np.array([6e4], np.float32), "further")])
        return tape.op("Flatten", [tape.op("Mul", [larger, nets.weights(tape, np.array([1e-9], np.float32), "down")])])

    classifier = nets.classifier(body, 1, (2, 2), 4)
    export_classifier(classifier, tmp_path / "whole.onnx")
    with pytest.raises(ContractError, match="nothing was written"):
        export_classifier(classifier, tmp_path / "half.onnx", precision="fp16")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.onnx"]


# -------------------------------------------------------------------------------- real networks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "engine"), [("fp16", "onnxruntime"), ("int8", "onnxruntime"), ("int8", "openvino")]
)
def test_a_real_network_keeps_its_accuracy(assets, precision, engine):
    from c2i_fast.models.preprocess import find_recipe, load_recipe

    recipe = load_recipe(find_recipe("cifar10-imagenet-stats"))
    classifier = load_classifier(assets / "models/cifar10/resnet20.onnx", preprocessing=recipe)
    content = np.load(assets / "images/cifar10_test.npz")
    pixels = content["images"][:532].transpose(0, 3, 1, 2).astype(np.float32) / 255
    calibration, given, labels = pixels[:32], pixels[32:], content["labels"][32:532]
    exact = answers(classifier, given)
    low = answers(at_precision(classifier, precision, calibration), given, engine)
    agreement = (exact.argmax(1) == low.argmax(1)).mean()
    assert agreement >= {"fp16": 0.998, "int8": 0.97}[precision]
    accuracies = [(logits.argmax(1) == labels).mean() for logits in (exact, low)]
    assert abs(accuracies[0] - accuracies[1]) <= 0.015
