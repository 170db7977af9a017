"""Gradient methods: equal to captum's stored outputs, to slow definitions, and invariant where the algebra says so."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import METHODS, Context
from c2i_fast.attribution.starts import starts_of
from c2i_fast.calibration.spec import calibrator_from_spec
from c2i_fast.errors import InputError
from c2i_fast.random_numbers import generator
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")
pytest.importorskip("captum")

TEMPERATURE = calibrator_from_spec({"method": "temperature", "parameters": {"temperature": 2.6}})
FAMILY = ("gradient", "input-x-gradient", "integrated-gradients", "smoothgrad", "lrp", "randomised")
IDS = ("a", "b")


def maps_of(name, module, images, targets, ids=IDS, preprocessing=None, **more):
    context = Context(module=module, preprocessing=preprocessing or Preprocessing(), **more)
    return METHODS[name](context).explain(list(ids), images, np.array(targets))


def small(classes: int = 4, channels: int = 3, seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 5, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(5, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, classes),
    ).eval()


def pictures(channels: int = 3, size: tuple[int, int] = (9, 7), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, channels, *size), np.float32)


def assert_alike(found, expected):
    """Equal to 1e-5 of the largest value, single pixels aside where a unit within rounding of 0 flipped."""
    assert (np.abs(found - expected) > 1e-5 * np.abs(expected).max()).mean() < 0.002


@pytest.mark.parametrize("net", ["a", "b"])
@pytest.mark.parametrize(("follow", "key"), [("logit", "logit"), ("raw", "softmax")])
@pytest.mark.parametrize(
    ("name", "stored", "options"),
    [
        ("gradient", "Saliency|absFalse", {"channels": "sum"}),
        ("gradient", "Saliency|absTrue", {"channels": "abs-sum"}),
        ("input-x-gradient", "InputXGradient", {}),
        ("integrated-gradients", "IntegratedGradients|gausslegendre|n50|zero", {}),
        ("integrated-gradients", "IntegratedGradients|riemann_left|n32|zero", {"steps": 32, "rule": "riemann_left"}),
        (
            "integrated-gradients",
            "IntegratedGradients|riemann_middle|n32|zero",
            {"steps": 32, "rule": "riemann_middle"},
        ),
    ],
)
def test_maps_are_the_oracles(net, follow, key, name, stored, options, oracles, request):
    model = request.getfixturevalue(f"model_{net}")
    with np.load(oracles / "captum_maps.npz") as maps:
        expected = maps[f"{net}|{key}|{stored}"].sum(axis=1)
        delta = maps[f"{net}|{key}|{stored}|delta"] if name == "integrated-gradients" else None
    method = METHODS[name](Context(module=model.module, follow=follow, options=options))
    assert_alike(method.explain(model.ids, model.normalised, model.targets), expected)
    if delta is not None:
        gap = method.measured["completeness_gap"]
        assert gap["mean"] == pytest.approx(np.abs(delta).mean(), rel=0.02, abs=2e-5)
        assert gap["image"] in model.ids


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(("channels", "size"), [(1, (9, 7)), (3, (6, 11))])
def test_shapes_and_channel_reductions(name, channels, size):
    module, images = small(channels=channels), pictures(channels, size)
    signed, absolute = (maps_of(name, module, images, [1, 3], options={"channels": c}) for c in ("sum", "abs-sum"))
    assert signed.shape == absolute.shape == (2, *size)
    assert signed.dtype == np.float32
    assert (absolute >= np.abs(signed) - 1e-6).all()
    assert np.ptp(signed) > 0
    if channels == 1:
        np.testing.assert_allclose(absolute, np.abs(signed), rtol=1e-6)
    with pytest.raises(InputError, match="channels is abs-sum or sum, got 'mean'"):
        maps_of(name, module, images, [1, 3], options={"channels": "mean"})


@pytest.mark.parametrize("name", FAMILY)
def test_batch_mates_do_not_matter_and_the_model_is_left_alone(name):
    module, images = small().train(), pictures()
    module.insert(1, torch.nn.BatchNorm2d(5))
    before = {key: value.clone() for key, value in module.state_dict().items()}
    both = maps_of(name, module, images, [1, 3])
    alone = maps_of(name, module, images[1:], [3], ids=["b"])
    np.testing.assert_allclose(alone[0], both[1], atol=1e-5 * np.abs(both).max())
    assert all(part.training for part in module.modules())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._backward_hooks or hasattr(part, "rule") for part in module.modules())
    with pytest.raises(InputError, match="target 4 is not one of the model's 4 classes"):
        maps_of(name, module, images, [1, 4])


def straight_line(module, image, start, target, steps):
    """Riemann's middle sum by the definition, one point at a time, float64."""
    module, total = module.double(), 0
    x, b = (torch.from_numpy(v.astype(np.float64)) for v in (image, start))
    for k in range(steps):
        at = (b + (k + 0.5) / steps * (x - b))[None].requires_grad_()
        (slope,) = torch.autograd.grad(module(at)[0, target], at)
        total = total + slope[0] / steps
    module.float()
    return ((x - b) * total).sum(dim=0).numpy()


