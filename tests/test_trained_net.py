"""A small network trained on tetrominoes, committed so that the suite proves things on real curves without other files.

`tests/nets_data/tetromino.onnx` is what `c2i-fast demo --quick` exports: fused, temperature included, 28 kB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from c2i_fast import score
from c2i_fast.demo.tetromino import make_tetrominoes
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.models import load_classifier
from c2i_fast.perturb.baseline import Given, baseline_image

ort = pytest.importorskip("onnxruntime", reason="the network is run by onnxruntime")

NET = Path(__file__).parent / "nets_data" / "tetromino.onnx"


@pytest.fixture(scope="module")
def data():
    return make_tetrominoes(200, seed=7)


@pytest.fixture(scope="module")
def session():
    return ort.InferenceSession(NET)


def pixels(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1).astype(np.float32) / 255


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_it_has_learnt_the_shapes(data, session):
    logits, probabilities = session.run(["logits", "probabilities"], {"pixels": pixels(data.images)})
    assert np.mean(logits.argmax(1) == data.labels) > 0.8
    temperature = load_classifier(NET).contract.calibrator["parameters"]["temperature"]
    np.testing.assert_allclose(probabilities, softmax(logits.astype(np.float64) / temperature), atol=1e-6)
    assert temperature > 1  # it was trained to be over-confident


@pytest.mark.parametrize("preset", ["c2i", "rise"])
@pytest.mark.parametrize("readout", ["raw", "calibrated"])
def test_every_curve_is_what_a_loop_over_pixels_gives(data, session, preset, readout):
    """Masked one image at a time, from the definition, through the plain fused graph."""
    images = pixels(data.images[:3])
    maps = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    maps[1] = np.round(maps[1])  # ties
    metrics = ["deletion", "insertion", "deletion-lerf", "insertion-lerf"]
    scores = score(NET, images, maps, metrics=metrics, preset=preset, readouts=[readout])
    temperature = load_classifier(NET).contract.calibrator["parameters"]["temperature"] if readout != "raw" else 1.0
    prep = load_classifier(NET).contract.preprocessing
    for row in scores.rows:
        protocol = protocol_for(preset, row.metric)
        image, saliency = images[int(row.image)], maps[int(row.image)].ravel()
        index = np.arange(saliency.size)
        order = sorted(index, key=lambda p: (-saliency[p], p if preset == "c2i" else -p))
        order = np.array(order if protocol.order == "morf" else order[::-1])
        baseline = baseline_image(protocol.baseline, Given(pixels=image, preprocessing=prep))
        start, end = (image, baseline) if protocol.start == "image" else (baseline, image)
        steps = np.rint(row.curve.fractions * saliency.size).astype(int)
        masked = np.repeat(start[None], len(steps), axis=0)
        for k, changed in enumerate(steps):
            rows, columns = np.unravel_index(order[:changed], (64, 64))
            masked[k][:, rows, columns] = end[:, rows, columns]
        logits = session.run(["logits"], {"pixels": masked})[0].astype(np.float64)
        np.testing.assert_allclose(row.curve.values, softmax(logits / temperature)[:, row.target], atol=1e-5)


def test_a_shape_counts_for_more_than_the_background(data):
    """Known truth: revealing the shape first gives the class sooner than revealing what is around it."""
    images, masks = pixels(data.images[:60]), data.masks[:60].astype(np.float32)
    scores = score(NET, images, {"shape": masks, "background": 1 - masks}, metrics=["insertion", "gap"])
    assert scores.mean("insertion", "shape") > scores.mean("insertion", "background") + 0.1
    assert scores.mean("gap", "shape") > 0.1
