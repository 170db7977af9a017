from __future__ import annotations

import sys

import numpy as np
import pytest

from c2i_fast.attribution import METHODS, Context
from c2i_fast.attribution.torch_model import checked_logits, class_logits, network_input, undisturbed
from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")


def test_pixels_become_the_networks_input():
    images = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 1, 2), bgr=True)
    x = network_input(images, preprocessing, torch.nn.ReLU())
    assert x.requires_grad
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1), (0.3, 2)]):
        np.testing.assert_allclose(x.detach()[:, 2 - channel], (images[:, channel] - mean) / std, atol=1e-6)


def test_the_input_takes_the_modules_type():
    x = network_input(np.zeros((1, 2, 6), np.float32), Preprocessing(), torch.nn.Linear(6, 2).double())
    assert x.dtype == torch.float64


def test_leading_classes_go_and_probabilities_become_logits():
    output = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    found = class_logits(output, Preprocessing(drop_class=1, outputs="probabilities"))
    np.testing.assert_allclose(found[0], np.log([0.25, 0.25]), rtol=1e-6)
    assert torch.isfinite(found).all()
    assert torch.equal(class_logits(output, Preprocessing(drop_class=2)), output[:, 2:])


def test_outputs_that_are_not_class_scores_are_refused():
    with pytest.raises(InputError, match=r"one tensor \(N, classes\), got \(2, 3, 4\)"):
        checked_logits(torch.zeros(2, 3, 4), Preprocessing(), np.array([0]))
    with pytest.raises(InputError, match="got tuple"):
        checked_logits((torch.zeros(2, 3),), Preprocessing(), np.array([0]))
    with pytest.raises(InputError, match="target 2 is not one of the model's 2 classes"):
        checked_logits(torch.zeros(2, 3), Preprocessing(drop_class=1), np.array([2]))


def test_a_module_is_left_as_it_was_found():
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1), torch.nn.Dropout())
    module[1].eval()
    module[0].bias.requires_grad_(False)
    modes, trainable = [], []

    def fail_inside() -> None:
        with undisturbed(module):
            modes.extend(part.training for part in module.modules())
            trainable.extend(parameter.requires_grad for parameter in module.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert not any(modes)
    assert not any(trainable)
    assert [part.training for part in module.modules()] == [True, True, False, True]
    assert [parameter.requires_grad for parameter in module.parameters()] == [True, False, True, True]


@pytest.mark.parametrize("name", ["gradient", "gradcam"])
def test_a_model_without_gradients_is_sent_elsewhere(name):
    with pytest.raises(InputError, match=f"{name} needs gradients.*use rise"):
        METHODS[name](Context())


@pytest.mark.parametrize(
    ("name", "module", "package"), [("gradient", "captum", "captum"), ("gradcam", "pytorch_grad_cam", "grad-cam")]
)
def test_a_missing_package_names_the_extra(name, module, package, monkeypatch):
    for loaded in [entry for entry in sys.modules if entry.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{package} is not installed.*c2i-fast\[explain\]"):
        METHODS[name](Context(module=torch.nn.Identity()))
