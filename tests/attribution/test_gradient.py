from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import Context
from c2i_fast.attribution.gradient import Gradient
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")
pytest.importorskip("captum")

HALF = Preprocessing(mean=(0.5,), std=(0.5,))


def test_gradients_are_the_oracles(model_a, oracles):
    with np.load(oracles / "captum_maps.npz") as maps:
        expected = maps["a|logit|Saliency|absTrue"].sum(axis=1)
    method = Gradient(Context(module=model_a.module))
    found = method.explain(model_a.ids, model_a.normalised, model_a.targets)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    assert method.passes_used == 8
    # From pictures, the only difference is the rounding of the normalised input, which may flip a unit at its kink.
    found = Gradient(Context(module=model_a.module, preprocessing=HALF)).explain(
        model_a.ids, model_a.pixels, model_a.targets
    )
    assert (np.abs(found - expected) > 1e-5 * expected.max()).mean() < 0.01


def linear(classes: int, size: int, seed: int = 0):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, classes))
    weight = np.random.default_rng(seed).normal(size=(classes, size)).astype(np.float32)
    module[1].weight.data = torch.from_numpy(weight)
    return module, weight


@pytest.mark.parametrize("space", [(4, 5), (9,)])
def test_a_linear_models_gradient_is_its_weight_in_normalised_units(space):
    size = 3 * int(np.prod(space))
    module, weight = linear(4, size)
    images = np.random.default_rng(1).random((2, 3, *space), np.float32)
    preprocessing = Preprocessing(mean=(0.1,), std=(0.2,))  # no std in the answer: the input is the normalised one
    maps = Gradient(Context(module=module, preprocessing=preprocessing)).explain(["a", "b"], images, np.array([3, 1]))
    expected = np.abs(weight[[3, 1]]).reshape(2, 3, *space).sum(axis=1)
    np.testing.assert_allclose(maps, expected, rtol=1e-6)


def test_dropped_classes_shift_the_target():
    module, weight = linear(4, 12)
    context = Context(module=module, preprocessing=Preprocessing(drop_class=1))
    found = Gradient(context).explain(["a"], np.zeros((1, 3, 2, 2), np.float32), np.array([2]))
    np.testing.assert_allclose(found[0], np.abs(weight[3]).reshape(3, 2, 2).sum(axis=0), rtol=1e-6)
    with pytest.raises(InputError, match="target 3 is not one of the model's 3 classes"):
        Gradient(context).explain(["a"], np.zeros((1, 3, 2, 2), np.float32), np.array([3]))


def test_probabilities_are_explained_by_their_logarithm():
    module, weight = linear(4, 12)
    images = np.random.default_rng(1).random((1, 3, 2, 2), np.float32)
    context = Context(
        module=torch.nn.Sequential(module, torch.nn.Softmax(dim=1)),
        preprocessing=Preprocessing(outputs="probabilities"),
    )
    logits = weight @ images.ravel() + module[1].bias.detach().numpy()
    p = np.exp(logits) / np.exp(logits).sum()
    expected = np.abs(weight[2] - p @ weight).reshape(3, 2, 2).sum(axis=0)
    np.testing.assert_allclose(Gradient(context).explain(["a"], images, np.array([2]))[0], expected, rtol=1e-4)


def test_a_module_in_train_mode_is_read_in_eval_mode_and_left_alone():
    module = torch.nn.Sequential(
        torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.9), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images = np.random.default_rng(1).random((2, 3, 2, 2), np.float32)
    maps = [Gradient(Context(module=module)).explain(["a", "b"], images, np.array([0, 1])) for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_an_exported_program_has_gradients_too():
    module, weight = linear(4, 12)
    images = torch.zeros(2, 3, 2, 2)
    program = torch.export.export(module, (images,)).module()
    maps = Gradient(Context(module=program)).explain(["a", "b"], images.numpy(), np.array([3, 1]))
    np.testing.assert_allclose(maps, np.abs(weight[[3, 1]]).reshape(2, 3, 2, 2).sum(axis=1), rtol=1e-6)


def test_batch_mates_do_not_matter(model_a):
    method = Gradient(Context(module=model_a.module))
    together = method.explain(model_a.ids, model_a.normalised, model_a.targets)
    for i in (5, 0):
        alone = method.explain(model_a.ids[i : i + 1], model_a.normalised[[i]], model_a.targets[[i]])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5 * together.max())
