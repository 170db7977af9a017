"""What a map follows: four numbers of one vector of logits, the same in NumPy and in torch."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution.base import DEFAULT_FOLLOW, Context
from c2i_fast.attribution.follow import FOLLOWED, check_follow, differentiable, followed, followed_tensor
from c2i_fast.attribution.masks import RiseMasks
from c2i_fast.attribution.rise import Rise
from c2i_fast.calibration import CALIBRATORS
from c2i_fast.calibration.interface import new_calibrator
from c2i_fast.calibration.spec import calibrator_from_spec
from c2i_fast.errors import InputError

RECALX = {
    "levels": 2,
    "inverse_temperatures": [0.8, 0.25],
    "at_bound": [None, None],
    "samples": [9, 9],
    "baseline": "mean",
    "mask_law": None,
}


def fitted(name: str, classes: int = 4):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, classes)) * 3
    if name == "recalx":
        return calibrator_from_spec({"method": "recalx", "parameters": RECALX})
    if name == "platt":
        return new_calibrator(name, "sigmoid").fit(logits, (rng.random(logits.shape) < 0.4).astype(int))
    labels = np.array([rng.choice(classes, p=np.exp(z / 2) / np.exp(z / 2).sum()) for z in logits])
    return CALIBRATORS[name]().fit(logits, labels)


SMOOTH = [name for name in CALIBRATORS if name not in ("isotonic", "isotonic-ovr", "histogram-ovr")]


def test_the_four_are_told_apart_by_hand():
    halved = calibrator_from_spec({"method": "temperature", "parameters": {"temperature": 2}})
    logits, targets = np.array([[1.0, 3.0], [0.0, -2.0], [5.0, 4.0]]), np.array([1, 0, 1])
    found = {name: followed(name, logits, targets, calibrator=halved) for name in FOLLOWED}
    np.testing.assert_allclose(found["logit"], [3, 0, 4])
    np.testing.assert_allclose(found["calibrated-logit"], [1.5, 0, 2])
    gaps = np.array([2.0, 2.0, -1.0])
    np.testing.assert_allclose(found["raw"], 1 / (1 + np.exp(-gaps)))
    np.testing.assert_allclose(found["calibrated"], 1 / (1 + np.exp(-gaps / 2)))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("follow", FOLLOWED)
def test_torch_follows_the_same_number(name, follow):
    torch = pytest.importorskip("torch")
    calibrator = fitted(name)
    activation = "sigmoid" if name == "platt" else "softmax"
    logits, targets = np.random.default_rng(1).normal(size=(6, 4)) * 4, np.array([0, 3, 1, 1, 2, 0])
    expected = followed(
        follow, logits, targets, calibrator=calibrator, activation=activation, perturbed_fraction=np.zeros(6)
    )
    z = torch.from_numpy(logits).requires_grad_()
    found = followed_tensor(follow, z, torch.from_numpy(targets), calibrator=calibrator, activation=activation)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10)
    (gradient,) = torch.autograd.grad(found.sum(), z)
    step = np.zeros_like(logits)
    step[:, 1] = 1e-6  # one class moved in every row: the slope is the gradient's column
    up, down = (
        followed(
            follow, logits + s, targets, calibrator=calibrator, activation=activation, perturbed_fraction=np.zeros(6)
        )
        for s in (step, -step)
    )
    np.testing.assert_allclose(gradient[:, 1].numpy(), (up - down) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["isotonic", "isotonic-ovr", "histogram-ovr"])
def test_maps_of_steps_have_no_gradient(name):
    with pytest.raises(InputError, match=f"{name} has no useful gradient; follow it with rise"):
        differentiable(fitted(name))


def test_names_and_calibrators_are_checked():
    with pytest.raises(InputError, match="no read-out 'probability' to explain; known: raw, calibrated, logit, cal"):
        check_follow("probability", None)
    with pytest.raises(InputError, match="calibrated-logit needs a calibrator: give --calibrator"):
        check_follow("calibrated-logit", None)
    assert {need for need, follow in DEFAULT_FOLLOW.items() if follow in FOLLOWED} == {"passes", "torch"}


@pytest.mark.parametrize("space", [(13, 10), (30,)])
def test_the_share_hidden_is_that_of_the_full_mask(space, spread_grid):
    masks = RiseMasks(space, masks=20, grid=4, p=0.4, seed=1)
    axes = masks.axes(slice(None))
    full = [spread_grid(grid, [axis[i] for axis in axes]) for i, grid in enumerate(masks.grids)]
    expected = [1 - mask.mean() for mask in full]
    np.testing.assert_allclose(masks.perturbed_fraction(slice(None)), expected, atol=1e-6)
    np.testing.assert_allclose(masks.perturbed_fraction(slice(5, 9)), expected[5:9], atol=1e-6)


def explain(passes, **more):
    image = np.random.default_rng(0).random((2, 3, 13, 10), np.float32)
    options = {"masks": 60, "grid": 4}
    return Rise(Context(passes=passes, options=options, **more)).explain(["a", "b"], image, np.array([2, 0]))


def network(image: np.ndarray) -> np.ndarray:
    weights = np.random.default_rng(2).normal(size=(4, image.size))
    return weights @ image.ravel() / 5


def test_rise_on_logits_is_proportional_under_a_temperature(loop_passes):
    """Masks know nothing of the read-out, so S(z/T) = S(z)/T; probabilities have no such law."""
    cold = calibrator_from_spec({"method": "temperature", "parameters": {"temperature": 4}})
    found = {f: explain(loop_passes(network), follow=f, calibrator=cold).astype(float) for f in FOLLOWED}
    np.testing.assert_allclose(found["calibrated-logit"] * 4, found["logit"], rtol=1e-6)
    ratio = found["calibrated"] / found["raw"]
    assert ratio.max() / ratio.min() > 1.001
    np.testing.assert_array_equal(explain(loop_passes(network)), found["raw"].astype(np.float32))


def test_recalx_reads_each_mask_at_its_own_level(loop_passes):
    recalx = fitted("recalx")
    passes = loop_passes(network)
    found = explain(passes, follow="calibrated-logit", calibrator=recalx)
    masks = RiseMasks((13, 10), masks=60, grid=4, p=0.5, seed=0)
    hidden = masks.perturbed_fraction(slice(None))
    assert (hidden < 0.5).any()
    assert (hidden >= 0.5).any()
    (call,) = passes.calls
    logits = passes.blend(call.plans, call.grids, call.axes, call.work)
    for plan, target in enumerate((2, 0)):
        scores = logits[call.work[:, 0] == plan][:, target] * np.where(hidden < 0.5, 0.8, 0.25)
        np.testing.assert_allclose(found[plan], masks.weighted_sum(scores) / 30, rtol=1e-4, atol=1e-6)
