"""Torch modules: what is kept of them, what is exported, and what is refused."""

from __future__ import annotations

import copy
import logging
from collections import namedtuple

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.errors import ContractError, InputError, MissingDependencyError, UsageError
from c2i_fast.models import load_classifier
from c2i_fast.types import Preprocessing
from tests.models import graphs

torch = pytest.importorskip("torch", reason="torch is not installed")
from tests.models import nets  # noqa: E402

EIGHT = Preprocessing(size=(8, 8))


def _module_answers(module, rows):
    with torch.no_grad():
        return module(torch.from_numpy(rows)).numpy()


def test_the_module_that_is_kept_answers_as_the_users_does_in_eval_mode():
    net = nets.small()
    classifier = load_classifier(net, preprocessing=EIGHT)
    rows = graphs.images(3)
    expected = _module_answers(copy.deepcopy(net).eval(), rows)
    np.testing.assert_array_equal(_module_answers(classifier.module, rows), expected)
    contract = classifier.contract
    assert (contract.channels, contract.space, contract.classes, contract.opset) == (3, (8, 8), nets.CLASSES, 20)


def test_the_users_module_stays_as_it_is():
    net = nets.small().train()
    classifier = load_classifier(net, preprocessing=EIGHT)
    assert net.training
    assert net.head.weight.requires_grad
    assert not classifier.module.training
    assert not any(parameter.requires_grad for parameter in classifier.module.parameters())


@pytest.mark.slow
def test_the_exported_backbone_is_the_module_at_any_batch():
    classifier = load_classifier(nets.small(), preprocessing=EIGHT)
    backbone = classifier.backbone()
    assert backbone is classifier.backbone()
    assert str(backbone.graph.inputs[0].shape[0]) == "N"
    assert (backbone.graph.inputs[0].name, backbone.graph.outputs[0].name) == ("normalised", "network_output")
    assert backbone.opset_imports == {"": 20}
    for count in (1, 2, 5):
        rows = graphs.images(count, seed=count)
        expected = _module_answers(classifier.module, rows)
        np.testing.assert_allclose(graphs.answers(backbone, rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_export_says_nothing_and_nothing_about_its_author(capfd):
    backbone = load_classifier(nets.small(), preprocessing=EIGHT).backbone()
    assert capfd.readouterr() == ("", "")
    content = ir.to_proto(backbone).SerializeToString()
    assert not [word for word in (b"stack_trace", b".py", b"pkg.", b"pytorch", b"nets") if word in content]
    assert not backbone.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in backbone.graph)


@pytest.mark.slow
def test_a_signal_network_exports_with_one_space_axis():
    classifier = load_classifier(nets.signal(), preprocessing=Preprocessing(size=(16,)))
    assert (classifier.contract.channels, classifier.contract.space) == (2, (16,))
    rows = graphs.images(3, (2, 16))
    np.testing.assert_allclose(
        graphs.answers(classifier.backbone(), rows), _module_answers(classifier.module, rows), rtol=1e-5, atol=1e-6
    )


def test_channels_come_from_the_statistics_else_from_the_first_convolution():
    assert load_classifier(nets.small(1), preprocessing=EIGHT).contract.channels == 1
    four = Preprocessing(size=(8, 8), mean=(0.1, 0.2, 0.3, 0.4))
    assert load_classifier(nets.small(4), preprocessing=four).contract.channels == 4
    with pytest.raises(InputError, match=r"refused an input of shape \(2, 4, 8, 8\)"):
        load_classifier(nets.small(3), preprocessing=four)


def test_the_hash_follows_the_weights_and_nothing_else():
    first, second = nets.small(), nets.small()
    names = [load_classifier(net, preprocessing=EIGHT).contract.source_sha256 for net in (first, second)]
    assert names[0] == names[1]
    with torch.no_grad():
        second.head.bias[0] += 1
    assert load_classifier(second, preprocessing=EIGHT).contract.source_sha256 != names[0]


def test_a_module_needs_a_size():
    with pytest.raises(InputError, match=r"say it, e\.g\. --size 224"):
        load_classifier(nets.small())


def test_an_output_name_says_nothing_about_a_module():
    with pytest.raises(UsageError, match="--output says nothing about Sequential"):
        load_classifier(nets.small(), preprocessing=EIGHT, output="logits")


Answer = namedtuple("Answer", "logits loss")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: (y, y), "got tuple of 2; wrap it"),
        (lambda y: {"logits": y}, "got dict with logits; wrap it"),
        (lambda y: Answer(y, None), r"got Answer; wrap it in a module whose forward returns \.logits"),
        (lambda y: None, "got NoneType"),
        (lambda y: y.softmax(1), "outputs are probabilities"),
        (lambda y: y[:, :, None, None].expand(-1, -1, 4, 4), r"must be \(N, K\)"),
        (lambda y: y.argmax(1), "must be float32 scores, got int64"),
    ],
)
def test_answers_that_are_no_logits_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        load_classifier(nets.Wrapped(change), preprocessing=EIGHT)


def test_declared_probabilities_pass():
    said = Preprocessing(size=(8, 8), outputs="probabilities")
    assert load_classifier(nets.Wrapped(lambda y: y.softmax(1)), preprocessing=said).contract.classes == nets.CLASSES


def test_answers_that_depend_on_the_batch_are_refused():
    with pytest.raises(ContractError, match="eval mode"):
        load_classifier(nets.Wrapped(lambda y: y - y.mean(0)), preprocessing=EIGHT)


def test_half_precision_weights_are_refused():
    with pytest.raises(InputError, match=r"must be float32, conv\.weight is torch\.float16; call \.float\(\)"):
        load_classifier(nets.small().half(), preprocessing=EIGHT)


def test_a_module_that_cannot_be_copied_must_be_in_eval_mode():
    class Uncopiable(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nets.small()

        def __deepcopy__(self, memo):
            raise RuntimeError("no copies")

        def forward(self, images):
            return self.net(images)

    with pytest.raises(InputError, match=r"cannot be copied \(no copies\); call \.eval\(\)"):
        load_classifier(Uncopiable(), preprocessing=EIGHT)
    assert load_classifier(Uncopiable().eval(), preprocessing=EIGHT).contract.classes == nets.CLASSES


@pytest.mark.slow
def test_a_failing_export_gives_one_line_and_a_way_out(capfd):
    class Records(logging.Handler):
        def emit(self, record):
            records.append(record)

    records, handler = [], Records()
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    classifier = load_classifier(nets.Branching(), preprocessing=EIGHT)
    logger.addHandler(handler)
    try:
        with pytest.raises(ContractError, match=r"cannot be exported to ONNX: .*; keep data-dependent") as caught:
            classifier.backbone()
    finally:
        logger.removeHandler(handler)
    assert "\n" not in str(caught.value)
    assert (records, capfd.readouterr()) == ([], ("", ""))
    assert logging.root.manager.disable == logging.NOTSET


def test_without_onnxscript_the_install_line_is_given(monkeypatch):
    classifier = load_classifier(nets.small(), preprocessing=EIGHT)
    monkeypatch.setattr("c2i_fast.models.torch_export.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"onnxscript is not installed; .*c2i-fast\[torch\]"):
        classifier.backbone()
