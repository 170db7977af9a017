"""Gradients of ONNX files: the torch form is proved equal before it is used, and what has none is named."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.reference
import pytest

from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
from c2i_fast.models.onnx_torch import differentiable_module
from c2i_fast.types import Preprocessing
from tests.cli.things import colour_net

torch = pytest.importorskip("torch")


@pytest.fixture
def net(tmp_path):
    onnx.save(colour_net(), tmp_path / "net.onnx")
    return load_classifier(str(tmp_path / "net.onnx"))


def converter(monkeypatch, convert) -> None:
    monkeypatch.setitem(sys.modules, "onnx2torch", SimpleNamespace(convert=convert))


class RunsTheGraph(torch.nn.Module):
    """Stands for a conversion: the graph's own answers, moved by so much."""

    def __init__(self, proto, apart: float) -> None:
        super().__init__()
        self.evaluator, self.apart = onnx.reference.ReferenceEvaluator(proto), apart

    def forward(self, x):
        (answer,) = self.evaluator.run(None, {self.evaluator.input_names[0]: x.numpy()})
        return torch.from_numpy(answer * (1 + self.apart)).float()


def test_a_conversion_that_answers_alike_is_used_and_another_refused(net, monkeypatch):
    converter(monkeypatch, lambda proto: RunsTheGraph(proto, 1e-5))
    module = differentiable_module(net, "gradient")
    assert not module.training
    converter(monkeypatch, lambda proto: RunsTheGraph(proto, 1e-3))
    with pytest.raises(InputError, match=r"answers otherwise by 1\.0e-03 of its largest answer \(at most 1e-04"):
        differentiable_module(net, "gradient")
    converter(monkeypatch, lambda proto: RunsTheGraph(proto, float("nan")))
    with pytest.raises(InputError, match="answers otherwise by inf"):
        differentiable_module(net, "gradient")


def test_an_operator_without_a_torch_form_is_named(net, monkeypatch):
    def refuse(proto):
        raise NotImplementedError(
            "Converter is not implemented (OperationDescription(domain='', operation_type='Pad', version=19))"
        )

    converter(monkeypatch, refuse)
    with pytest.raises(InputError, match=r"lrp: operator Pad \(opset 19\) is not differentiable here.*use rise"):
        differentiable_module(net, "lrp")


def test_without_the_converter_it_says_what_to_install(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(InputError, match=r"gradient needs a torch model .* pip install 'c2i-fast\[foreign\]'; or use"):
        differentiable_module(net, "gradient")


def test_a_torch_model_is_itself():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    own = SimpleNamespace(module=module)
    assert differentiable_module(own, "gradient") is module


def test_the_oracles_files_have_the_gradients_of_their_modules(oracles):
    pytest.importorskip("onnx2torch")
    pytest.importorskip("captum")
    from c2i_fast.attribution import METHODS, Context

    with np.load(oracles / "images.npz") as images, np.load(oracles / "captum_maps.npz") as maps:
        for letter, file in (("a", "model_a_tiny.onnx"), ("b", "model_b_resnet20.onnx")):
            classifier = load_classifier(str(oracles / file), preprocessing=Preprocessing())
            context = Context(module=differentiable_module(classifier, "gradient"))
            ids = [str(i) for i in range(8)]
            found = METHODS["gradient"](context).explain(ids, images[f"x_{letter}"], images[f"target_{letter}"])
            expected = maps[f"{letter}|logit|Saliency|absTrue"].sum(axis=1)
            assert (np.abs(found - expected) > 1e-4 * expected.max()).mean() < 0.01
