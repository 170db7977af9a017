"""The three graphs of one backbone: valid ONNX, the promised names and shapes, and all the same function."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.export.graphs import CONTRACT_KEY, blend_graph, fused_graph, scorer_graph
from c2i_fast.models import load_classifier
from c2i_fast.types import GraphContract, Preprocessing
from tests import nets

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

RGB = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
CAFFE = Preprocessing(mean=(0.4, 0.45, 0.5), std=(0.0039, 0.1, 0.7), bgr=True, drop_class=2)
NETS = {
    "rgb": lambda **o: nets.conv_net(3, (6, 5), preprocessing=RGB, **o),
    "caffe": lambda **o: nets.conv_net(3, (5, 6), preprocessing=CAFFE, **o),
    "bare": lambda **o: nets.conv_net(1, (4, 4), **o),
    "signal": lambda **o: nets.conv_net(2, (11,), preprocessing=Preprocessing(mean=(0.2,), std=(0.5, 2.0)), **o),
    "fixed": lambda **o: nets.conv_net(3, (6, 5), preprocessing=RGB, batch=6, **o),
    "sigmoid": lambda **o: nets.conv_net(3, (6, 5), activation="sigmoid", **o),
    "identity": lambda **o: nets.identity_net(3, (2, 3), preprocessing=RGB, **o),
}
OPSETS = (13, 17, 20)
KINDS = {
    "fused": fused_graph,
    "uint8": lambda b, c, k: scorer_graph(b, c, k, "uint8"),
    "uint16": lambda b, c, k: scorer_graph(b, c, k, "uint16"),
    "int32": lambda b, c, k: scorer_graph(b, c, k, "int32"),
    "blend": blend_graph,
}


def graph_of(classifier, kind: str, calibrator=None) -> ir.Model:
    return KINDS[kind](classifier.backbone(), classifier.contract, calibrator)


def run(model: ir.Model, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def pixels(contract, count=6, seed=0) -> np.ndarray:
    shape = (contract.batch or count, contract.channels, *[s or 5 for s in contract.space])
    return np.random.default_rng(seed).random(shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------ what the files say


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("net", NETS)
def test_graphs_pass_the_full_checker_at_every_opset(net, opset, kind):
    classifier = NETS[net](opset=opset)
    proto = ir.to_proto(graph_of(classifier, kind, Temperature.from_parameters({"temperature": 1.7})))
    onnx.checker.check_model(proto, full_check=True)
    assert {i.domain: i.version for i in proto.opset_import} == {"": opset}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", NETS)
def test_the_cut_points_exist_once_and_every_name_is_unique(net, kind):
    """Backbones use the names onnx_ir gives by itself (`val_0`, as torch's exporter does): nothing may collide."""
    classifier = NETS[net]()
    assert (
        any(value.name == "val_0" for node in classifier.backbone().graph for value in node.outputs)
        or net == "identity"
    )
    graph = graph_of(classifier, kind, Temperature.from_parameters({"temperature": 0.1})).graph
    values = Counter(value.name for node in graph for value in node.outputs)
    values.update(value.name for value in graph.inputs)
    values.update(list(graph.initializers))
    assert values["normalised"] == values["network_output"] == 1
    assert [name for name, count in values.items() if count > 1] == []
    assert None not in values
    nodes = Counter(node.name for node in graph)
    assert [name for name, count in nodes.items() if count > 1] == []


@pytest.mark.parametrize("net", NETS)
def test_inputs_and_outputs_are_those_of_the_contract(net):
    classifier = NETS[net]()
    c = classifier.contract
    image = [c.channels, *c.space]
    grid, axes = [f"G{d}" for d in range(len(c.space))], len(c.space)
    rows = c.batch or "N"
    expected = {
        "fused": {"pixels": ("FLOAT", [rows, *image])},
        "uint16": {
            "start": ("FLOAT", ["N", *image]),
            "end": ("FLOAT", ["N", *image]),
            "step_map": ("UINT16", ["N", "M", *c.space]),
            "steps": ("INT32", ["N", "S"]),
        },
        "blend": {
            "start": ("FLOAT", ["N", *image]),
            "end": ("FLOAT", ["N", *image]),
            "grids": ("FLOAT", ["N", "S", *grid]),
            **{f"axis_{d}": ("FLOAT", ["N", "S", c.space[d], grid[d]]) for d in range(axes)},
        },
    }
    for kind, inputs in expected.items():
        model = graph_of(classifier, kind)
        assert {v.name: (v.dtype.name, _shape(v)) for v in model.graph.inputs} == inputs
        leading = [rows] if kind == "fused" else ["N", "S"]
        outputs = {"logits": ("FLOAT", [*leading, c.classes]), "probabilities": ("FLOAT", [*leading, c.classes])}
        assert {v.name: (v.dtype.name, _shape(v)) for v in model.graph.outputs} == outputs


def _shape(value: ir.Value) -> list:
    return [size if isinstance(size, int) else size.value for size in value.shape]


@pytest.mark.parametrize("step_type", ["uint8", "uint16", "int32"])
def test_step_maps_have_the_type_asked_for(step_type):
    classifier = NETS["bare"]()
    kinds = {v.name: v.dtype.name.lower() for v in graph_of(classifier, step_type).graph.inputs}
    assert kinds["step_map"] == step_type


@pytest.mark.parametrize("kind", KINDS)
def test_building_a_graph_is_repeatable_and_leaves_the_backbone_alone(kind):
    classifier = NETS["rgb"]()
    before = ir.to_proto(classifier.backbone()).SerializeToString()
    first, second = (ir.to_proto(graph_of(classifier, kind)).SerializeToString() for _ in range(2))
    assert first == second
    assert ir.to_proto(classifier.backbone()).SerializeToString() == before


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_tell_nothing_of_where_they_were_made(kind):
    graph = graph_of(NETS["rgb"](), kind).graph
    assert not graph.doc_string
    for node in graph:
        assert not node.doc_string
        assert not node.metadata_props


def test_a_bare_net_gets_no_arithmetic_it_does_not_need():
    kinds = [node.op_type for node in graph_of(NETS["bare"](), "fused").graph]
    assert "Sub" not in kinds
    assert "Div" not in kinds
    assert "Gather" not in kinds


# ------------------------------------------------------------------------------------------------ what they compute


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("net", NETS)
def test_fused_logits_are_the_networks_answer_to_normalised_pixels(net, opset):
    """By loops in float64: (pixel − mean) / std, channels reversed, network, leading classes dropped."""
    classifier = NETS[net](opset=opset)
    c, prep = classifier.contract, classifier.contract.preprocessing
    images = pixels(c)
    mean, std = (v.astype(np.float64) for v in prep.channel_stats(c.channels))
    column = (-1, *(1,) * len(c.space))
    expected = []
    for image in images:
        values = (image - mean.reshape(column)) / std.reshape(column)
        values = values[::-1] if prep.bgr else values
        if net == "identity":
            answer = values.ravel()
        else:
            answer = nets.conv_logits(values, nets.conv_weights(c.channels, len(c.space), 5 + prep.drop_class, 0))
        expected.append(answer[prep.drop_class :])
    found = run(graph_of(classifier, "fused"), pixels=images)["logits"]
    assert found.shape == (len(images), c.classes)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("net", "temperature"),
    [
        *[(net, t) for net in ("rgb", "caffe", "signal") for t in (0.1, 0.2499, 0.25, 1.7, 19.0)],
        *[("sigmoid", t) for t in (0.25, 1.7, 19.0)],
    ],
)
def test_probabilities_are_softmax_of_the_calibrated_logits_and_logits_stay_raw(net, kind, temperature):
    classifier = NETS[net]()
    calibrator = Temperature.from_parameters({"temperature": temperature})
    feeds = feeds_of(classifier.contract, kind)
    answers = run(graph_of(classifier, kind, calibrator), **feeds)
    raw = run(graph_of(classifier, kind), **feeds)["logits"]
    np.testing.assert_array_equal(answers["logits"], raw)
    calibrated = calibrator.transform(raw.reshape(-1, raw.shape[-1])).reshape(raw.shape)
    expected = 1 / (1 + np.exp(-calibrated)) if net == "sigmoid" else softmax(calibrated)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.2])
