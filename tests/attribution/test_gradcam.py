from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import METHODS, Context
from c2i_fast.attribution.gradcam import GradCam
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_grad_cam")


@pytest.mark.parametrize("layer", ["relu3", "conv3", "relu2"])
def test_maps_are_the_oracles(layer, model_a, oracles):
    with np.load(oracles / "gradcam_maps.npz") as maps:
        expected = maps[f"a|{layer}|GradCAM|logit|final"]
    context = Context(module=model_a.module, options={"layer": layer})
    found = GradCam(context).explain(model_a.ids, model_a.normalised, model_a.targets)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_pictures_are_normalised_first_and_the_last_convolution_is_the_default(model_a, oracles):
    with np.load(oracles / "gradcam_maps.npz") as maps:
        expected = maps["a|conv3|GradCAM|logit|final"]
    method = GradCam(Context(module=model_a.module, preprocessing=Preprocessing(mean=(0.5,), std=(0.5,))))
    np.testing.assert_allclose(method.explain(model_a.ids, model_a.pixels, model_a.targets), expected, atol=1e-4)
    assert method.layer == "conv3"
    assert method.passes_used == 9
    method.explain(model_a.ids[:2], model_a.pixels[:2], model_a.targets[:2])
    assert method.passes_used == 11


KINDS = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "xgradcam": "XGradCAM", "hirescam": "HiResCAM"}
KINDS |= {"layercam": "LayerCAM"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("net", "layer"), [("a", "relu3"), ("a", "relu2"), ("a", "conv3"), ("b", "layer3"), ("b", "layer2")]
)
def test_every_kind_is_the_oracles(name, net, layer, oracles, request):
    model = request.getfixturevalue(f"model_{net}")
    with np.load(oracles / "gradcam_maps.npz") as maps:
        expected = maps[f"{net}|{layer}|{KINDS[name]}|logit|final"]
    method = METHODS[name](Context(module=model.module, options={"layer": layer}))
    found = method.explain(model.ids, model.normalised, model.targets)
    # Where activations are negative the sum that these two divide by crosses zero.
    loose = layer == "conv3" and name in ("gradcam++", "xgradcam")
    np.testing.assert_allclose(found, expected, atol=1e-2 if loose else 2e-5)


def test_the_probability_may_be_followed(model_a, oracles):
    with np.load(oracles / "gradcam_maps.npz") as maps:
        key = "a|relu3|GradCAM|softmax|final"
        expected = maps[key]
    context = Context(module=model_a.module, options={"layer": "relu3"}, follow="raw")
    found = GradCam(context).explain(model_a.ids, model_a.normalised, model_a.targets)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def network(classes: int = 3) -> torch.nn.Sequential:
    """Convolution, ReLU, global mean, linear: its Grad-CAM has a closed form."""
    torch.manual_seed(0)
    head = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(5, classes)]
    return torch.nn.Sequential(torch.nn.Conv2d(2, 5, 3, padding=1), torch.nn.ReLU(), *head).eval()


def closed_form(module, images: np.ndarray, column: int) -> np.ndarray:
    """ReLU of the class-weighted activations, scaled to [0, 1]; no resize, for the grid is as large as the image."""
    activations = module[1](module[0](torch.from_numpy(images))).detach().numpy().astype(np.float64)
    weights = module[4].weight.detach().numpy()[column] / images[0, 0].size
    cam = np.maximum(np.einsum("k,nkhw->nhw", weights, activations), 0)
    cam -= cam.min(axis=(1, 2), keepdims=True)
    cam /= 1e-7 + cam.max(axis=(1, 2), keepdims=True)
    return cam / (1e-7 + cam.max(axis=(1, 2), keepdims=True))


def test_a_pooled_linear_head_has_its_closed_form_and_drops_classes():
    module, images = network(), np.random.default_rng(0).random((2, 2, 7, 6), np.float32)
    options = {"layer": "1"}
    found = GradCam(Context(module=module, options=options)).explain(["a", "b"], images, np.array([1, 1]))
    np.testing.assert_allclose(found, closed_form(module, images, 1), atol=1e-5)
    shifted = Context(module=module, options=options, preprocessing=Preprocessing(drop_class=1))
    found = GradCam(shifted).explain(["a", "b"], images, np.array([1, 1]))
    np.testing.assert_allclose(found, closed_form(module, images, 2), atol=1e-5)


def test_probabilities_are_explained_by_their_logarithm():
    """∂ log p_t = Σ_k (1[k = t] − p_k) ∂ z_k."""
    module, images = network(), np.random.default_rng(0).random((1, 2, 7, 6), np.float32)
    context = Context(
        module=torch.nn.Sequential(*module, torch.nn.Softmax(dim=1)),
        preprocessing=Preprocessing(outputs="probabilities"),
        options={"layer": "1"},
    )
    found = GradCam(context).explain(["a"], images, np.array([0]))
    p = torch.softmax(module(torch.from_numpy(images)), dim=1).detach()[0]
    module[4].weight.data[0] -= p @ module[4].weight.data
    np.testing.assert_allclose(found, closed_form(module, images, 0), atol=1e-4)


def test_an_in_place_relu_behind_the_layer_changes_nothing():
    module, images = network(), np.random.default_rng(0).random((2, 2, 7, 6), np.float32)
    options = {"layer": "0"}
    expected = GradCam(Context(module=module, options=options)).explain(["a", "b"], images, np.array([0, 2]))
    module[1].inplace = True
    found = GradCam(Context(module=module, options=options)).explain(["a", "b"], images, np.array([0, 2]))
    np.testing.assert_array_equal(found, expected)


def test_the_module_is_left_alone():
    module = network().train()
    images = np.random.default_rng(0).random((1, 2, 7, 6), np.float32)
    GradCam(Context(module=module)).explain(["a"], images, np.array([0]))
    assert module.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    assert not any(part._forward_hooks for part in module.modules())


def test_a_failing_pass_leaves_no_hook_either():
    module = network()
    with pytest.raises(InputError, match="target 3 is not one of the model's 3 classes"):
        GradCam(Context(module=module)).explain(["a"], np.zeros((1, 2, 7, 6), np.float32), np.array([3]))
    assert not any(part._forward_hooks for part in module.modules())


def test_layers_and_inputs_that_cannot_be_read_are_refused():
    images, targets = np.zeros((1, 2, 7, 6), np.float32), np.array([0])
    with pytest.raises(InputError, match="no layer 'relu' runs in this model"):
        GradCam(Context(module=network(), options={"layer": "relu"})).explain(["a"], images, targets)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(84, 3))
    with pytest.raises(InputError, match="needs a 2-D convolution"):
        GradCam(Context(module=flat)).explain(["a"], images, targets)
    with pytest.raises(InputError, match="reads pictures"):
        GradCam(Context(module=network())).explain(["a"], images[..., 0], targets)
