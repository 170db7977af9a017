from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.attribution import CONTROLS, METHODS, Context
from c2i_fast.errors import InputError

SHAPES = [(3, 12, 9), (1, 8, 8), (2, 31), (3, 1, 1)]


def maps_of(name: str, images: np.ndarray, ids: list[str] | None = None, seed: int = 0) -> np.ndarray:
    ids = [f"{i}.png" for i in range(len(images))] if ids is None else ids
    return METHODS[name](Context(seed=seed)).explain(ids, images, np.zeros(len(images), int))


def pictures(shape: tuple[int, ...], n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((n, *shape), np.float32)


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("shape", SHAPES)
def test_maps_have_the_images_space_and_cost_no_pass(name, shape):
    method = METHODS[name](Context())
    maps = method.explain(["a", "b", "c"], pictures(shape), np.zeros(3, int))
    assert maps.shape == (3, *shape[1:])
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert method.passes_used == 0
    assert method.explain([], pictures(shape, 0), np.zeros(0, int)).shape == (0, *shape[1:])


@pytest.mark.parametrize("name", CONTROLS)
def test_order_and_grouping_leave_every_bit(name):
    images = pictures((3, 12, 9))
    together = maps_of(name, images, ["a", "b", "c"])
    np.testing.assert_array_equal(maps_of(name, images[::-1], ["c", "b", "a"])[::-1], together)
    np.testing.assert_array_equal(maps_of(name, images[1:2], ["b"])[0], together[1])


@pytest.mark.parametrize("name", ["random", "smooth-random"])
def test_random_maps_follow_seed_and_id_and_nothing_else(name):
    images = pictures((3, 12, 9), 2)
    maps = maps_of(name, images, ["a", "b"])
    np.testing.assert_array_equal(maps, maps_of(name, 1 - images, ["a", "b"]))
    assert not np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps_of(name, images, ["a", "b"], seed=1)[0])
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_the_two_random_controls_share_no_numbers():
    images = pictures((1, 7, 7), 1)  # 7×7 is the smooth grid itself
    assert not np.allclose(maps_of("random", images), maps_of("smooth-random", images))


def test_random_is_uniform():
    values = maps_of("random", pictures((1, 100, 100), 1)).ravel()
    assert abs(np.histogram(values, 10, (0, 1))[0] - 1000).max() < 150


@pytest.mark.parametrize("shape", [(3, 56, 70), (1, 63)])
def test_smooth_random_is_an_upsampled_grid(shape):
    values = maps_of("smooth-random", pictures(shape, 1))[0].astype(float)
    for axis in range(values.ndim):
        jumps = np.abs(np.diff(values, axis=axis))
        assert jumps.max() <= 7 / values.shape[axis] + 1e-6  # one grid step at most a cell
        borders = np.take(jumps, range(values.shape[axis] // 14 - 1), axis=axis)
        np.testing.assert_allclose(borders, 0, atol=1e-6)  # half a cell is clamped


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_sobel_is_the_stencil(height, width, seed):
    image = np.random.default_rng(seed).random((3, height, width), np.float32)
    grey = image.astype(np.float64).mean(axis=0)
    expected = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            down = across = 0.0
            for i, j in ((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                value = grey[min(max(y + i, 0), height - 1), min(max(x + j, 0), width - 1)]
                down += i * (2 - abs(j)) * value
                across += j * (2 - abs(i)) * value
            expected[y, x] = math.hypot(down, across)
    np.testing.assert_allclose(maps_of("sobel", image[None])[0], expected, atol=1e-5)


def test_sobel_of_a_signal_is_its_slope():
    signal = np.array([[[0, 0, 1, 3, 3]]], np.float32)
    np.testing.assert_allclose(maps_of("sobel", signal)[0], [0, 1, 3, 2, 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 9, 9), (3, 8, 8), (1, 5, 12), (1, 7)])
def test_center_is_symmetric_and_highest_in_the_middle(shape):
    values = maps_of("center", pictures(shape, 1))[0]
    for axis in range(values.ndim):
        np.testing.assert_array_equal(values, np.flip(values, axis))
    middle = tuple((size - 1) // 2 for size in shape[1:])
    assert values[middle] == values.max()
    assert values.ravel()[0] == values.min() == 0
    assert values.max() <= 1
    if all(size % 2 for size in shape[1:]):
        assert values[middle] == 1
        assert (values == 1).sum() == 1


def test_canny_finds_the_border_of_a_square_whatever_the_contrast():
    pytest.importorskip("skimage")
    square = np.zeros((1, 3, 24, 20), np.float32)
    square[:, :, 6:16, 5:15] = 1
    found = maps_of("canny", square)[0]
    assert set(np.unique(found)) == {0.0, 1.0}
    away = np.ones((24, 20), bool)
    away[4:18, 3:17] = False
    assert not found[away].any()
    assert not found[9:13, 8:12].any()
    assert 30 <= found.sum() <= 60  # its outline is 36 pixels
    np.testing.assert_array_equal(maps_of("canny", square * 0.02 + 0.5)[0], found)
    assert not maps_of("canny", np.full((1, 1, 5, 7), 0.5, np.float32)).any()
    with pytest.raises(InputError, match="canny looks for edges in pictures"):
        maps_of("canny", np.zeros((1, 1, 30), np.float32))


def test_superpixels_get_one_random_value_each():
    pytest.importorskip("skimage")
    from c2i_fast.perturb.units import superpixels

    blocks = pictures((3, 10, 8), 2).repeat(8, axis=2).repeat(8, axis=3)
    images = np.ascontiguousarray(blocks)
    maps = maps_of("superpixel-random", images, ["a", "b"])
    for image, found in zip(images, maps, strict=True):
        segments = superpixels(image, 64)
        values = [np.unique(found[segments == s]) for s in range(segments.max() + 1)]
        assert all(len(value) == 1 for value in values)
        assert len(np.unique(values)) == len(values) > 20
    np.testing.assert_array_equal(maps_of("superpixel-random", images[1:], ["b"])[0], maps[1])
    assert not np.array_equal(maps_of("superpixel-random", images[1:], ["b"], seed=1)[0], maps[1])