@pytest.mark.parametrize("baseline", ["mean", "black", "white", "blur", "uniform", "file"])
def test_integrated_gradients_start_at_their_baseline(baseline, tmp_path):
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.5,))
    module, images = small(), pictures()
    mean, std = np.array([0.4, 0.5, 0.6], np.float32).reshape(3, 1, 1), np.float32(0.5)
    if baseline == "file":
        starts = pictures(seed=5)
        for image_id, start in zip(IDS, starts, strict=True):
            np.save(tmp_path / f"{image_id}.npy", start)
        baseline = f"file:{tmp_path}"
    else:
        starts = starts_of(baseline, IDS, images, preprocessing, 7)
    known = {"mean": mean, "black": 0, "white": 1}
    if baseline in known:
        np.testing.assert_allclose(starts, np.broadcast_to(known[baseline], images.shape), atol=1e-6)
    options = {"baseline": baseline, "steps": 20, "rule": "riemann_middle"}
    context = Context(module=module, preprocessing=preprocessing, options=options, seed=7)
    method = METHODS["integrated-gradients"](context)
    found = method.explain(list(IDS), images, np.array([2, 0]))
    for row, target in enumerate((2, 0)):
        expected = straight_line(module, (images[row] - mean) / std, (starts[row] - mean) / std, target, 20)
        np.testing.assert_allclose(found[row], expected, atol=2e-5 * np.abs(expected).max() + 1e-6)
    assert method.passes_used == 2 * 22


def test_more_steps_close_the_gap():
    gaps = []
    for steps in (2, 200):
        context = Context(module=small(), options={"steps": steps, "rule": "riemann_left"})
        method = METHODS["integrated-gradients"](context)
        assert method.measured == {}
        method.explain(list(IDS), pictures() * 3, np.array([2, 0]))
        gaps.append(method.measured["completeness_gap"]["largest"])
    assert gaps[1] < gaps[0] / 10


def test_one_file_may_serve_all_images_and_wrong_ones_are_refused(tmp_path):
    images = pictures()
    np.save(tmp_path / "one.npy", images[1])
    found = starts_of(f"file:{tmp_path / 'one.npy'}", IDS, images, Preprocessing(), 0)
    np.testing.assert_array_equal(found, images[[1, 1]])
    np.save(tmp_path / "bytes.npy", np.zeros((3, 9, 7), np.uint8))
    np.save(tmp_path / "small.npy", np.zeros((3, 4, 4), np.float32))
    for name, said in [
        ("file:nowhere", "no such file or folder"),
        (f"file:{tmp_path}", "cannot read the baseline"),
        (f"file:{tmp_path / 'bytes.npy'}", "finite floats in the units of pixels"),
        (f"file:{tmp_path / 'small.npy'}", r"expected one image \(3, 9, 7\), got \(3, 4, 4\)"),
        ("blurr", "did you mean 'blur'"),
    ]:
        with pytest.raises(InputError, match=said):
            starts_of(name, IDS, images, Preprocessing(), 0)


def test_smoothgrad_is_the_mean_of_gradients_at_its_own_noise():
    module, images = small(), pictures()
    options = {"samples": 40, "noise": 0.2}
    found = maps_of("smoothgrad", module, images, [1, 3], options=options, seed=3)
    for row, target in enumerate((1, 3)):
        x = torch.from_numpy(images[row])
        random, total = generator(3, "smoothgrad", IDS[row]), torch.zeros_like(x)
        for _ in range(40):
            noise = torch.from_numpy(random.standard_normal(x.shape, np.float32)) * 0.2 * (x.max() - x.min())
            at = (x + noise)[None].requires_grad_()
            (slope,) = torch.autograd.grad(module(at)[0, target], at)
            total += slope[0] / 40
        np.testing.assert_allclose(found[row], total.abs().sum(dim=0), atol=1e-5)
    plain = maps_of("smoothgrad", module, images, [1, 3], options={"samples": 2, "noise": 0})
    np.testing.assert_allclose(plain, maps_of("gradient", module, images, [1, 3]), atol=1e-6)
    assert not np.allclose(found, maps_of("smoothgrad", module, images, [1, 3], options=options, seed=4))


