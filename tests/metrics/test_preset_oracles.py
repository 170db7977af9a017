"""Every preset gives the numbers of the tool it is named after, from the same networks, pictures and maps."""

from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.test_oracles import curves_of, scored

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

PROBABILITY, LOGIT = 1e-5, 1e-4
models = pytest.mark.parametrize("model", ["a", "b"])


def stored_map(name: str, model: str) -> str:
    """The file has the maps that depend on the model under its letter, and calls them without it in its results."""
    return f"{name}_{model}" if name in ("gradabs", "gxi", "gxi3") else name


def compared(found, method, metric, readout, expected, *, scale=1.0):
    """Asserts that the eight curves are the expected ones (8, points)."""
    curves = np.stack([row.curve.values for row in curves_of(found, method, metric, readout)])
    tolerance = PROBABILITY if readout == "raw" else LOGIT
    np.testing.assert_allclose(curves, expected, rtol=0, atol=tolerance * scale)


@models
@pytest.mark.parametrize("name", ["smooth", "tied90"])
def test_torchcam(oracles, model, name):
    found = scored(oracles, model, [name], preset="torchcam")
    with np.load(oracles / "torchcam.npz") as stored:
        for metric in ("deletion", "insertion"):
            key = f"{model}|{name}|softmax|zero|steps20"
            compared(found, name, metric, "raw", stored[f"{key}|{metric}"])
            place = ("deletion", "insertion").index(metric)
            assert found.mean(metric, name) == pytest.approx(float(stored[f"{key}|summary"][place]), abs=PROBABILITY)


@models
@pytest.mark.parametrize("step", [16, 64])
@pytest.mark.parametrize("name", ["gxi3", "noise3"])
def test_quantus_pixel_flipping(oracles, model, name, step):
    """Channel values one by one: maps with a channel axis are ranked value by value."""
    overrides = {"pixels_per_step": str(step)}
    preset = "quantus-pixelflipping"
    method = stored_map(name, model)
    found = scored(oracles, model, [method], preset=preset, overrides=overrides, readouts=("raw", "logit"))
    with np.load(oracles / "quantus.npz") as stored:
        key = f"{model}|{name}|PixelFlipping|step{step}|black"
        compared(found, method, "deletion", "raw", stored[f"{key}|softmax"])
        compared(found, method, "deletion", "logit", stored[f"{key}|raw"])
        if f"{key}|softmax|auc" in stored.files:
            areas = [row.value for row in curves_of(found, method, "deletion")]
            np.testing.assert_allclose(areas, stored[f"{key}|softmax|auc"], rtol=0, atol=PROBABILITY * 3072 / step)


@models
@pytest.mark.parametrize(("baseline", "key"), [("running-mean", "mean"), ("sample-max", "white"), ("zero", "0.0")])
def test_quantus_pixel_flipping_with_its_other_baselines(oracles, model, baseline, key):
    """`mean` drifts: every step fills in the mean of what is left by then."""
    overrides = {"pixels_per_step": "64", "baseline": baseline}
    method = stored_map("gxi3", model)
    found = scored(oracles, model, [method], preset="quantus-pixelflipping", overrides=overrides)
    with np.load(oracles / "quantus.npz") as stored:
        compared(found, method, "deletion", "raw", stored[f"{model}|gxi3|PixelFlipping|step64|{key}|softmax"])


@models
@pytest.mark.parametrize("name", ["gxi3", "noise3"])
@pytest.mark.parametrize(
    ("patch", "order", "baseline", "key"),
    [
        (8, "morf", "sample-min", "black"),
        (4, "morf", "sample-min", "black"),
        (4, "lerf", "sample-min", "black"),
        (5, "morf", "sample-min", "black"),
        (8, "lerf", "zero", "0.0"),
        (4, "morf", "running-mean", "mean"),
    ],
)
def test_quantus_region_perturbation(oracles, model, name, patch, order, baseline, key):
    """Drops after each patch; patches of 5 are short at the far edges."""
    overrides = {"unit_size": str(patch), "baseline": baseline}
    metric, method = f"aopc-{order}", stored_map(name, model)
    found = scored(oracles, model, [method], preset="quantus-region", metrics=(metric,), overrides=overrides)
    with np.load(oracles / "quantus.npz") as stored:
        expected = stored[f"{model}|{name}|RegionPerturbation|patch{patch}|{order}|{key}|softmax"]
        compared(found, method, metric, "raw", expected, scale=2)
        values = [row.value for row in curves_of(found, method, metric)]
        np.testing.assert_allclose(values, expected.mean(axis=1), rtol=0, atol=2 * PROBABILITY)