def test_low_temperatures_of_a_sigmoid_head_divide_the_logits_themselves(temperature):
    """A log-softmax shifts logits by a constant a row, which a softmax does not see but a sigmoid does."""
    classifier = NETS["sigmoid"]()
    calibrator = Temperature.from_parameters({"temperature": temperature})
    answers = run(graph_of(classifier, "fused", calibrator), pixels=pixels(classifier.contract))
    expected = 1 / (1 + np.exp(-answers["logits"].astype(np.float64) / temperature))
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("calibrator", [None, Identity()], ids=["none", "identity"])
def test_without_calibration_probabilities_are_the_softmax_of_the_logits(calibrator):
    classifier = NETS["rgb"]()
    answers = run(graph_of(classifier, "fused", calibrator), pixels=pixels(classifier.contract))
    np.testing.assert_allclose(answers["probabilities"], softmax(answers["logits"].astype(np.float64)), atol=1e-6)


def feeds_of(contract, kind: str, plans=2, steps=3, seed=1) -> dict[str, np.ndarray]:
    if kind == "fused":
        return {"pixels": pixels(contract, seed=seed)}
    rng = np.random.default_rng(seed)
    shape = (plans, contract.channels, *contract.space)
    feeds = {name: rng.random(shape).astype(np.float32) for name in ("start", "end")}
    if kind == "blend":
        sides = (3, 2)[: len(contract.space)]
        axes = [rng.dirichlet(np.ones(g), (plans, steps, s)) for s, g in zip(contract.space, sides, strict=True)]
        named = {f"axis_{d}": axis.astype(np.float32) for d, axis in enumerate(axes)}
        return feeds | named | {"grids": rng.random((plans, steps, *sides)).astype(np.float32)}
    step_map = rng.integers(0, 6, (plans, 1, *contract.space)).astype(kind)
    return feeds | {"step_map": step_map, "steps": rng.integers(0, 7, (plans, steps)).astype(np.int32)}


