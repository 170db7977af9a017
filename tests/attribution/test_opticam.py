from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import Context
from c2i_fast.attribution.opticam import OptiCam
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

torch = pytest.importorskip("torch")

MEAN = Preprocessing(mean=(0.4, 0.5), std=(0.2, 0.3))


def network(classes: int = 3, double: bool = False) -> torch.nn.Sequential:
    """Two convolutions and a pooled linear head; smooth (GELU), so that finite differences meet no kink but ReLU's."""
    torch.manual_seed(0)
    body = [torch.nn.Conv2d(2, 6, 3, padding=1), torch.nn.GELU(), torch.nn.AvgPool2d(2), torch.nn.Conv2d(6, 5, 3)]
    head = [torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(5, classes)]
    net = torch.nn.Sequential(*body, *head).eval()
    net[7].weight.data *= 8
    return net.double() if double else net


def pictures(n: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return [f"{i}" for i in range(n)], rng.random((n, 2, 12, 10), np.float32), rng.integers(0, 3, n)


def opticam(module=None, **options) -> OptiCam:
    return OptiCam(Context(module=module or network(), preprocessing=MEAN, options=options))


def slow_value(module, image, target, u, method, *, fill=0.0):
    """F of one image by loops in float64: softmax, weighted sum, bilinear by hand, scaling, mask on pixels."""
    from c2i_fast.attribution.upsample import linear_axis

    mean, std = (np.float64(v).reshape(2, 1, 1) for v in (MEAN.mean, MEAN.std))

    def run(pixels, layers):
        x = torch.from_numpy((pixels - mean) / std)[None]
        with torch.no_grad():
            return layers(x)[0].numpy()

    features = np.maximum(run(image.astype(np.float64), module[:4]), 0)
    weights = np.exp(u - u.max()) / np.exp(u - u.max()).sum()
    low = sum(w * a for w, a in zip(weights, features, strict=True))
    up = linear_axis(12, low.shape[0], "clamp") @ low @ linear_axis(10, low.shape[1], "clamp").T
    scaled = {
        "max_min": (up - up.min()) / (np.ptp(up) or 1),
        "max": up / (up.max() or 1),
        "sigmoid": 1 / (1 + np.exp(-up)),
    }[method.options["normalisation"]]

    def score(pixels):
        logits = run(pixels, module)
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        return (shares if method.options["score"] == "probability" else logits)[target]

    kept = score(fill * (1 - scaled) + image.astype(np.float64) * scaled)
    return -abs(score(image.astype(np.float64)) - kept) if method.options["objective"] == "diff" else kept


@pytest.mark.parametrize("normalisation", ["max_min", "max", "sigmoid"])
@pytest.mark.parametrize(("objective", "score"), [("plain", "logit"), ("diff", "logit"), ("plain", "probability")])
def test_the_objective_is_its_definition_and_its_gradient_finite_differences(normalisation, objective, score):
    module = network(double=True)
    method = opticam(module, normalisation=normalisation, objective=objective, score=score, layer="3")
    ids, images, targets = pictures(2)
    problem = method.problem(ids, images, targets)
    u = torch.from_numpy(np.random.default_rng(2).normal(size=(2, 5))).requires_grad_()
    value = problem.value(u, np.arange(2))
    (slope,) = torch.autograd.grad(value.sum(), u)
    for i in range(2):
        at = u[i].detach().numpy()
        assert value[i].item() == pytest.approx(slow_value(module, images[i], targets[i], at, method), abs=2e-6)
        for k in range(5):
            step = np.eye(5)[k] * 1e-5
            with torch.no_grad():
                ends = [problem.value(torch.from_numpy(at + s)[None], np.array([i])).item() for s in (step, -step)]
            assert slope[i, k].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-6)


