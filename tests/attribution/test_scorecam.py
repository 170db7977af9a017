from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import c2i_fast.attribution.scorecam as module
from c2i_fast.attribution import Context
from c2i_fast.attribution.scorecam import ScoreCam, linear_axis_clamped, unit_grids
from c2i_fast.attribution.upsample import aligned_axis, resized
from c2i_fast.errors import InputError
from c2i_fast.export.open import open_passes
from c2i_fast.export.taps import OnnxTaps
from c2i_fast.models.source import load_classifier
from c2i_fast.types import EngineConfig, Preprocessing, Tap
from tests.nets import smooth_function

MEAN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def logit(logits, targets):
    return logits[np.arange(len(logits)), targets].astype(np.float64)


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=2),
    st.sampled_from([aligned_axis, linear_axis_clamped]),
    st.integers(0, 999),
)
@settings(max_examples=120, deadline=None)
def test_extremes_are_those_of_the_whole_map(sizes, axis, seed):
    """Against the map at full size, for any sizes: enlarged, equal and reduced."""
    rng = np.random.default_rng(seed)
    channels = rng.normal(size=(4, *(cells for _, cells in sizes))).astype(np.float32)
    channels[1] = 3
    axes = [axis(out, cells) for out, cells in sizes]
    grids, varies = unit_grids(channels, axes)
    for channel, grid, varied in zip(channels.astype(np.float64), grids, varies, strict=True):
        whole, shown = channel, grid.astype(np.float64)
        for matrix in axes:
            whole, shown = (np.tensordot(v, matrix, axes=(0, 1)) for v in (whole, shown))
        if np.ptp(whole) > 1e-9:
            assert varied
            expected = (whole - whole.min()) / (np.ptp(whole) + 1e-8)
            np.testing.assert_allclose(shown, expected, atol=1e-5 * max(1, abs(grid).max()))
        elif not varied:
            assert not grid.any()


class LoopTaps:
    """A layer given as a function of one image."""

    def __init__(self, features_of, shape):
        self.tap = Tap(
            layer="mine", shape=shape, passes=SimpleNamespace(direct=lambda x: np.stack([*map(features_of, x)]))
        )
        self.asked = []

    def features(self, layer):
        self.asked.append(layer)
        return self.tap


@pytest.mark.parametrize(("shape", "grid"), [((3, 11, 9), (4, 3)), ((3, 20), (6,))])
@pytest.mark.parametrize("aligned", [False, True])
def test_scorecam_is_brute_force(shape, grid, aligned, loop_passes, monkeypatch):
    monkeypatch.setattr(module, "_MASKS_A_CALL", 3)
    rng = np.random.default_rng(0)
    network, images = smooth_function(shape), rng.random((2, *shape), np.float32)
    features = rng.normal(size=(2, 7, *grid)).astype(np.float32)
    features[:, 2] = 0.5
    features[:, 5] = 0
    given_images = {image.tobytes(): f for image, f in zip(images, features, strict=True)}
    taps = LoopTaps(lambda image: given_images[image.tobytes()], features.shape[1:])
    options = {"align_corners": aligned, "layer": "mine"}
    context = Context(passes=loop_passes(network), taps=taps, preprocessing=MEAN, readout=logit, options=options)
    method = ScoreCam(context)
    found = method.explain(["a", "b"], images, np.array([1, 3]))
    fill = np.float64([0.4, 0.5, 0.6]).reshape(3, *(1,) * len(grid))
    axis = aligned_axis if aligned else linear_axis_clamped
    for image, channels, target, saliency in zip(images, features.astype(np.float64), (1, 3), found, strict=True):
        scores = []
        for channel in channels:
            mask = channel
            for size, cells in zip(shape[1:], grid, strict=True):
                mask = np.tensordot(mask, axis(size, cells), axes=(0, 1))
            mask = (mask - mask.min()) / (np.ptp(mask) + 1e-8)
            scores.append(network(fill * (1 - mask) + image * mask)[target])
        weights = np.exp(scores - np.max(scores)) / np.exp(scores - np.max(scores)).sum()
        expected = resized(np.maximum(np.tensordot(weights, channels, axes=1), 0), shape[1:])
        np.testing.assert_allclose(saliency, expected, atol=1e-5)
    assert taps.asked == ["mine"]
    assert method.passes_used == 2 * (1 + 5 + 1)  # features, five channels that vary, one for the two that do not


@pytest.mark.parametrize(
    ("model", "layer", "name"),
    [
        ("a", "relu3", "/relu3/Relu"),
        ("a", "conv3", "/conv3/Conv"),
        ("b", "layer3", "/layer3/layer3.2/relu2/Relu"),
        ("b", "layer2", "/layer2/layer2.2/relu2/Relu"),
    ],
)
@pytest.mark.parametrize("readout", ["logit", "softmax"])
def test_maps_are_pytorch_grad_cams(model, layer, name, readout, oracles):
    """Weights are a softmax of logits of masked images in float32, so maps agree to 1e-4 of the largest value."""
    pytest.importorskip("onnxruntime")
    with np.load(oracles / "gradcam_maps.npz") as maps, np.load(oracles / "images.npz") as images:
        raw, final = (maps[f"{model}|{layer}|ScoreCAM|{readout}|{kind}"] for kind in ("raw", "final"))
        x, targets = images[f"x_{model}"], images[f"target_{model}"]
    classifier = load_classifier(oracles / {"a": "model_a_tiny.onnx", "b": "model_b_resnet20.onnx"}[model])
    config = EngineConfig(engine="onnxruntime", threads=1, batch_size=64)
    context = Context(
        passes=open_passes(classifier, config),
        taps=OnnxTaps(classifier, config),
        readout=logit if readout == "logit" else None,
        options={"layer": name, "align_corners": True},
    )
    found = ScoreCam(context).explain([str(i) for i in range(8)], x, targets)
    expected = resized(np.maximum(raw, 0), (32, 32), first=1)
    np.testing.assert_allclose(found, expected, atol=1e-4 * abs(raw).max())
    flat = found.reshape(8, -1)
    # Their final map was scaled on the grid, then resized by OpenCV, then scaled again: the same up to that scale.
    scaled = (found - flat.min(1)[:, None, None]) / (np.ptp(flat, axis=1)[:, None, None] + 1e-7)
    np.testing.assert_allclose(scaled, final, atol=5e-4)


def test_without_taps_it_says_so_and_no_images_cost_nothing(loop_passes):
    passes = loop_passes(smooth_function((3, 6, 6)))
    with pytest.raises(InputError, match="scorecam reads a layer of the network, and the context has no taps"):
        ScoreCam(Context(passes=passes)).explain(["a"], np.zeros((1, 3, 6, 6), np.float32), np.array([0]))
    method = ScoreCam(Context(passes=passes))
    assert method.explain([], np.zeros((0, 3, 6, 6), np.float32), np.zeros(0, int)).shape == (0, 6, 6)
