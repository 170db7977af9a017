from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.attribution import Context
from c2i_fast.attribution.cam import Cam
from c2i_fast.errors import InputError
from c2i_fast.export.open import open_passes
from c2i_fast.export.taps import OnnxTaps
from c2i_fast.models.source import load_classifier
from c2i_fast.types import EngineConfig
from tests import nets

pytest.importorskip("onnxruntime")
CONFIG = EngineConfig(engine="onnxruntime", threads=1, batch_size=4)


def context(classifier, **options) -> Context:
    passes, taps = open_passes(classifier, CONFIG), OnnxTaps(classifier, CONFIG)
    return Context(passes=passes, taps=taps, preprocessing=classifier.contract.preprocessing, options=options)


@pytest.mark.parametrize(("channels", "space"), [(3, (9, 7)), (2, (20,))])
def test_the_mean_of_a_map_is_the_logit_less_its_bias(channels, space):
    """The layer is as large as the image here, so nothing is resized and the identity is exact."""
    net = nets.conv_net(channels, space)
    images = np.random.default_rng(0).random((5, channels, *space), np.float32)
    targets = np.array([0, 1, 2, 3, 4])
    method = Cam(context(net))
    maps = method.explain(list("abcde"), images, targets)
    weights = nets.conv_weights(channels, len(space), 5, 0)
    for image, target, saliency in zip(images, targets, maps, strict=True):
        assert saliency.mean() == pytest.approx(nets.conv_logits(image, weights)[target] - weights[3][target], abs=1e-5)
    assert method.passes_used == 5


@pytest.mark.parametrize("model", ["a", "b"])
def test_its_positive_part_is_the_oracles_gradcam(model, oracles):
    """GAP and one linear layer: Grad-CAM is ReLU(CAM) up to a factor (here: on the grid, then upsampled)."""
    layer, name = {"a": ("relu3", "model_a_tiny.onnx"), "b": ("layer3", "model_b_resnet20.onnx")}[model]
    with np.load(oracles / "gradcam_maps.npz") as maps, np.load(oracles / "images.npz") as images:
        raw = maps[f"{model}|{layer}|GradCAM|logit|raw"]
        x, targets = images[f"x_{model}"], images[f"target_{model}"]
    method = Cam(context(load_classifier(oracles / name)))
    tap = method.taps().features(None)
    features = method.features(tap, x)
    low = np.einsum("nk,nkhw->nhw", method._weights[targets], features) / 64
    np.testing.assert_allclose(low, raw, atol=1e-5 * abs(raw).max())


def test_a_class_that_is_not_there_and_another_head_are_refused():
    method = Cam(context(nets.conv_net()))
    with pytest.raises(InputError, match="target 5 is not one of the model's 5 classes"):
        method.explain(["a"], np.zeros((1, 3, 9, 7), np.float32), np.array([5]))
    with pytest.raises(InputError, match="cam needs a network of a global mean"):
        Cam(context(nets.linear_net(np.ones((2, 12)), np.zeros(2), 3, (2, 2))))
    assert method.explain([], np.zeros((0, 3, 9, 7), np.float32), np.zeros(0, int)).shape == (0, 9, 7)
