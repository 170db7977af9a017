"""The numbers of other projects' released code, from the same network, pictures and maps."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast import Preprocessing, score
from c2i_fast.data.resize import resize_map
from c2i_fast.perturb.order import pixel_order

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

FILES = {"a": "model_a_tiny.onnx", "b": "model_b_resnet20.onnx"}
PREPROCESSING = {
    "a": Preprocessing(mean=(0.5,), std=(0.5,)),
    "b": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}


def scored(oracles, model: str, names, **options):
    """Scores of the eight pictures under the named maps, and the oracle's target classes."""
    with np.load(oracles / "images.npz") as images, np.load(oracles / "maps.npz") as maps:
        pictures, targets = images["images_u8"], images[f"target_{model}"]
        chosen = {name: maps[name] for name in names}
    found = score(
        oracles / FILES[model],
        pictures,
        chosen,
        preprocessing=PREPROCESSING[model],
        engine="onnxruntime",
        threads=1,
        **options,
    )
    assert [row.target for row in found.rows[:: len(found.rows) // 8]] == targets.tolist()
    return found


def curves_of(found, method: str, metric: str, readout: str = "raw"):
    rows = [r for r in found.rows if (r.method, r.metric, r.readout) == (method, metric, readout)]
    assert len(rows) == 8
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("step", [16, 100])
@pytest.mark.parametrize("model", ["a", "b"])
def test_rise_curves_and_areas_are_those_of_its_authors(oracles, model, step):
    """Deletion to zero and insertion from the blur, 16 pixels a step, and 100, which does not divide 1024."""
    names = [f"gradabs_{model}", f"gxi_{model}", "smooth"]
    metrics = ("deletion", "insertion")
    found = scored(oracles, model, names, preset="rise", overrides={"pixels_per_step": str(step)}, metrics=metrics)
    checked = 0
    with np.load(oracles / "rise.npz") as rise:
        for name in names:
            for metric, key in (("deletion", "del|zero"), ("insertion", "ins|blur")):
                stored = f"{model}|{name}|{key}|step{step}"
                if stored not in rise.files:
                    continue
                rows = curves_of(found, name, metric)
                curves = np.stack([row.curve.values for row in rows], axis=1)
                np.testing.assert_allclose(curves, rise[stored], rtol=0, atol=1e-5)
                np.testing.assert_allclose([r.value for r in rows], rise[f"{stored}|auc"], rtol=0, atol=1e-5)
                mean = np.mean([r.value for r in rows])
                assert mean == pytest.approx(float(rise[f"{stored}|auc_of_mean"]), abs=1e-5)
                checked += 1
    assert checked >= 4


@pytest.mark.parametrize(
    ("metric", "key", "baseline"), [("insertion", "ins|zero", "zero"), ("deletion", "del|blur", "blur")]
)
@pytest.mark.parametrize("model", ["a", "b"])
def test_rise_with_the_other_substrate(oracles, model, metric, key, baseline):
    name = f"gradabs_{model}"
    overrides = {"pixels_per_step": "16", "baseline": baseline}
    found = scored(oracles, model, [name], preset="rise", overrides=overrides, metrics=(metric,))
    with np.load(oracles / "rise.npz") as rise:
        stored = f"{model}|{name}|{key}|step16"
        rows = curves_of(found, name, metric)
        np.testing.assert_allclose(np.stack([r.curve.values for r in rows], axis=1), rise[stored], rtol=0, atol=1e-5)
        np.testing.assert_allclose([r.value for r in rows], rise[f"{stored}|auc"], rtol=0, atol=1e-5)


def test_rise_orders_of_tie_free_maps_are_ours(oracles):
    """Reversing an ascending stable sort is what `reverse-index` is; without ties no sort can differ."""
    checked = 0
    with np.load(oracles / "rise.npz") as rise, np.load(oracles / "maps.npz") as maps:
        for model in "ab":
            for name in (f"gradabs_{model}", f"gxi_{model}", "smooth"):
                if f"{model}|{name}|order" in rise.files:
                    for saliency, order in zip(maps[name], rise[f"{model}|{name}|order"], strict=True):
                        assert np.unique(saliency).size == 1024
                        np.testing.assert_array_equal(pixel_order(saliency, "reverse-index"), order)
                        checked += 1
    assert checked >= 16


@pytest.mark.parametrize("steps", [20, 56])
@pytest.mark.parametrize("name", ["smooth", "tied90"])
@pytest.mark.parametrize("model", ["a", "b"])
def test_torchcam_curves_on_free_and_on_tied_maps(oracles, model, name, steps):
    """Blocks of ⌈1024/steps⌉ in a stable descending order: with 90 % of a map tied, the order itself is checked."""
    overrides = {"counts": "ceil-block", "intervals": str(steps)}
    found = scored(
        oracles,
        model,
        [name],
        preset="c2i",
        overrides=overrides,
        metrics=("deletion", "insertion"),
        readouts=("raw", "logit"),
    )
    with np.load(oracles / "torchcam.npz") as torchcam:
        for readout, key in (("raw", "softmax"), ("logit", "raw")):
            stored = f"{model}|{name}|{key}|zero|steps{steps}"
            if f"{stored}|deletion" not in torchcam.files:
                assert readout == "logit", "the softmax curves are always stored"
                continue
            means = torchcam[f"{stored}|summary"]
            # logits are of the order of ten, probabilities below one
            tolerance = 1e-5 if readout == "raw" else 1e-4
            for metric, mean in zip(("deletion", "insertion"), means, strict=True):
                rows = curves_of(found, name, metric, readout)
                expected = torchcam[f"{stored}|{metric}"]
                np.testing.assert_allclose([r.curve.values for r in rows], expected, rtol=0, atol=tolerance)
                np.testing.assert_allclose(rows[0].curve.fractions, torchcam[f"{stored}|fraction"], rtol=0, atol=1e-7)
                assert np.mean([r.value for r in rows]) == pytest.approx(float(mean), abs=tolerance)


@pytest.mark.parametrize("model", ["a", "b"])
def test_low_resolution_maps_give_torchcams_curves_once_resized(oracles, model):
    """Resized maps are torch's to the last bit but one; clamped edges tie there, so its own bits are ranked."""
    with np.load(oracles / "torchcam.npz") as torchcam, np.load(oracles / "images.npz") as images:
        small, large = torchcam["lowres_cam_7x7"], torchcam["lowres_resized_32x32"]
        key = f"{model}|lowres|softmax|zero|steps20"
        expected = {metric: torchcam[f"{key}|{metric}"] for metric in ("deletion", "insertion")}
        pictures = images["images_u8"]
    resized = np.stack([resize_map(saliency, (32, 32)) for saliency in small])
    np.testing.assert_allclose(resized, large, rtol=0, atol=1e-7)
    found = score(
        oracles / FILES[model],
        pictures,
        {"lowres": large, "ours": small},
        preprocessing=PREPROCESSING[model],
        overrides={"counts": "ceil-block", "intervals": "20"},
        metrics=("deletion", "insertion"),
        engine="onnxruntime",
        threads=1,
    )
    for metric, values in expected.items():
        curves = [row.curve.values for row in curves_of(found, "lowres", metric)]
        np.testing.assert_allclose(curves, values, rtol=0, atol=1e-5)
        # the two orders differ among elements equal to one part in ten million, so their areas hardly do
        areas = [np.mean([row.value for row in curves_of(found, name, metric)]) for name in ("ours", "lowres")]
        assert areas[0] == pytest.approx(areas[1], abs=5e-3)
