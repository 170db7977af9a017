"""Sigmoid heads: declared, detected, contradicted; one output; the logit of their probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.export.classifier import export_classifier
from c2i_fast.export.open import engine_for, open_passes
from c2i_fast.models import load_classifier
from c2i_fast.models.preprocess import activation_from_options, load_recipe
from c2i_fast.types import Preprocessing
from tests import nets
from tests.models import graphs

PROBABILITIES = Preprocessing(outputs="probabilities")


def one_output(sigmoid: bool = False) -> graphs.Graph:
    graph = graphs.Graph().body().add("Flatten")
    graph.add("Gemm", graph.weight(graphs.weights((4, 1), 1)), graph.weight(graphs.weights((1,), 2)), to="logits")
    if sigmoid:
        graph.add("Sigmoid")
    return graph.output(shape=("N", 1))


def logit(p: float) -> float:
    p = min(max(p, 2.0**-24), 1 - 2.0**-24)
    return math.log(p) - math.log1p(-p)


def test_the_head_is_what_was_said_and_a_softmax_by_default():
    assert load_classifier(graphs.simple().bytes()).contract.activation == "softmax"
    contract = load_classifier(graphs.simple().bytes(), activation="sigmoid").contract
    assert (contract.activation, contract.classes) == ("sigmoid", graphs.CLASSES)


def test_one_output_is_a_sigmoid_head_and_no_softmax():
    assert load_classifier(one_output().bytes(), activation="sigmoid").contract.classes == 1
    with pytest.raises(InputError, match=r"at least 2 classes are needed, got 1 .*--activation sigmoid"):
        load_classifier(one_output().bytes())


def test_a_sigmoid_at_the_end_is_detected_where_nothing_was_declared():
    with pytest.raises(InputError, match=r"comes from a Sigmoid; pass --outputs probabilities .* --activation sigmoid"):
        load_classifier(one_output(sigmoid=True).bytes())
    with pytest.raises(InputError, match="comes from a Sigmoid; pass --outputs probabilities"):
        load_classifier(one_output(sigmoid=True).bytes(), activation="sigmoid")


def test_what_the_graph_ends_in_must_be_what_was_declared():
    sigmoid = graphs.simple().add("Sigmoid").bytes()
    with pytest.raises(InputError, match=r"comes from a Sigmoid, .* add --activation sigmoid"):
        load_classifier(sigmoid, preprocessing=PROBABILITIES)
    with pytest.raises(InputError, match="comes from a Softmax, which is no sigmoid"):
        load_classifier(graphs.softmaxed().bytes(), preprocessing=PROBABILITIES, activation="sigmoid")
    with pytest.raises(InputError, match="comes from a LogSoftmax, which is no sigmoid"):
        load_classifier(graphs.simple().add("LogSoftmax", axis=1).bytes(), activation="sigmoid")
    assert load_classifier(sigmoid, preprocessing=PROBABILITIES, activation="sigmoid").contract.classes == 5


def test_answers_outside_0_to_1_are_no_probabilities():
    with pytest.raises(InputError, match=r"--outputs probabilities, but there are answers outside 0\.\.1"):
        load_classifier(graphs.simple().bytes(), preprocessing=PROBABILITIES, activation="sigmoid")


@pytest.mark.parametrize("end", ["Sigmoid", "Softmax"])
def test_a_torch_module_that_ends_in_one_is_looked_into(end):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Sigmoid() if end == "Sigmoid" else torch.nn.Softmax(1)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3), layer)
    size = Preprocessing(size=(2, 2))
    with pytest.raises(InputError, match="outputs are probabilities where logits were expected"):
        load_classifier(net, preprocessing=size)
    kept = Preprocessing(size=(2, 2), outputs="probabilities")
    assert load_classifier(net, preprocessing=kept, activation=end.lower()).contract.activation == end.lower()


def test_logits_between_0_and_1_are_no_probabilities():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].bias.fill_(0.4)
    loaded = load_classifier(net, preprocessing=Preprocessing(size=(2, 2)), activation="sigmoid")
    assert loaded.contract.preprocessing.outputs == "logits"


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_probabilities_become_their_logit_to_the_margin(engine):
    """p = 0 and 1 are kept 2⁻²⁴ away; the net answers with its own pixels."""
    p = np.array([0, 1e-9, 0.25, 0.5, 0.999, 1], np.float32)
    net = nets.identity_net(1, (6,), preprocessing=PROBABILITIES, activation="sigmoid", torch=engine == "torch")
    passes = open_passes(net, engine_for(net, engine).config)
    expected = [logit(float(value)) for value in p]
    np.testing.assert_allclose(passes.direct([p[None]])[0], expected, rtol=1e-5, atol=1e-6)
    assert abs(expected[0]) == pytest.approx(16.6355, abs=1e-3)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_the_fused_file_carries_the_head_and_refuses_another(tmp_path, classes, outputs):
    rng = np.random.default_rng(classes)
    net = nets.linear_net(
        rng.normal(size=(classes, 12)) / 12 if outputs == "logits" else rng.random((classes, 12)) / 12,
        np.zeros(classes),
        3,
        (2, 2),
        activation="sigmoid",
        preprocessing=Preprocessing(outputs=outputs),
    )
    report = export_classifier(net, tmp_path / "net.onnx", scorer=True)
    assert report.verify.top1_agreement == 1
    image = rng.random((1, 3, 2, 2), dtype=np.float32)
    weights = net.backbone().graph.initializers["matrix"].const_value.numpy().T.astype(np.float64)
    raw = [float(value) for value in weights @ image.astype(np.float64).ravel()]
    z = raw if outputs == "logits" else [logit(value) for value in raw]
    from c2i_fast.export.verify import open_file

    answers = open_file(tmp_path / "net.onnx").run({"pixels": image})
    np.testing.assert_allclose(answers["logits"][0], z, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(answers["probabilities"][0], [1 / (1 + math.exp(-v)) for v in z], rtol=1e-5)
    fused = load_classifier(tmp_path / "net.onnx")
    assert (fused.contract.activation, fused.contract.classes) == ("sigmoid", classes)
    assert load_classifier(tmp_path / "net.onnx", activation="sigmoid").contract == fused.contract
    with pytest.raises(UsageError, match="fused file with a sigmoid head; leave --activation out"):
        load_classifier(tmp_path / "net.onnx", activation="softmax")


def test_a_recipe_may_name_the_head_and_the_flag_wins(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('size = 8\nactivation = "sigmoid"\n')
    assert load_recipe(path) == Preprocessing(size=(8, 8))
    assert activation_from_options(None, path) == "sigmoid"
    assert activation_from_options("softmax", path) == "softmax"
    assert activation_from_options(None, None) is None
    path.write_text('activation = "tanh"\n')
    with pytest.raises(InputError, match=r"r\.toml: activation must be softmax or sigmoid, got 'tanh'"):
        activation_from_options(None, path)
    with pytest.raises(UsageError, match="--activation must be one of softmax, sigmoid; got 'tanh'"):
        activation_from_options("tanh", None)