@pytest.mark.parametrize("step_type", ["uint8", "uint16", "int32"])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("net", NETS)
def test_scorer_equals_fused_on_images_masked_by_numpy(net, opset, step_type):
    classifier = NETS[net](opset=opset)
    feeds = feeds_of(classifier.contract, step_type)
    scored = run(graph_of(classifier, step_type), **feeds)
    images = [
        np.where(feeds["step_map"][i] < feeds["steps"][i, j], feeds["end"][i], feeds["start"][i])
        for i in range(2)
        for j in range(3)
    ]
    fused = run(graph_of(classifier, "fused"), pixels=np.stack(images))
    for name in ("logits", "probabilities"):
        assert scored[name].shape == (2, 3, classifier.contract.classes)
        np.testing.assert_array_equal(scored[name].reshape(6, -1), fused[name])


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("net", NETS)
def test_blend_equals_fused_on_images_blended_by_numpy(net, opset):
    classifier = NETS[net](opset=opset)
    feeds = feeds_of(classifier.contract, "blend")
    blended = run(graph_of(classifier, "blend"), **feeds)
    images = []
    for i in range(2):
        for j in range(3):
            mask = feeds["grids"][i, j].astype(np.float64)
            for d in range(mask.ndim):
                mask = np.moveaxis(np.tensordot(feeds[f"axis_{d}"][i, j].astype(np.float64), mask, (1, d)), 0, d)
            images.append(feeds["start"][i] * (1 - mask) + feeds["end"][i] * mask)
    fused = run(graph_of(classifier, "fused"), pixels=np.stack(images).astype(np.float32))
    scale = np.abs(fused["logits"]).max()
    np.testing.assert_allclose(blended["logits"].reshape(6, -1), fused["logits"], rtol=0, atol=2e-6 * scale)


def test_a_network_that_answers_probabilities_gets_their_logarithm_bounded_below():
    def body(tape, value):
        shape = nets.weights(tape, np.array([-1, 4], np.int64), "shape")
        return tape.op("Reshape", [value, shape])

    prep = Preprocessing(outputs="probabilities")
    classifier = nets.classifier(body, 1, (2, 2), 4, preprocessing=prep)
    given = np.float32([[0.7, 0.2, 0.1, 0.0], [1e-30, 1.0, 0.0, 0.0]]).reshape(2, 1, 2, 2)
    answers = run(graph_of(classifier, "fused"), pixels=given)
    tiny = np.finfo(np.float32).tiny
    np.testing.assert_allclose(
        answers["logits"], np.log(np.maximum(given.reshape(2, 4), tiny).astype(np.float64)), rtol=1e-6
    )
    np.testing.assert_allclose(answers["probabilities"], given.reshape(2, 4), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_any_size_where_the_contract_leaves_it_open(kind):
    """A None in `space` is a dynamic size: two sizes through one graph, each as a graph of that size answers."""
    classifier = nets.conv_net(3, (None, None), preprocessing=RGB)
    model = graph_of(classifier, kind)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    for space in ((5, 7), (4, 4)):
        settled = nets.conv_net(3, space, preprocessing=RGB)
        feeds = feeds_of(settled.contract, kind)
        expected = run(graph_of(settled, kind), **feeds)["logits"]
        np.testing.assert_allclose(run(model, **feeds)["logits"], expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("net", NETS)
def test_a_fused_file_is_taken_apart_into_the_classifier_it_was_made_of(net, tmp_path):
    classifier = NETS[net](calibrator={"method": "temperature", "parameters": {"temperature": 1.7}})
    model = graph_of(classifier, "fused", Temperature.from_parameters({"temperature": 1.7}))
    model.metadata_props[CONTRACT_KEY] = classifier.contract.to_json()
    path = tmp_path / "fused.onnx"
    ir.save(model, path)
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert GraphContract.from_json(stored["c2i_fast.contract"]) == classifier.contract
    again = load_classifier(path)
    assert again.contract == classifier.contract
    feeds = feeds_of(classifier.contract, "uint8")
    for kind, fed in (("fused", {"pixels": pixels(classifier.contract)}), ("uint8", feeds)):
        expected, found = (run(graph_of(c, kind), **fed)["logits"] for c in (classifier, again))
        np.testing.assert_array_equal(found, expected)


def test_the_contract_alone_decides_what_surrounds_the_backbone():
    """One backbone under two contracts: other statistics, other answers; BGR is a reversal of the channels."""
    classifier = NETS["identity"]()
    bare = replace(classifier.contract, preprocessing=Preprocessing())
    reversed_channels = replace(classifier.contract, preprocessing=Preprocessing(bgr=True))
    images = pixels(bare)
    plain = run(fused_graph(classifier.backbone(), bare, None), pixels=images)["logits"]
    turned = run(fused_graph(classifier.backbone(), reversed_channels, None), pixels=images)["logits"]
    np.testing.assert_array_equal(plain, images.reshape(len(images), -1))
    np.testing.assert_array_equal(turned, images[:, ::-1].reshape(len(images), -1))
