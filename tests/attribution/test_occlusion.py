from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import c2i_fast.attribution.occlusion as occlusion_module
from c2i_fast.attribution import Context
from c2i_fast.attribution.occlusion import Occlusion, SuperpixelOcclusion
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing
from tests.nets import smooth_function

MEAN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def score(network, image, target):
    return Context().read(network(image)[None], np.array([target]))[0]


def slow_occlusion(network, image, target, window, stride, fill):
    """Every window by hand, float64; a pixel gets the mean over the windows that hold it."""
    space = image.shape[1:]
    counts = [math.ceil((size - window) / stride) + 1 for size in space]
    total, held = np.zeros(space), np.zeros(space)
    for which in np.ndindex(*counts):
        inside = tuple(slice(w * stride, w * stride + window) for w in which)
        hidden = image.astype(np.float64)
        hidden[(slice(None), *inside)] = fill.reshape(-1, *(1,) * len(space))
        total[inside] += score(network, image, target) - score(network, hidden, target)
        held[inside] += 1
    return total / held


@pytest.mark.parametrize(
    ("shape", "window", "stride"), [((3, 9, 7), 3, 2), ((3, 9, 7), 4, 4), ((3, 20), 5, 2), ((3, 5, 6), 1, 1)]
)
def test_occlusion_is_its_definition(shape, window, stride, loop_passes, monkeypatch):
    monkeypatch.setattr(occlusion_module, "_MASKS_A_CALL", 5)
    network = smooth_function(shape)
    images = np.random.default_rng(2).random((2, *shape), np.float32)
    options = {"window": window, "stride": stride}
    method = Occlusion(Context(passes=loop_passes(network), preprocessing=MEAN, options=options))
    found = method.explain(["a", "b"], images, np.array([1, 3]))
    for image, target, saliency in zip(images, (1, 3), found, strict=True):
        expected = slow_occlusion(network, image, target, window, stride, np.float32([0.4, 0.5, 0.6]))
        np.testing.assert_allclose(saliency, expected, atol=2e-6)
    windows = math.prod(math.ceil((size - window) / stride) + 1 for size in shape[1:])
    assert method.passes_used == 2 * (windows + 1)
    assert found.dtype == np.float32


@pytest.mark.parametrize("model", ["a", "b"])
@pytest.mark.parametrize("readout", ["logit", "softmax"])
@pytest.mark.parametrize(("window", "stride"), [(4, 4), (8, 4), (5, 3)])
def test_maps_are_captums(model, readout, window, stride, oracles, oracle_onnx, batch_passes):
    with np.load(oracles / "captum_maps.npz") as maps, np.load(oracles / "images.npz") as stored:
        expected = maps[f"{model}|{readout}|Occlusion|win3x{window}x{window}|stride3x{stride}x{stride}|zero"]
        images, targets = stored[f"x_{model}"], stored[f"target_{model}"]
    reads = {"logit": lambda z, t: z[np.arange(len(z)), t].astype(np.float64), "softmax": None}
    options = {"window": window, "stride": stride}
    context = Context(passes=batch_passes(oracle_onnx(model)), readout=reads[readout], options=options)
    found = Occlusion(context).explain([str(i) for i in range(8)], images, targets)
    assert (expected == expected[:, :1]).all()  # all channels go together
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-5 * max(1, abs(expected).max()))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_windows_cover_an_axis_and_gaps_are_refused(size, window, stride):
    class NoPasses:
        pass

    method = Occlusion(Context(passes=NoPasses(), options={"window": window, "stride": stride}))
    if stride > min(window, size):
        with pytest.raises(InputError, match="leaves gaps"):
            method._windows(size)
        return
    inside = method._windows(size)
    assert inside.any(axis=0).all()
    assert inside.any(axis=1).all()
    assert (inside[:-1].sum(axis=1) == min(window, size)).all()


def test_a_linear_score_falls_by_what_a_window_holds(loop_passes):
    """Disjoint windows of a linear read-out: each pixel shows its window's share exactly."""
    weights = np.random.default_rng(0).normal(size=(3, 6, 6))
    images = np.random.default_rng(1).random((1, 3, 6, 6), np.float32)
    context = Context(
        passes=loop_passes(lambda image: np.array([(weights * image).sum()])),
        readout=lambda logits, targets: logits[:, 0].astype(np.float64),
        options={"window": 2, "stride": 2, "baseline": "black"},
    )
    found = Occlusion(context).explain(["a"], images, np.array([0]))[0]
    held = (weights * images[0]).sum(axis=0).reshape(3, 2, 3, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(found, held.repeat(2, 0).repeat(2, 1), atol=1e-5)


def test_by_default_a_window_is_a_seventh_and_moves_by_half(loop_passes):
    method = Occlusion(Context(passes=loop_passes(smooth_function((3, 28, 28)))))
    method.explain(["a"], np.random.default_rng(0).random((1, 3, 28, 28), np.float32), np.array([0]))
    assert method.passes_used == 13 * 13 + 1


def test_superpixel_occlusion_is_its_definition(loop_passes):
    from c2i_fast.perturb.units import superpixels

    pytest.importorskip("skimage")
    network = smooth_function((3, 12, 10))
    images = np.random.default_rng(3).random((2, 3, 12, 10), np.float32)
    images[:, :, :6] *= 0.3
    context = Context(passes=loop_passes(network), preprocessing=MEAN, options={"segments": 6})
    method = SuperpixelOcclusion(context)
    found = method.explain(["a", "b"], images, np.array([0, 2]))
    passes = 2
    for image, target, saliency in zip(images, (0, 2), found, strict=True):
        labels = superpixels(image, 6)
        passes += labels.max() + 1
        for unit in range(labels.max() + 1):
            hidden = np.where(labels == unit, np.float32([0.4, 0.5, 0.6]).reshape(3, 1, 1), image)
            drop = score(network, image, target) - score(network, hidden, target)
            np.testing.assert_allclose(saliency[labels == unit], drop, atol=1e-6)
    assert method.passes_used == passes


def test_what_cannot_be_hidden_is_said(loop_passes):
    passes = loop_passes(smooth_function((3, 12)))
    images = np.zeros((1, 3, 12), np.float32)
    with pytest.raises(InputError, match="superpixels are of pictures"):
        SuperpixelOcclusion(Context(passes=passes)).explain(["a"], images, np.array([0]))
    with pytest.raises(InputError, match="occlusion needs masked passes"):
        Occlusion(Context())
    with pytest.raises(InputError, match="occlusion: window must be"):
        Occlusion(Context(passes=passes, options={"window": 0}))
    with pytest.raises(InputError, match="no baseline 'blacck'"):
        Occlusion(Context(passes=passes, options={"baseline": "blacck"}))
    with pytest.raises(InputError, match="target 4 is not one"):
        Occlusion(Context(passes=passes)).explain(["a"], images, np.array([4]))


@pytest.mark.parametrize("kind", [Occlusion, SuperpixelOcclusion])
def test_no_images_cost_nothing(kind, loop_passes):
    method = kind(Context(passes=loop_passes(smooth_function((3, 8, 8)))))
    assert method.explain([], np.zeros((0, 3, 8, 8), np.float32), np.zeros(0, int)).shape == (0, 8, 8)
    assert method.passes_used == 0
