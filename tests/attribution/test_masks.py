from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import c2i_fast.attribution.masks as masks_module
from c2i_fast.attribution.masks import RiseMasks

SPACES = [(32, 32), (33, 47), (7, 7), (5, 3), (1, 1), (64, 20)]


def full_size(masks: RiseMasks, spread) -> np.ndarray:
    """Every mask at full size, one by one."""
    axes = masks.axes(slice(None))
    return np.array([spread(grid, [axis[i] for axis in axes]) for i, grid in enumerate(masks.grids)])


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("grid", [1, 2, 7, 8])
def test_masks_are_those_of_the_released_code(space, grid, spread_grid):
    """The grid resized by scikit-image to (s + 1) cells, and the image's size cut out at the shift."""
    transform = pytest.importorskip("skimage.transform")
    masks = RiseMasks(space, masks=12, grid=grid, p=0.5, seed=3)
    ours = full_size(masks, spread_grid)
    up_size = [(grid + 1) * math.ceil(size / grid) for size in space]
    for small, (x, y), mask in zip(masks.grids, masks.shifts, ours, strict=True):
        large = transform.resize(small, up_size, order=1, mode="reflect", anti_aliasing=False)
        np.testing.assert_allclose(mask, large[x : x + space[0], y : y + space[1]], atol=2e-6)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_shifts_stay_in_a_cell_and_rows_sum_to_one(space, grid, seed):
    masks = RiseMasks(space, masks=9, grid=grid, p=0.4, seed=seed)
    assert masks.grids.shape == (9, *(grid,) * len(space))
    assert set(np.unique(masks.grids)) <= {0, 1}
    for axis, size, shift in zip(masks.axes(slice(2, 6)), space, masks.shifts.T, strict=True):
        assert axis.shape == (4, size, grid)
        assert axis.dtype == np.float32
        np.testing.assert_allclose(axis.sum(axis=2), 1, atol=1e-6)
        assert shift.min() >= 0
        assert shift.max() < math.ceil(size / grid)


@pytest.mark.parametrize("space", [*SPACES, (50,), (6, 7, 8)])
def test_weighted_sum_is_the_sum_of_weighted_masks(space, spread_grid):
    masks = RiseMasks(space, masks=60, grid=4, p=0.3, seed=1)
    weights = np.random.default_rng(0).normal(size=60)
    expected = np.zeros(space)
    for weight, mask in zip(weights, full_size(masks, spread_grid), strict=True):
        expected += weight * mask
    # The masks handed to engines are float32, the sum's own are float64.
    np.testing.assert_allclose(masks.weighted_sum(weights), expected, atol=2e-5)


def test_weighted_sum_in_blocks_is_the_same_sum(monkeypatch):
    masks = RiseMasks((40, 31), masks=50, grid=3, p=0.5, seed=1)
    weights = np.random.default_rng(0).normal(size=50)
    whole = masks.weighted_sum(weights)
    monkeypatch.setattr(masks_module, "_BLOCK_VALUES", 300)
    np.testing.assert_allclose(masks.weighted_sum(weights), whole, atol=1e-12)


def test_a_share_p_of_cells_and_every_shift_occur():
    masks = RiseMasks((28, 28), masks=4000, grid=7, p=0.3, seed=0)
    assert abs(masks.grids.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / masks.grids.size)
    counts = np.bincount(masks.shifts.ravel(), minlength=4)
    assert len(counts) == 4
    assert abs(counts - 2000).max() < 200


def test_everything_is_kept_at_p_one():
    assert RiseMasks((8, 8), masks=5, grid=2, p=1.0, seed=0).grids.min() == 1


def test_a_longer_set_starts_with_the_shorter_one():
    short, long = (RiseMasks((30, 20), masks=n, grid=5, p=0.5, seed=4) for n in (10, 25))
    np.testing.assert_array_equal(short.grids, long.grids[:10])
    np.testing.assert_array_equal(short.shifts, long.shifts[:10])


def test_the_seed_and_nothing_else_makes_the_set():
    one, same, other = (RiseMasks((30, 20), masks=10, grid=5, p=0.5, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.grids, same.grids)
    assert not np.array_equal(one.grids, other.grids)
