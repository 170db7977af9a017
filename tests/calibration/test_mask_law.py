"""Random masks: each level's counts and shares, unequal cells, the same for every image, and no other seed's."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.recalx import level_of
from c2i_fast.errors import InputError


def cells_of(mask, cells):
    """The state of every cell, which must be one for all its pixels; a pixel belongs to cell p·cells // size."""
    states = {}
    for place in np.ndindex(mask.shape):
        cell = tuple(p * cells // size for p, size in zip(place, mask.shape, strict=True))
        assert states.setdefault(cell, mask[place]) == mask[place]
    return states


@pytest.mark.parametrize(("space", "grid"), [((28, 28), 7), ((23, 30), 7), ((21,), 7), ((9, 9), 3), ((60,), None)])
def test_masks_are_whole_cells_as_many_as_the_level_holds(space, grid):
    law = MaskLaw(grid=grid, levels=5)
    cells = grid or 49
    for index in range(6):
        drawn = law.draw(space, index)
        assert drawn.step_map.shape == (1, *space)
        assert drawn.step_map.dtype == np.uint8
        assert len(drawn.perturbed_fraction) == 5
        for k, share in enumerate(drawn.perturbed_fraction, 1):
            mask = drawn.step_map[0] < k
            states = cells_of(mask, cells)
            assert level_of(sum(states.values()) / len(states), 5) == k - 1
            assert share == mask.sum() / mask.size, "λ is the share of pixels, not of cells"


def test_unequal_cells_make_shares_that_are_no_multiples():
    drawn = [MaskLaw().draw((227, 227), index) for index in range(40)]
    shares = np.concatenate([each.perturbed_fraction for each in drawn])
    off = np.abs(shares * 49 - (shares * 49).round())
    assert off.max() > 0.01, "227 does not divide into 7 cells"
    assert len(np.unique(shares)) > 49


def test_counts_are_uniform_within_a_level_and_cells_are_drawn_evenly():
    law = MaskLaw(levels=2, grid=2)
    drawn = [law.draw((2, 2), index) for index in range(3000)]
    first = np.array([each.perturbed_fraction for each in drawn])
    for level, counts in enumerate(([0, 1], [2, 3, 4])):
        shares = [(first[:, level] == count / 4).mean() for count in counts]
        np.testing.assert_allclose(shares, 1 / len(counts), atol=0.04)
    removed = np.mean([each.step_map[0] < 1 for each in drawn], axis=0)
    np.testing.assert_allclose(removed, 0.125, atol=0.03)  # half of the time one of four cells


def test_the_masks_depend_on_seed_and_index_alone():
    first, again = (MaskLaw(seed=3).draw((14, 14), 5) for _ in range(2))
    np.testing.assert_array_equal(first.step_map, again.step_map)
    more = MaskLaw(seed=3, masks=99).draw((14, 14), 5)
    np.testing.assert_array_equal(first.step_map, more.step_map)
    for other in (MaskLaw(seed=4).draw((14, 14), 5), MaskLaw(seed=3).draw((14, 14), 6)):
        assert (first.step_map != other.step_map).any()


def test_a_coarse_grid_leaves_levels_out():
    law = MaskLaw(levels=10, grid=2)
    assert list(law.counts((8, 8))) == [0, 2, 5, 7, 9]
    assert len(law.draw((8, 8), 0).perturbed_fraction) == 5


def test_a_grid_finer_than_the_image_is_refused():
    with pytest.raises(InputError, match="a grid of 7 cells does not fit an axis of 5"):
        MaskLaw().draw((9, 5), 0)


def test_many_levels_have_a_wider_step_type():
    assert MaskLaw(levels=300, grid=20).draw((20, 20), 0).step_map.dtype == np.uint16