@models
@pytest.mark.parametrize(("steps", "limit"), [(10, "1.0"), (32, "1.0"), (10, "0.5")])
@pytest.mark.parametrize("name", ["gradabs", "gxi", "smooth", "gxi3"])
def test_xplique(oracles, model, name, steps, limit):
    """Its areas are those of the mean curve, which is the mean of the areas."""
    method = stored_map(name, model)
    overrides = {"intervals": str(steps), "limit": limit}
    found = scored(oracles, model, [method], preset="xplique", overrides=overrides, readouts=("raw", "logit"))
    with np.load(oracles / "xplique.npz") as stored:
        for metric in ("deletion", "insertion"):
            for readout, word in (("raw", "softmax"), ("logit", "raw")):
                word_map = "gxi3" if name == "gxi3" else method
                key = f"{model}|{word_map}|{word}|{metric}|steps{steps}|max{limit}"
                if f"{key}|per_image" in stored.files:
                    compared(found, method, metric, readout, stored[f"{key}|per_image"])
                    mean = found.mean(metric, method, readout)
                    tolerance = PROBABILITY if readout == "raw" else LOGIT
                    assert mean == pytest.approx(float(stored[f"{key}|evaluate"]), abs=tolerance)


@models
@pytest.mark.parametrize("steps", [16, 30])
@pytest.mark.parametrize("name", ["gradabs", "gxi", "smooth"])
def test_openvino_xai(oracles, model, name, steps):
    """Black pixels, and the absolute value of the area, which loses the sign of logits."""
    method = name if name == "smooth" else f"{name}_{model}"
    overrides = {"intervals": str(steps)}
    found = scored(oracles, model, [method], preset="openvino-xai", overrides=overrides, readouts=("raw", "logit"))
    with np.load(oracles / "openvino_xai.npz") as stored:
        for place, metric in enumerate(("insertion", "deletion")):
            for readout, word in (("raw", "softmax"), ("logit", "raw")):
                key = f"{model}|{method}|{word}|steps{steps}"
                if f"{key}|auc_ins_del" in stored.files:
                    compared(found, method, metric, readout, stored[f"{key}|insertion_deletion_curves"][:, place])
                    values = [row.value for row in curves_of(found, method, metric, readout)]
                    tolerance = PROBABILITY if readout == "raw" else LOGIT
                    np.testing.assert_allclose(values, stored[f"{key}|auc_ins_del"][:, place], rtol=0, atol=tolerance)


@models
@pytest.mark.parametrize("points", [10, 20])
@pytest.mark.parametrize("name", ["gradabs", "smooth", "tied90"])
def test_pnpxai(oracles, model, name, points):
    """Ties are exact: both of its orders are stable sorts. AbPC is our gap."""
    method = f"{name}_{model}" if name == "gradabs" else name
    metrics = ("deletion", "deletion-lerf", "gap")
    found = scored(
        oracles, model, [method], preset="pnpxai-morf", metrics=metrics, overrides={"intervals": str(points)}
    )
    with np.load(oracles / "pnpxai.npz") as stored:
        for metric, curve, value in (("deletion", "morf", "MoRF"), ("deletion-lerf", "lerf", "LeRF")):
            compared(found, method, metric, "raw", stored[f"{model}|{method}|{curve}|n{points}|probs"])
            means = [row.value for row in curves_of(found, method, metric)]
            np.testing.assert_allclose(means, stored[f"{model}|{method}|{value}|n{points}"], rtol=0, atol=PROBABILITY)
        gaps = [row.value for row in curves_of(found, method, "gap")]
        np.testing.assert_allclose(gaps, stored[f"{model}|{method}|AbPC|n{points}"], rtol=0, atol=2 * PROBABILITY)
