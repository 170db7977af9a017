"""Average drop, average gain and increase in confidence: golden numbers, loops, other packages, and Fake-CAM."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from c2i_fast import score
from c2i_fast.errors import InputError
from c2i_fast.metrics import METRICS, protocol_for
from c2i_fast.metrics.base import Asked
from c2i_fast.metrics.single_mask import MaskProtocol, mask_of, masked, relative_drop
from c2i_fast.models import load_classifier
from c2i_fast.models.preprocess import find_recipe, load_recipe
from tests import nets
from tests.metrics.things import PREPROCESSING, UNEVEN, column, oracle_scores, scored, softmax, value

FAMILY = ("average-drop", "average-gain", "increase-in-confidence")


def measured(metric: str, before: float, after: float, preset: str = "c2i", overrides=None) -> float:
    asked = Asked(passes=np.array([0, 1], np.int32), x=np.zeros(2))
    protocols = (protocol_for(preset, metric, overrides),)
    return METRICS[metric].measure(asked, np.array([before, after]), protocols).value


def test_the_golden_numbers_in_per_cent_and_each_packages_with_its_epsilon(oracles):
    cases = json.loads((oracles / "average_drop_gain.json").read_text())
    seen = 0
    for case in cases.values():
        if not isinstance(case, dict) or "expected" not in case:
            continue
        p, o, expected = np.array(case["p"]), np.array(case["o"]), case["expected"]

        def mean(metric, p=p, o=o, **given):
            flip = metric == "average-gain"
            pairs = zip(1 - p if flip else p, 1 - o if flip else o, strict=True)
            return np.mean([measured(metric, a, b, **given) for a, b in pairs])

        assert 100 * mean("average-drop") == pytest.approx(expected["AD_percent"], abs=1e-11)
        assert 100 * mean("increase-in-confidence") == expected["AI_percent"]
        if expected.get("AG_percent_no_eps") is not None and p.max() < 1:
            assert 100 * mean("average-gain") == pytest.approx(expected["AG_percent_no_eps"], abs=1e-10)
        torchcam, xplique = mean("average-drop", preset="torchcam"), mean("average-drop", preset="xplique")
        assert torchcam == pytest.approx(expected["AD_torchcam_eps1e-7_fraction"], abs=1e-13)
        assert xplique == pytest.approx(expected["AD_xplique_eps1e-8_fraction"], abs=1e-13)
        gain = mean("average-gain", preset="xplique")
        assert gain == pytest.approx(expected["AG_xplique_eps1e-8_fraction"], rel=1e-9, abs=1e-13)
        seen += 1
    assert seen >= 3


# preset → what the mask is made of, how the picture is masked, epsilon; all written out as their authors do it
def opticam(pixels, saliency):
    mask = (saliency - saliency.min()) / (saliency.max() - saliency.min())
    return pixels * mask, 0.0


def _normalised(pixels, mask):
    mean, std = (column(v) for v in UNEVEN.channel_stats(3))
    return (pixels - mean) / std * mask * std + mean


def c2i(pixels, saliency):
    return _normalised(pixels, (saliency - saliency.min()) / (saliency.max() - saliency.min())), 0.0


def xplique(pixels, saliency):
    size = np.abs(saliency)
    return _normalised(pixels, (size - size.min()) / (size.max() - size.min())), 1e-8


def torchcam(pixels, saliency):
    return _normalised(pixels, saliency), 1e-7


@pytest.mark.parametrize("rule", [c2i, opticam, xplique, torchcam], ids=lambda rule: rule.__name__)
def test_every_preset_is_its_formula_by_loops(rule):
    rng = np.random.default_rng(0)
    images, maps = rng.random((6, 3, 6, 5)), rng.normal(size=(6, 6, 5))
    images, maps = images.astype(np.float32), {"ours": maps.astype(np.float32)}
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    metrics = FAMILY if rule is not torchcam else ("average-drop", "increase-in-confidence")
    found = scored(images, maps, metrics, preset=rule.__name__, logits_of=logits_of)
    rose = []
    for i, image in enumerate(images):
        logits = logits_of(image).astype(np.float32)
        target = int(np.argmax(logits))
        shown, eps = rule(image.astype(np.float64), maps["ours"][i].astype(np.float64))
        p = softmax(logits)[target]
        o = softmax(logits_of(shown))[target]
        rose.append(o > p)
        expected = {
            "average-drop": max(p - o, 0) / (p + eps),
            "average-gain": max(o - p, 0) / (1 - p + eps),
            "increase-in-confidence": float(o > p),
        }
        for metric in metrics:
            assert value(found, metric, i).value == pytest.approx(expected[metric], rel=2e-5, abs=2e-6)
    assert 0 < sum(rose) < 6


@pytest.mark.parametrize("model", ["a", "b"])
def test_xpliques_masks_and_scores(oracles, model):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with np.load(oracles / "maps.npz") as stored:
        maps = {
            "gxi3": stored[f"gxi3_{model}"],
            **{n: stored[n] for n in (f"gxi_{model}", "smooth", "tied90", "tied_nearest8")},
        }
    protocol = protocol_for("xplique", "average-drop")
    with np.load(oracles / "xplique.npz") as xplique, np.load(oracles / "images.npz") as images:
        for name in ("smooth", "gxi3"):
            for x, saliency, expected in zip(
                images[f"x_{model}"], maps[name], xplique[f"{model}|{name}|masked_inputs_nhwc"], strict=True
            ):
                mask, constant = mask_of(saliency, protocol)
                assert not constant
                ours = masked(x, np.zeros_like(x), mask)
                np.testing.assert_allclose(ours.transpose(1, 2, 0), expected, rtol=0, atol=1e-6)
        found = oracle_scores(oracles, model, maps, preset="xplique", metrics=FAMILY)
        for name in maps:
            p, o = (xplique[f"{model}|{name}|{key}"].astype(np.float64) for key in "po")
            clear, certain = np.abs(o - p) > 1e-4, 1 - p > 1e-2
            drop, gain, rise = (xplique[f"{model}|{name}|softmax|{key}|per_image"] for key in ("AD", "AG", "AI"))
            np.testing.assert_allclose(found["average-drop", name, "raw"], drop, rtol=0, atol=3e-5)
            # 1 − p of float32 has no digits where p is all but 1; ours is of float64 and is not compared there
            assert certain.any() or model == "b"
            np.testing.assert_allclose(found["average-gain", name, "raw"][certain], gain[certain], rtol=0, atol=5e-4)
            np.testing.assert_array_equal(found["increase-in-confidence", name, "raw"][clear], rise[clear])


@pytest.mark.parametrize("model", ["a", "b"])
def test_torchcams_scores(oracles, model):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    names = ("smooth01", "gradabs01", "lowres")
    with np.load(oracles / "torchcam.npz") as torchcam:
        maps = {name: torchcam[f"AD|{model}|{name}|cam"] for name in names}
        stored = {name: torchcam[f"AD|{model}|{name}|softmax|per_image"] for name in names}
    found = oracle_scores(oracles, model, maps, preset="torchcam", metrics=("average-drop", "increase-in-confidence"))
    for name in names:
        np.testing.assert_allclose(found["average-drop", name, "raw"], stored[name][:, 0], rtol=0, atol=3e-5)
        np.testing.assert_array_equal(found["increase-in-confidence", name, "raw"], stored[name][:, 1])
    assert PREPROCESSING[model].mean  # the mask is of the normalised image


@pytest.mark.parametrize("preset", ["c2i", "opticam", "xplique"])
def test_a_mask_of_ones_is_the_clean_pass_and_all_three_are_exactly_nothing(preset):
    images = np.random.default_rng(1).random((3, 3, 4, 5)).astype(np.float32)
    found = scored(images, {"ours": np.ones((3, 4, 5), np.float32)}, FAMILY, preset=preset)
    assert [row.value for row in found.rows] == [0.0] * 9
    assert {row.warnings for row in found.rows} == {("constant map",)}
    assert all(image.plan.passes == 1 for image in found.images)


def test_ones_as_they_are_mask_nothing_and_are_no_cause_for_a_warning():
    images = np.random.default_rng(1).random((2, 3, 4, 5)).astype(np.float32)
    found = scored(images, {"ours": np.ones((2, 4, 5), np.float32)}, FAMILY, overrides={"scaling": "none"})
    assert {(row.value, row.warnings) for row in found.rows} == {(0.0, ())}
    assert all(image.plan.passes == 1 for image in found.images)


def test_fake_cam_drops_nothing_and_often_gains_but_hardly(oracles):
    """All ones but one corner pixel: the best average drop there is, a coin's increase, and next to no gain.

    ResNet-20 (b) is sure of itself to 1e-4: what little is left to gain moves by more, for Fake-CAM too.
    """
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    fake = np.ones((8, 32, 32), np.float32)
    fake[:, 0, 0] = 0
    for model, gain in (("a", 0.03), ("b", 0.2)):
        found = oracle_scores(oracles, model, {"fake": fake}, preset="opticam", metrics=FAMILY)
        assert found["average-drop", "fake", "raw"].mean() < 0.01
        assert found["average-gain", "fake", "raw"].mean() < gain
        assert 0 < found["increase-in-confidence", "fake", "raw"].mean() < 1


def test_gain_keeps_its_digits_where_the_probability_is_all_but_one():
    """Logits 40 and 41 above the others: 1 − p is 4e-18, which no float64 p can tell from 0."""
    matrix = np.zeros((2, 2))
    matrix[0] = [-1.0, 0.0]  # the first pixel removed adds one logit to the target
    net = lambda image: np.array([40.0, 0.0]) + matrix @ image.ravel()  # noqa: E731
    images, saliency = np.ones((1, 1, 1, 2), np.float32), np.array([[[0.0, 1.0]]], np.float32)
    plain = scored(
        images,
        {"ours": saliency},
        ("average-gain",),
        preset="opticam",
        logits_of=net,
        preprocessing=PREPROCESSING["a"],
    )
    before, after = 1 / (1 + np.exp(39.0)), 1 / (1 + np.exp(40.0))
    assert value(plain, "average-gain").value == pytest.approx((before - after) / before, rel=1e-12)


def test_three_metrics_and_equal_maps_are_one_pass_more_than_the_clean_one():
    rng = np.random.default_rng(3)
    images, saliency = rng.random((2, 3, 5, 4)).astype(np.float32), rng.random((2, 5, 4)).astype(np.float32)
    found = scored(images, {"ours": saliency, "twice": 2 * saliency}, FAMILY)
    assert [image.plan.passes for image in found.images] == [2, 2]
    shares = [image.plan.perturbed_fraction for image in found.images]
    for share, own in zip(shares, saliency.astype(np.float64), strict=True):
        mask = (own - own.min()) / (own.max() - own.min())
        np.testing.assert_allclose(share, [0, 1 - mask.mean()], rtol=1e-12)


def test_a_signals_map_and_channels_with_maps_of_their_own():
    rng = np.random.default_rng(3)
    signals = rng.random((2, 3, 9)).astype(np.float32)
    found = scored(signals, {"ours": rng.random((2, 9)).astype(np.float32)}, FAMILY)
    assert len(found.rows) == 6
    protocol = MaskProtocol(name="x", metric="average-drop", sign="absolute", scaling="none")
    channels = np.array([[[-1.0, 2.0]], [[3.0, 0.0]]])
    np.testing.assert_array_equal(mask_of(channels, protocol)[0], [[2.0, 1.0]])


@pytest.mark.parametrize(("before", "after", "eps", "expected"), [(0, 0, 0, 0), (0, 0.5, 0, 0), (0.5, 0, 0.5, 0.5)])
def test_a_drop_from_nothing_is_nothing(before, after, eps, expected):
    assert relative_drop(before, after, eps) == expected


def test_the_margin_and_the_epsilon_matter():
    assert measured("increase-in-confidence", 0.5, 0.55) == 1
    assert measured("increase-in-confidence", 0.5, 0.55, overrides={"margin": "0.1"}) == 0
    assert measured("average-drop", 0.5, 0.25, overrides={"eps": "0.5"}) == 0.25
    with pytest.raises(InputError, match="margin must be a number of at least 0"):
        protocol_for("c2i", "increase-in-confidence", {"margin": "-1"})
    with pytest.raises(InputError, match="scaling must be one of min-max, none"):
        protocol_for("c2i", "average-drop", {"scaling": "softmax"})


def test_a_logit_has_no_complement():
    images = np.random.default_rng(1).random((1, 3, 4, 5)).astype(np.float32)
    with pytest.raises(InputError, match="average-gain is of 1 − p"):
        scored(images, {"ours": images[:, 0]}, FAMILY, readouts=("raw", "logit"))
    assert scored(images, {"ours": images[:, 0]}, FAMILY[::2], readouts=("raw", "logit")).rows


@pytest.mark.slow
def test_fake_cam_on_a_real_network(assets):
    """MobileNetV2 on pictures of 224 × 224: no drop, every other picture likelier, and nothing gained."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    classifier = load_classifier(
        assets / "models/imagenet/tf2_mobilenet_v2_1.0_224_ptq.onnx",
        preprocessing=load_recipe(find_recipe("mobilenet-tf")),
    )
    files = sorted((assets / "images/imagenet_val").glob("*.[jJ][pP]*"))[:40]
    images = np.stack([np.asarray(Image.open(f).convert("RGB").resize((224, 224))) for f in files])
    fake = np.ones((40, 224, 224), np.float32)
    fake[:, 0, 0] = 0
    found = score(classifier, images, fake, metrics=FAMILY, preset="opticam", engine="onnxruntime")
    drop, gain, rise = (np.mean([r.value for r in found.rows if r.metric == metric]) for metric in FAMILY)
    assert drop < 0.01
    assert gain < 0.03
    assert 0.2 < rise < 0.8
