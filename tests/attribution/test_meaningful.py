from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import Context
from c2i_fast.attribution.meaningful import MeaningfulPerturbation, _blurred
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")

MEAN = Preprocessing(mean=(0.4, 0.5), std=(0.2, 0.3))


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(2, 6, 3, padding=1), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten()]
    net = torch.nn.Sequential(*body, torch.nn.Linear(24, 3)).eval().double()
    net[4].weight.data *= 6
    return net


def pictures(n: int):
    rng = np.random.default_rng(1)
    return [f"{i}" for i in range(n)], rng.random((n, 2, 10, 9), np.float32), rng.integers(0, 3, n)


def method(module=None, **options) -> MeaningfulPerturbation:
    return MeaningfulPerturbation(Context(module=module or network(), preprocessing=MEAN, options=options))


def slow_loss(module, mask, image, blurred, target, *, sparsity, smoothness, power, score):
    """Of one image, by loops in float64."""
    from c2i_fast.attribution.upsample import linear_axis

    up = linear_axis(10, mask.shape[0], "clamp") @ mask @ linear_axis(9, mask.shape[1], "clamp").T
    mean, std = (np.float64(v).reshape(2, 1, 1) for v in (MEAN.mean, MEAN.std))
    shown = (image * up + blurred * (1 - up) - mean) / std
    with torch.no_grad():
        logits = module(torch.from_numpy(shown)[None])[0].numpy()
    value = logits[target] if score == "logit" else np.exp(logits[target]) / np.exp(logits).sum()
    hidden = sum(1 - v for v in mask.ravel()) / mask.size
    down = [abs(mask[i + 1, j] - mask[i, j]) ** power for i in range(mask.shape[0] - 1) for j in range(mask.shape[1])]
    along = [abs(mask[i, j + 1] - mask[i, j]) ** power for i in range(mask.shape[0]) for j in range(mask.shape[1] - 1)]
    return value + sparsity * hidden + smoothness * (np.mean(down) + np.mean(along))


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_the_loss_is_its_definition_and_its_gradient_finite_differences(score):
    module, (_, images, targets) = network(), pictures(2)
    options = {"sparsity": 0.3, "smoothness": 0.7, "power": 3.0, "score": score}
    own, pixels = method(module, **options), images.astype(np.float64)
    blurred = _blurred(images, 2.0)
    mean, std = (np.float64(v).reshape(2, 1, 1) for v in (MEAN.mean, MEAN.std))
    fed = [torch.from_numpy((v - mean) / std) for v in (pixels, blurred)]
    masks = torch.from_numpy(np.random.default_rng(3).random((2, 1, 4, 3))).requires_grad_()
    loss = own.loss(masks, *fed, targets)
    (slope,) = torch.autograd.grad(loss.sum(), masks)
    for i in range(2):
        at = masks[i, 0].detach().numpy()

        def slow(mask, i=i):
            return slow_loss(module, mask, pixels[i], blurred[i], targets[i], **options)

        assert loss[i].item() == pytest.approx(slow(at), abs=1e-9)
        for place in np.ndindex(4, 3):
            step = np.zeros((4, 3))
            step[place] = 1e-5
            expected = (slow(at + step) - slow(at - step)) / 2e-5
            assert slope[i, 0][place].item() == pytest.approx(expected, abs=1e-6)


def test_the_blur_is_a_gaussian_of_eleven_points():
    image = np.zeros((1, 1, 21, 21), np.float32)
    image[0, 0, 10, 10] = 1
    line = np.exp(-((np.arange(-5, 6) / 2.0) ** 2) / 2)
    line /= line.sum()
    np.testing.assert_allclose(_blurred(image, 2.0)[0, 0, 5:16, 5:16], np.outer(line, line), atol=1e-12)
    assert _blurred(image, 2.0).sum() == pytest.approx(1)


def test_it_is_torchs_adam_with_the_mask_kept_in_bounds():
    module, (ids, images, targets) = network(), pictures(1)
    own = method(module, iterations=25, grid=4)
    found = own.explain(ids, images, targets)[0]
    assert (own.passes_used, own.measured) == (25, {"backward_passes": 25})
    mean, std = (np.float32(v).reshape(2, 1, 1) for v in (MEAN.mean, MEAN.std))
    fed = [torch.from_numpy(((v - mean) / std).astype(np.float32)).double() for v in (images, _blurred(images, 2.0))]
    mask = torch.ones(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([mask], lr=0.1)
    for _ in range(25):
        adam.zero_grad()
        own.loss(mask, *fed, targets).sum().backward()
        adam.step()
        mask.data.clamp_(0, 1)
    up = torch.nn.functional.interpolate(mask, (10, 9), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, 1 - up[0, 0].detach().numpy(), atol=1e-5)


def test_images_do_not_depend_on_each_other_nor_on_one_that_is_not_finite():
    ids, images, targets = pictures(3)
    alone = method(iterations=10, grid=5, batch=1).explain(ids, images, targets)
    np.testing.assert_allclose(method(iterations=10, grid=5).explain(ids, images, targets), alone, atol=1e-6)
    images[1, 0, 2, 2] = np.inf
    spoilt = method(iterations=10, grid=5).explain(ids, images, targets)
    assert np.isnan(spoilt[1]).all()
    np.testing.assert_allclose(spoilt[::2], alone[::2], atol=1e-6)


def test_a_network_that_reads_one_quadrant_is_caught_there():
    class Quadrant(torch.nn.Module):
        """The detail of the upper right quadrant, which a blur takes away."""

        def forward(self, x):
            corner = x[:, :, :8, 8:]
            score = 40 * (corner[..., 1:] - corner[..., :-1]).abs().mean(dim=(1, 2, 3)) - 10
            return torch.stack([score, torch.zeros_like(score)], dim=1)

    image = np.random.default_rng(0).random((1, 1, 16, 16), np.float32)
    context = Context(module=Quadrant(), options={"iterations": 150, "grid": 8, "score": "probability"})
    found = MeaningfulPerturbation(context).explain(["a"], image, np.array([0]))[0]
    top = np.argsort(found.ravel())[-26:]
    assert np.isin(top, np.arange(256).reshape(16, 16)[:8, 8:]).mean() >= 0.9
    assert found[8:, :8].max() < 0.1


def test_what_is_wrong_is_said_and_the_network_is_left_as_it_was():
    for option, value in (("grid", 0), ("rate", 0), ("sigma", -1)):
        with pytest.raises(InputError, match=f"meaningful-perturbation: {option} must be"):
            method(**{option: value})
    with pytest.raises(InputError, match="score is probability or logit"):
        method(score="log")
    with pytest.raises(InputError, match="reads pictures"):
        method().explain(["a"], np.zeros((1, 2, 9), np.float32), np.array([0]))
    module = network().train()
    method(module, iterations=1).explain(*pictures(1))
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