def slow_opticam(problem, row, iterations, rate, stop):
    """One image through torch's own Adam; the best of all points met, the last included."""
    u = torch.full((1, problem.features.shape[1]), 0.5, dtype=problem.features.dtype, requires_grad=True)
    adam, rows = torch.optim.Adam([u], lr=rate), np.array([row])
    met, before, steps = [], -np.inf, 0
    for step in range(1, iterations + 1):
        adam.zero_grad()
        value = problem.value(u, rows)[0]
        met.append((value.item(), u.detach().clone()))
        (-value).backward()
        adam.step()
        steps += 1
        if stop and step % max(1, iterations // 10) == 0:
            if value.item() < before:
                break
            before = value.item()
    met.append((problem.value(u, rows)[0].item(), u.detach().clone()))
    return max(met, key=lambda pair: pair[0]), steps


@pytest.mark.parametrize(
    ("options", "iterations", "rate", "stop"),
    [
        ({}, 100, 0.1, False),
        ({"preset": "official-demo"}, 50, 0.1, True),
        ({"preset": "official-class"}, 100, 0.01, True),
        ({"preset": "official-demo", "rate": 2.0, "iterations": 30}, 30, 2.0, True),
    ],
)
def test_it_follows_torchs_adam_and_keeps_the_best(options, iterations, rate, stop):
    method = opticam(network(double=True), layer="3", **options)
    ids, images, targets = pictures(4)
    problem = method.problem(ids, images, targets)
    before = method.backwards_used
    best = method.optimised(problem)
    steps = 0
    for row in range(4):
        (value, u), ran = slow_opticam(problem, row, iterations, rate, stop)
        steps += ran
        with torch.no_grad():
            found = problem.value(best[[row]], np.array([row])).item()
            start = problem.value(torch.full_like(best[[row]], 0.5), np.array([row])).item()
        assert found == pytest.approx(value, abs=1e-9)
        assert found >= start
        np.testing.assert_allclose(best[row], u[0], atol=1e-7)
    assert method.backwards_used - before == steps
    assert steps < 4 * iterations or not stop or rate < 1


def test_a_batch_of_eight_is_a_batch_of_one():
    ids, images, targets = pictures(8)
    options = {"preset": "official-demo", "rate": 1.0, "layer": "3"}
    together, alone = (opticam(network(double=True), batch=b, **options) for b in (8, 1))
    maps = together.explain(ids, images, targets)
    np.testing.assert_allclose(alone.explain(ids, images, targets), maps, atol=1e-6)
    assert together.passes_used == alone.passes_used
    assert together.backwards_used == alone.backwards_used < 8 * 50  # images stopped at steps of their own
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_passes_are_counted():
    method = opticam(layer="3", iterations=7)
    ids, images, targets = pictures(3)
    method.explain(ids, images, targets)
    assert method.passes_used == 1 + 3 * (1 + 7 + 1)  # the layer is looked for once
    assert method.measured == {"backward_passes": 3 * 7}


def test_a_baseline_fills_what_is_hidden():
    method = opticam(network(double=True), layer="3", baseline="white")
    ids, images, targets = pictures(1)
    problem = method.problem(ids, images, targets)
    u = np.random.default_rng(2).normal(size=5)
    expected = slow_value(network(double=True), images[0], targets[0], u, method, fill=1.0)
    assert problem.value(torch.from_numpy(u)[None], np.array([0])).item() == pytest.approx(expected, abs=2e-6)


def test_a_temperature_leaves_the_optimum_of_the_logit_where_it_is():
    """Adam knows no scale but its ε, so z/T gives the same path."""
    ids, images, targets = pictures(2)

    class Tempered(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network(double=True)

        def forward(self, x):
            return self.net(x) / 2.5

    plain = opticam(network(double=True), layer="3").explain(ids, images, targets)
    tempered = opticam(Tempered(), layer="net.3").explain(ids, images, targets)
    np.testing.assert_allclose(plain, tempered, atol=1e-5)


def test_dead_features_give_a_map_of_zeros():
    module = network()
    module[3].bias.data -= 100
    maps = opticam(module, layer="3", iterations=3).explain(*pictures(1))
    np.testing.assert_array_equal(maps, 0)


def test_the_network_is_left_as_it_was():
    module = network().train()
    opticam(module, layer="3", iterations=2).explain(*pictures(1))
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_what_is_wrong_is_said():
    with pytest.raises(InputError, match="preset is one of paper, official-demo, official-class, got 'mine'"):
        opticam(preset="mine")
    with pytest.raises(InputError, match="opticam: iterations must be"):
        opticam(iterations=0)
    with pytest.raises(InputError, match="rate is Adam's step"):
        opticam(rate=0)
    with pytest.raises(InputError, match="opticam needs gradients"):
        OptiCam(Context())
    with pytest.raises(InputError, match="opticam reads pictures"):
        opticam().explain(["a"], np.zeros((1, 2, 9), np.float32), np.array([0]))
    with pytest.raises(InputError, match="target 3 is not one"):
        opticam(layer="3").explain(["a"], np.zeros((1, 2, 12, 10), np.float32), np.array([3]))
    assert opticam().explain([], np.zeros((0, 2, 12, 10), np.float32), np.zeros(0, int)).shape == (0, 12, 10)


def test_an_image_that_is_not_finite_gets_no_map_and_spoils_no_other():
    ids, images, targets = pictures(3)
    alone = opticam(layer="3", iterations=5).explain(ids[::2], images[::2], targets[::2])
    images[1, 0, 2, 2] = np.inf
    maps = opticam(layer="3", iterations=5).explain(ids, images, targets)
    assert np.isnan(maps[1]).all()
    np.testing.assert_allclose(maps[::2], alone, atol=1e-6)
