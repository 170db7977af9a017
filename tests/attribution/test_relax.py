from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.attribution import Context
from c2i_fast.attribution.masks import RiseMasks
from c2i_fast.attribution.relax import Relax, cosine, importance_and_uncertainty
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing, Tap
from tests.nets import smooth_function

MEAN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def running(masks: np.ndarray, similar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The authors' update, mask after mask, float64."""
    shown, importance, uncertainty = (np.zeros(masks.shape[1:]) for _ in range(3))
    for mask, s in zip(masks, similar, strict=True):
        shown = shown + mask
        before = importance
        importance = before + mask * (s - before) / np.where(shown > 0, shown, 1)
        uncertainty = uncertainty + mask * (s - importance) * (s - before)
    return importance, uncertainty


def full_size(masks: RiseMasks, spread_grid) -> np.ndarray:
    axes = masks.axes(slice(None))
    return np.array([spread_grid(g, [axis[i] for axis in axes]) for i, g in enumerate(masks.grids)])


def context(passes, layer_of=lambda name: None, size=4, **settings) -> Context:
    def embedding(layer):
        layer_of(layer)
        return Tap(layer="mine", shape=(size,), passes=passes)

    taps = SimpleNamespace(embedding=embedding)
    return Context(passes=passes, taps=taps, preprocessing=MEAN, **settings)


@pytest.mark.parametrize("shape", [(3, 13, 10), (3, 37)])
def test_it_is_its_running_definition(shape, loop_passes, spread_grid):
    network, rng = smooth_function(shape), np.random.default_rng(0)
    images = rng.random((2, *shape), np.float32)
    options, asked = {"masks": 60, "grid": 3, "p": 0.6, "layer": "here"}, []
    method = Relax(context(loop_passes(network), asked.append, seed=5, options=options))
    found = method.explain(["a", "b"], images, np.array([0, 1]))
    masks = full_size(RiseMasks(shape[1:], masks=60, grid=3, p=0.6, seed=5), spread_grid)
    fill = np.float64([0.4, 0.5, 0.6]).reshape(3, *(1,) * (len(shape) - 1))
    for i, image in enumerate(images):
        h = network(image)
        hidden = [network(fill * (1 - m) + image * m) for m in masks]
        similar = np.array([h @ k / np.linalg.norm(h) / np.linalg.norm(k) for k in hidden])
        importance, uncertainty = running(masks, similar)
        np.testing.assert_allclose(found[i], importance, atol=2e-6)
        np.testing.assert_allclose(method.further_maps["relax-uncertainty"][i], uncertainty, atol=1e-4, rtol=1e-4)
    assert asked == ["here"]
    assert method.passes_used == 2 * 61


@pytest.mark.parametrize("offset", [0.0, 0.99, -0.5])
def test_sums_are_the_running_ones_wherever_the_similarities_lie(offset, spread_grid):
    """To 1e-6, though they differ by a thousandth and lie far from 0: nothing cancels."""
    masks = RiseMasks((12, 9), masks=200, grid=4, p=0.5, seed=1)
    similar = offset + 1e-3 * np.random.default_rng(2).normal(size=200)
    importance, uncertainty = importance_and_uncertainty(masks, similar)
    one, two = running(full_size(masks, spread_grid), similar)
    np.testing.assert_allclose(importance - offset, one - offset, atol=1e-8)
    np.testing.assert_allclose(uncertainty, two, rtol=1e-6)


def test_a_constant_representation_matters_nowhere_and_is_sure(loop_passes):
    method = Relax(context(loop_passes(lambda image: np.array([3.0, 4.0])), size=2, options={"masks": 50, "grid": 3}))
    found = method.explain(["a"], np.ones((1, 3, 8, 8), np.float32), np.array([0]))
    np.testing.assert_allclose(found, 1, atol=1e-6)
    np.testing.assert_allclose(method.further_maps["relax-uncertainty"], 0, atol=1e-9)


def test_whole_masks_show_all_and_zero_vectors_are_like_nothing(loop_passes):
    network = smooth_function((3, 8, 8))
    images = np.random.default_rng(0).random((1, 3, 8, 8), np.float32)
    method = Relax(context(loop_passes(network), options={"masks": 5, "grid": 3, "p": 1.0}))
    np.testing.assert_allclose(method.explain(["a"], images, np.array([0])), 1, atol=1e-6)
    assert (cosine(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)) == 0).all()


def test_an_encoder_that_reads_one_quadrant_is_caught_there(loop_passes):
    window = np.s_[:, :8, 8:]
    images = np.random.default_rng(0).random((1, 3, 16, 16), np.float32) + 1
    passes = loop_passes(lambda image: image[window].ravel() + np.random.default_rng(1).normal(size=192))
    method = Relax(context(passes, size=192, options={"masks": 800, "grid": 4, "baseline": "black"}))
    found = method.explain(["a"], images, np.array([0]))[0]
    top = np.argsort(found.ravel())[-26:]
    assert np.isin(top, np.arange(256).reshape(16, 16)[window[1:]]).mean() >= 0.9


def test_twice_the_masks_halve_the_variance(loop_passes):
    passes = loop_passes(lambda image: np.array([image[:, :4].mean(), 0.3, image[:, 4:].mean()]))
    image = np.ones((1, 3, 8, 8), np.float32)

    def variance(masks):
        options = {"masks": masks, "grid": 3, "baseline": "black"}
        runs = [
            Relax(context(passes, size=3, seed=seed, options=options)).explain(["a"], image, np.array([0]))
            for seed in range(40)
        ]
        return np.var(runs, axis=0).mean()

    assert variance(40) / variance(80) == pytest.approx(2, rel=0.35)


@pytest.mark.parametrize("name", ["mean", "median", "otsu", "triangle"])
def test_thresholds_keep_what_is_sure(name, loop_passes):
    filters = pytest.importorskip("skimage.filters")
    images = np.random.default_rng(0).random((1, 3, 14, 12), np.float32)
    options = {"masks": 40, "grid": 4}
    plain = Relax(context(loop_passes(smooth_function((3, 14, 12))), options=options))
    cut = Relax(context(loop_passes(smooth_function((3, 14, 12))), options={**options, "threshold": name}))
    whole, kept = (method.explain(["a"], images, np.array([0]))[0] for method in (plain, cut))
    unsure = plain.further_maps["relax-uncertainty"][0].astype(np.float64)
    np.testing.assert_array_equal(cut.further_maps["relax-uncertainty"][0], unsure)
    limits = {
        "mean": np.mean,
        "median": np.median,
        "otsu": filters.threshold_otsu,
        "triangle": filters.threshold_triangle,
    }
    limit = limits[name](unsure)
    clear = abs(unsure - limit) > 1e-6 * limit
    np.testing.assert_array_equal(kept[clear], np.where(unsure <= limit, whole, 0)[clear])
    assert 0 < (kept == 0).mean() < 1


def test_what_is_wrong_is_said_and_no_images_cost_nothing(loop_passes):
    passes = loop_passes(smooth_function((3, 8, 8)))
    with pytest.raises(InputError, match="threshold is one of mean, median, otsu and triangle, got 'most'"):
        Relax(context(passes, options={"threshold": "most"}))
    with pytest.raises(InputError, match="relax: masks must be"):
        Relax(context(passes, options={"masks": 0}))
    method = Relax(context(passes))
    assert method.explain([], np.zeros((0, 3, 8, 8), np.float32), np.zeros(0, int)).shape == (0, 8, 8)
    assert method.further_maps["relax-uncertainty"].shape == (0, 8, 8)
