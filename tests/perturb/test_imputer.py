"""Noisy linear imputation is the direct solution of its own system."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from c2i_fast.errors import EngineError, InputError
from c2i_fast.perturb.imputer import impute

WEIGHTS = {(i, j): 1 / 6 if 0 in (i, j) else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}


def dense(image: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """The system from the paper, pixel by pixel, in float64."""
    places = [tuple(place) for place in np.argwhere(removed)]
    number = {place: index for index, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), len(image)))
    for place, row in number.items():
        for (down, across), weight in WEIGHTS.items():
            other = (place[0] + down, place[1] + across)
            if not (0 <= other[0] < removed.shape[0] and 0 <= other[1] < removed.shape[1]):
                continue  # outside: its weight leaves the diagonal too
            matrix[row, row] += weight
            if other in number:
                matrix[row, number[other]] -= weight
            else:
                right[row] += weight * image[(slice(None), *other)]
    made = image.astype(np.float64)
    if places:
        made[:, removed] = np.linalg.solve(matrix, right).T
    return made


def removal(shape, share: float, smoothness: float, seed: int) -> np.ndarray:
    """The top share of a random map of some smoothness, never all of it."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), smoothness).ravel()
    mask = np.zeros(values.size, bool)
    mask[np.argsort(values)[: min(int(share * values.size), values.size - 1)]] = True
    return mask.reshape(shape)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 21), st.integers(1, 21)),
    share=st.floats(0, 1),
    smoothness=st.sampled_from([0.0, 1.0, 4.0]),
    seed=st.integers(0, 1000),
)
def test_it_is_the_dense_solution_at_any_size_and_share(shape, share, smoothness, seed):
    image = np.random.default_rng(seed).random((3, *shape)).astype(np.float32)
    removed = removal(shape, share, smoothness, seed)
    made = impute(image, removed)
    np.testing.assert_allclose(made, dense(image, removed), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(made[:, ~removed], image[:, ~removed])
    assert made.dtype == np.float32


@pytest.mark.parametrize("smoothness", [0, 1, 6])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_several_grids_deep_it_still_is(share, smoothness):
    """61×75 has a grid of 31×38 between the picture and the one that is solved at once; sizes odd and even."""
    image = np.random.default_rng(3).random((2, 61, 75)).astype(np.float32)
    removed = removal((61, 75), share, smoothness, 5)
    np.testing.assert_allclose(impute(image, removed), dense(image, removed), rtol=0, atol=1e-4)


@pytest.mark.parametrize("corner", [(0, 0), (60, 33)])
def test_one_pixel_left_gives_its_value_to_all(corner):
    """The worst conditioned system there is: all of a large picture hangs on one pixel."""
    image = np.random.default_rng(0).random((3, 224, 224)).astype(np.float32)
    removed = np.ones((224, 224), bool)
    removed[corner] = False
    expected = np.broadcast_to(image[(slice(None), *corner)][:, None, None], image.shape)
    np.testing.assert_allclose(impute(image, removed), expected, rtol=0, atol=1e-6)
    removed[100, 100] = False
    image[:, 100, 100] = expected[:, 0, 0]
    np.testing.assert_allclose(impute(image, removed), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_plane_is_reproduced_inside_and_the_maximum_principle_holds(share):
    """The weights are symmetric, so a linear picture solves the system away from its edge."""
    rows, columns = np.indices((40, 40)) / 40
    image = np.stack([rows, columns, 0.3 * rows - columns]).astype(np.float32)
    removed = removal((40, 40), share, 2, 1)
    removed[[0, -1]], removed[:, [0, -1]] = False, False
    made = impute(image, removed)
    np.testing.assert_allclose(made, image, rtol=0, atol=1e-4)
    noisy = np.random.default_rng(2).random((1, 40, 40)).astype(np.float32)
    made, left = impute(noisy, removed), noisy[:, ~removed]
    assert left.min() - 1e-4 <= made.min()
    assert made.max() <= left.max() + 1e-4


def test_channels_and_affine_spaces_do_not_matter():
    image = np.random.default_rng(1).random((3, 30, 28)).astype(np.float32)
    removed = removal((30, 28), 0.6, 2, 4)
    made = impute(image, removed)
    for channel in range(3):
        np.testing.assert_allclose(impute(image[channel : channel + 1], removed)[0], made[channel], atol=1e-4)
    np.testing.assert_allclose(impute(image * 5 - 2, removed), made * 5 - 2, atol=5e-4)


def test_with_nothing_left_each_channel_becomes_its_mean():
    image = np.random.default_rng(0).random((2, 5, 4)).astype(np.float32)
    made = impute(image, np.ones((5, 4), bool))
    np.testing.assert_allclose(made[:, 2, 2], image.mean(axis=(1, 2)), atol=1e-7)
    assert np.ptp(made, axis=(1, 2)).max() == 0


def test_a_constant_picture_and_an_empty_removal_stay_as_they_are():
    image = np.full((3, 17, 9), 0.3, np.float32)
    np.testing.assert_array_equal(impute(image, removal((17, 9), 0.7, 1, 0)), image)
    assert impute(image, np.zeros((17, 9), bool)) is image


def test_signals_and_broken_pixels_are_refused():
    with pytest.raises(InputError, match="imputes pictures"):
        impute(np.zeros((2, 9), np.float32), np.ones(9, bool))
    image = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    image[0, 0, 0] = np.nan
    with pytest.raises(EngineError, match="NaN"), np.errstate(all="ignore"):
        impute(image, removal((8, 8), 0.5, 1, 3) & (np.indices((8, 8)).sum(0) > 2))
