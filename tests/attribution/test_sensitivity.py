"""Max-sensitivity: its definition, closed forms, and Captum's numbers on the moves that it was given."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import METHODS, Context
from c2i_fast.attribution.sensitivity import largest_move, max_sensitivity
from c2i_fast.types import Preprocessing

UNEVEN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))


class Function:
    """A method made of a function of one image."""

    def __init__(self, function) -> None:
        self.function, self.seen = function, []

    def explain(self, ids, images, targets):
        self.seen.append(images)
        return np.stack([self.function(image) for image in images]).astype(np.float32)


def test_it_is_its_definition_by_loops_and_the_moves_are_uniform_in_normalised_units():
    images = np.random.default_rng(0).random((3, 3, 5, 4)).astype(np.float32)
    method = Function(lambda image: (image**2).sum(axis=0))
    found = max_sensitivity(method, ["a", "b", "c"], images, np.zeros(3, int), UNEVEN, runs=7, radius=0.1)
    still, *others = method.seen
    assert len(others) == 7
    std = np.array(UNEVEN.std).reshape(3, 1, 1)
    for i, image in enumerate(images):
        moves = [(other[i].astype(np.float64) - still[i]) / std for other in others]
        assert 0.09 < np.abs(moves).max() <= 0.1 + 1e-6
        assert len({m.tobytes() for m in moves}) == 7
        base = method.function(image).astype(np.float64)
        far = [np.sqrt(((method.function(other[i]) - base) ** 2).sum()) for other in others]
        assert found[i] == pytest.approx(max(far) / np.sqrt((base**2).sum()), rel=1e-5)


def test_an_images_moves_are_its_own_whoever_it_is_explained_with():
    images = np.random.default_rng(0).random((3, 3, 5, 4)).astype(np.float32)
    method = Function(lambda image: image.sum(axis=0))
    options = {"runs": 3, "radius": 0.1}
    together = max_sensitivity(method, ["a", "b", "c"], images, np.zeros(3, int), UNEVEN, **options)
    alone = [
        max_sensitivity(method, [n], images[i : i + 1], np.zeros(1, int), UNEVEN, **options)[0]
        for i, n in enumerate("abc")
    ]
    assert together.tolist() == alone
    reseeded = max_sensitivity(method, ["a", "b", "c"], images, np.zeros(3, int), UNEVEN, **options, seed=1)
    assert (reseeded != together).all()


def test_maps_that_do_not_look_at_the_pixels_do_not_move():
    images = np.random.default_rng(0).random((2, 3, 9, 9)).astype(np.float32)
    for name, moves in (("center", False), ("random", False), ("smooth-random", False), ("sobel", True)):
        found = max_sensitivity(METHODS[name](Context()), ["a", "b"], images, np.zeros(2, int), UNEVEN, runs=2)
        assert ((found > 0) == moves).all()


def test_a_map_of_zeros_that_moves_has_no_scale_and_one_that_stays_none_to_need():
    zero = np.zeros((1, 2))
    assert largest_move(zero, [np.ones((1, 2))]).tolist() == [np.inf]
    assert largest_move(zero, [zero]).tolist() == [0]


def test_captums_closed_form_and_value_for_input_times_gradient_of_a_linear_net(oracles):
    with np.load(oracles / "captum_metrics.npz") as captum, np.load(oracles / "images.npz") as images:
        slopes = captum["linear_weight"][captum["linear_target"]].reshape(8, 3, 32, 32).astype(np.float64)
        moves = captum["delta_sens"].astype(np.float64)
        x = images["x_a"].astype(np.float64)
        found = largest_move(x * slopes, ((x + moves[:, k]) * slopes for k in range(moves.shape[1])))
        np.testing.assert_allclose(found, captum["linear|InputXGradient|closed_form"], rtol=1e-6)
        np.testing.assert_allclose(found, captum["linear|InputXGradient|sensitivity_max"], rtol=1e-4)


def test_captums_value_for_the_gradient_of_a_network(oracles, model_a):
    """Per-channel absolute gradients, as Captum's own; ReLU kinks may move a single pixel."""
    torch = pytest.importorskip("torch")

    def gradients(x):
        x = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        logits = model_a.module(x)
        logits[torch.arange(8), torch.as_tensor(targets)].sum().backward()
        return x.grad.numpy()

    with np.load(oracles / "captum_metrics.npz") as captum, np.load(oracles / "images.npz") as images:
        x, targets, moves = images["x_a"], images["target_a"], captum["delta_sens"]
        for name, of in (("Saliency_abs", np.abs), ("Saliency_signed", np.array)):
            found = largest_move(of(gradients(x)), (of(gradients(x + moves[:, k])) for k in range(moves.shape[1])))
            np.testing.assert_allclose(found, captum[f"a|{name}|sensitivity_max|r0.02|n10"], rtol=1e-3)
