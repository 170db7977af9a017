"""Infidelity: loops, the linear closed form, and Captum's numbers on the perturbations it was given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.errors import InputError
from c2i_fast.metrics import infidelity as family
from c2i_fast.metrics import protocol_for
from c2i_fast.metrics.infidelity import infidelity, moved
from tests import nets
from tests.metrics.things import UNEVEN, column, oracle_scores, scored, softmax, value

BOTH = ["a", pytest.param("b", marks=pytest.mark.slow)]
NUMBERS = st.floats(-10, 10, allow_subnormal=False)


def case(count=2, space=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, 3, *space)).astype(np.float32), rng.normal(size=(count, *space)).astype(np.float32)


def spy(monkeypatch, name: str) -> dict:
    """What was drawn for each image."""
    seen, draw = {}, getattr(family, name)

    def spied(rng, book, protocol):
        seen[book.given.image] = draw(rng, book, protocol)
        return seen[book.given.image]

    monkeypatch.setattr(family, name, spied)
    return seen


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_the_optimal_scale_is_the_least_there_is(pairs):
    x, y = np.array(pairs).T
    best = infidelity(x, y, "optimal")
    assert infidelity(x, y) == pytest.approx(np.mean([(a - b) ** 2 for a, b in pairs]), abs=1e-12)
    for factor in (-2.0, -0.1, 0.0, 0.3, 1.0, 7.0):
        assert best <= infidelity(factor * x, y) + 1e-9
        if factor:
            assert infidelity(factor * x, y, "optimal") == pytest.approx(best, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("scaling", ["none", "optimal"])
@pytest.mark.parametrize("kind", ["square", "noise"])
def test_it_is_its_definition_by_loops(monkeypatch, kind, scaling):
    images, maps = case()
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    seen = spy(monkeypatch, "_squares" if kind == "square" else "_noise")
    overrides = {"perturbation": kind, "runs": "7", "size": "0.5", "scaling": scaling}
    found = scored(images, {"ours": maps}, ("infidelity",), overrides=overrides, logits_of=logits_of)
    mean, std = (column(v) for v in UNEVEN.channel_stats(3))
    for i, image in enumerate(images):
        windows, perturbations, _ = seen[str(i)]
        logits = logits_of(image).astype(np.float32)
        target = int(np.argmax(logits))
        normalised = (image.astype(np.float64) - mean) / std
        pairs = []
        for window, change in zip(windows, perturbations, strict=True):
            perturbation = np.zeros((3, 6, 5))
            perturbation[window] = change
            if kind == "square":  # 3 × 2 pixels, python's round of 2.5, to the normalised zero
                assert np.count_nonzero(perturbation.any(axis=0)) == 6
                np.testing.assert_allclose(perturbation[window], normalised[window], atol=1e-6)
            shown = ((normalised - perturbation) * std + mean).astype(np.float32)
            drop = softmax(logits)[target] - softmax(logits_of(shown).astype(np.float32))[target]
            pairs.append((sum(float(c) for c in (perturbation * maps[i]).ravel()), drop))
        factor = sum(a * b for a, b in pairs) / sum(a * a for a, _ in pairs) if scaling == "optimal" else 1
        expected = np.mean([(factor * a - b) ** 2 for a, b in pairs])
        row = value(found, "infidelity", i)
        assert row.value == pytest.approx(expected, rel=1e-4)
        assert row.passes == 8
        assert found.images[i].plan.passes <= 8


@pytest.mark.parametrize("kind", ["square", "noise"])
def test_a_linear_logits_slope_is_without_error_and_c_times_it_has_the_closed_form(monkeypatch, kind):
    """f = w·x, φ = c·w: Infid = (c − 1)² E[(I·w)²]; with one slope for all channels a map (H, W) says it all."""
    rng = np.random.default_rng(5)
    image = rng.random((1, 3, 6, 5)).astype(np.float32)
    slope = rng.normal(size=(6, 5))
    mean, std = (column(v) for v in UNEVEN.channel_stats(3))

    def logits_of(pixels):
        score = float((slope * (pixels - mean) / std).sum())
        return np.array([score + 50, 0.0])

    seen = spy(monkeypatch, "_squares" if kind == "square" else "_noise")
    overrides = {"perturbation": kind, "runs": "20", "scaling": "none"}
    maps = {f"c{c}": c * slope[None] for c in (1.0, 0.5, 2.0)}
    options = {"readouts": ("logit",), "logits_of": logits_of}
    found = scored(image, maps, ("infidelity",), overrides=overrides, **options)
    windows, perturbations, _ = seen["0"]
    hits = [
        float((c * slope[w[1:]] if len(w) > 1 else c * slope).sum())
        for w, c in zip(windows, perturbations, strict=True)
    ]
    power = np.mean(np.square(hits))
    for c in (1.0, 0.5, 2.0):
        row = value(found, "infidelity", method=f"c{c}", readout="logit")
        assert row.value == pytest.approx((c - 1) ** 2 * power, rel=1e-4, abs=1e-8 * power)
    scaled = scored(image, maps, ("infidelity",), overrides=overrides | {"scaling": "optimal"}, **options)
    assert max(row.value for row in scaled.rows) < 1e-8 * power


def test_captums_linear_closed_form(oracles):
    with np.load(oracles / "captum_metrics.npz") as captum:
        given = captum["I_gauss"].astype(np.float64)
        weights = captum["linear_weight"].astype(np.float64)[captum["linear_target"]]
        for c in (1.0, 0.5, 2.0):
            closed, theirs = captum[f"linear|c{c}|closed_form"], captum[f"linear|c{c}|infidelity"]
            for i in range(8):
                slope = weights[i].reshape(3, 32, 32)
                found = infidelity(moved(list(given[i]), c * slope), moved(list(given[i]), slope))
                assert found == pytest.approx(closed[i], rel=1e-9, abs=1e-12)
                assert found == pytest.approx(theirs[i], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["gauss", "mask"])
@pytest.mark.parametrize("model", BOTH)
def test_captums_numbers_on_its_own_perturbations(oracles, monkeypatch, model, kind):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with np.load(oracles / "captum_metrics.npz") as captum, np.load(oracles / "maps.npz") as maps:
        drawn = captum["I_gauss" if kind == "gauss" else "I_square_mask"]
        chosen = {"gxi3": maps[f"gxi3_{model}"], "noise3": maps["noise3"]}
        expected = {key: captum[key] for key in captum.files if key.startswith(f"{model}|")}

    def gauss(rng, book, protocol):
        mine = list(drawn[int(book.given.image)])
        normalised = book.given.normalised()
        passes = [book.direct(book.given.pixels_of(normalised - change), 1.0) for change in mine]
        return [(slice(None),)] * len(mine), mine, np.array(passes, np.int32)

    def squares(rng, book, protocol):
        mine = drawn[int(book.given.image)].astype(bool)
        passes = [book.removed("zero", places) for places in mine]
        whole = book.given.normalised()
        return [(slice(None),)] * len(mine), [places * whole for places in mine], np.array(passes, np.int32)

    monkeypatch.setattr(family, "_noise" if kind == "gauss" else "_squares", gauss if kind == "gauss" else squares)
    checked = 0
    for normalize, scaling in (("False", "none"), ("True", "optimal")):
        overrides = {"perturbation": "noise" if kind == "gauss" else "square", "scaling": scaling}
        found = oracle_scores(oracles, model, chosen, ("infidelity",), overrides=overrides, readouts=("raw", "logit"))
        for name in chosen:
            for readout, key in (("raw", "softmax"), ("logit", "logit")):
                stored = expected[f"{model}|{key}|{name}|infidelity|{kind}|normalize{normalize}"]
                np.testing.assert_allclose(found["infidelity", name, readout], stored, rtol=1e-3, atol=1e-6)
                checked += 1
    assert checked == 8


def test_windows_lie_inside_and_reach_every_corner(monkeypatch):
    images, maps = case(1)
    seen = spy(monkeypatch, "_squares")
    scored(images, {"ours": maps}, ("infidelity",), overrides={"runs": "300", "size": "0.5"})
    windows = seen["0"][0]
    starts = {tuple(s.start for s in window[1:]) for window in windows}
    assert starts == {(i, j) for i in range(4) for j in range(4)}
    assert all(window[1].stop <= 6 and window[2].stop <= 5 for window in windows)


@pytest.mark.parametrize("kind", ["square", "noise"])
def test_maps_share_all_passes_whoever_comes_first(kind):
    images, maps = case()
    other = {"ours": maps, "theirs": maps[:, ::-1].copy()}
    overrides = {"perturbation": kind, "runs": "9"}
    both = scored(images, other, ("infidelity",), overrides=overrides)
    swapped = scored(images, dict(reversed(other.items())), ("infidelity",), overrides=overrides)
    alone = scored(images, {"ours": maps}, ("infidelity",), overrides=overrides)
    for i in range(2):
        assert alone.images[i].plan.passes == both.images[i].plan.passes <= 10
        assert len({value(f, "infidelity", i).value for f in (alone, both, swapped)}) == 1
    assert [len(image.plan.direct) for image in both.images] == ([9, 9] if kind == "noise" else [0, 0])
    reseeded = scored(images, {"ours": maps}, ("infidelity",), overrides=overrides, seed=1)
    assert [r.value for r in reseeded.rows] != [r.value for r in alone.rows]


def test_a_map_of_zeros_predicts_nothing_and_says_so():
    images, maps = case(1)
    rows = {}
    for scaling in ("none", "optimal"):
        overrides = {"runs": "9", "scaling": scaling}
        rows[scaling] = scored(images, {"ours": 0 * maps}, ("infidelity",), overrides=overrides).rows[0]
        assert rows[scaling].warnings == ("zero map",)
    assert rows["none"].value == rows["optimal"].value > 0


def test_signals_and_the_fields_that_clash():
    rng = np.random.default_rng(3)
    signals, maps = rng.random((1, 3, 40)).astype(np.float32), rng.random((1, 40)).astype(np.float32)
    assert scored(signals, {"ours": maps}, ("infidelity",), overrides={"runs": "5"}).rows[0].value > 0
    for overrides in ({"size": "0"}, {"size": "1.5"}, {"perturbation": "noise", "size": "0"}):
        with pytest.raises(InputError, match="needs a size above 0"):
            protocol_for("c2i", "infidelity", overrides)
    assert protocol_for("c2i", "infidelity", {"size": "1.5", "perturbation": "noise"}).size == 1.5
    with pytest.raises(InputError, match="has no use for baseline=black"):
        protocol_for("c2i", "infidelity", {"perturbation": "noise", "baseline": "black"})


def test_the_baseline_of_the_windows_matters():
    images, maps = case(1)
    values = [
        scored(images, {"ours": maps}, ("infidelity",), overrides={"runs": "5", "baseline": name}).rows[0].value
        for name in ("mean", "black", "image-mean")
    ]
    assert len(set(values)) == 3