def test_lrp_is_the_epsilon_rule_layer_by_layer():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 7), torch.nn.ReLU6(), torch.nn.Linear(7, 3))
    images = pictures(3, (2, 2)) - 0.3
    found = maps_of("lrp", module, images, [2, 0], options={"epsilon": 0.1})
    weights = [(module[i].weight.detach().numpy().astype(float), module[i].bias.detach().numpy()) for i in (1, 3)]
    for row, target in enumerate((2, 0)):
        activations = [images[row].ravel().astype(float)]
        activations.append(np.clip(weights[0][0] @ activations[0] + weights[0][1], 0, 6))
        relevance = np.zeros(3)
        relevance[target] = (weights[1][0] @ activations[1] + weights[1][1])[target]
        for (w, bias), a in zip(reversed(weights), reversed(activations), strict=True):
            below = np.zeros_like(a)
            for j in range(len(w)):
                z = w[j] @ a + bias[j]
                for i in range(len(a)):
                    below[i] += a[i] * w[j, i] / (z + (0.1 if z >= 0 else -0.1)) * relevance[j]
            relevance = below
        np.testing.assert_allclose(found[row].ravel(), relevance.reshape(3, 4).sum(axis=0), rtol=1e-4, atol=1e-6)


def test_lrp_names_the_layer_it_has_no_rule_for():
    normed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(189), torch.nn.Linear(189, 4))
    with pytest.raises(InputError, match=r"lrp has no rule for layer '1' \(LayerNorm\); use integrated-gradients"):
        maps_of("lrp", normed, pictures(), [0, 1])
    twice, pool = small(), torch.nn.MaxPool2d(2, stride=1)
    twice[2] = pool
    twice.insert(4, pool)
    with pytest.raises(InputError, match="uses one several times"):
        maps_of("lrp", twice, pictures(), [0, 1])
    program = torch.export.export(small(), (torch.from_numpy(pictures()),)).module()
    with pytest.raises(InputError, match="lrp has no rule for layer"):
        maps_of("lrp", program, pictures(), [0, 1])


def test_random_weights_change_the_map_and_are_seeded():
    module, images = small(), pictures()
    first, again, other = (maps_of("randomised", module, images, [1, 3], seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    learnt = maps_of("gradient", module, images, [1, 3])
    for apart in (other, learnt):
        assert abs(np.corrcoef(first.ravel(), apart.ravel())[0, 1]) < 0.9


def scaled(maps: np.ndarray) -> np.ndarray:
    low, high = (pick(maps, axis=(1, 2), keepdims=True) for pick in (np.min, np.max))
    return (maps - low) / (high - low)


@pytest.mark.parametrize("name", ["gradient", "input-x-gradient", "integrated-gradients", "lrp", "gradcam"])
def test_a_temperature_leaves_maps_of_logits_alone(name):
    ssim = pytest.importorskip("skimage.metrics").structural_similarity
    module, images = small(), pictures(3, (24, 20))
    plain, calibrated = (
        scaled(maps_of(name, module, images, [2, 1], follow=follow, calibrator=TEMPERATURE).astype(float))
        for follow in ("logit", "calibrated-logit")
    )
    for one, other in zip(plain, calibrated, strict=True):
        assert ssim(one, other, data_range=1.0) >= 1 - 1e-6
    module[-1].weight.data *= 30  # confident, so that a temperature moves probabilities
    raw, tempered = (
        scaled(maps_of(name, module, images, [2, 1], follow=follow, calibrator=TEMPERATURE).astype(float))
        for follow in ("raw", "calibrated")
    )
    assert min(ssim(a, b, data_range=1.0) for a, b in zip(raw, tempered, strict=True)) < 1 - 1e-6


def test_two_classes_keep_the_ranking_of_plain_probability_gradients():
    """∂p = (p(1 − p)/T) ∂(z₁ − z₀), whatever T; of three classes it is not."""
    images = pictures()
    for classes, kept in ((2, True), (3, False)):
        module = small(classes)
        module[-1].weight.data *= 10
        raw, tempered = (
            maps_of("gradient", module.double(), images, [1, 0], follow=follow, calibrator=TEMPERATURE)
            for follow in ("raw", "calibrated")
        )
        assert np.allclose(scaled(raw), scaled(tempered), atol=1e-5) == kept
