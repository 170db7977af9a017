"""Partitions of an image: sizes, order of patches, pooled saliency, and who may have which."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.perturb.units import patches, superpixels, units_of
from c2i_fast.protocols import CurveProtocol


def made(unit: str, shape, size=None, **fields):
    protocol = CurveProtocol(name="x", metric="deletion", unit=unit, unit_size=size, **fields)
    return units_of(protocol, np.random.default_rng(0).random(shape).astype(np.float32))


@pytest.mark.parametrize(("space", "side"), [((4, 4), 2), ((5, 7), 3), ((9,), 4), ((3, 3), 8), ((2, 3, 5), 2)])
@pytest.mark.parametrize("centred", [False, True])
def test_patches_are_squares_in_row_order_and_only_those_at_the_edges_are_short(space, side, centred):
    found = patches(space, side, centred=centred)
    assert found.shape == space
    offsets = [(-length % side) // 2 if centred else 0 for length in space]
    rows = [-(-length // side) for length in space]
    for place in np.ndindex(space):
        cell = [(p + o) // side for p, o in zip(place, offsets, strict=True)]
        expected = 0
        for index, count in zip(cell, rows, strict=True):
            expected = expected * count + index
        assert found[place] == expected
    assert set(np.unique(found)) == set(range(int(np.prod(rows))))


def test_pixels_and_channel_values_are_units_of_their_own():
    pixels, values = made("pixel", (3, 4, 5)), made("channel", (3, 4, 5))
    assert (pixels.count, pixels.places, pixels.members) == (20, (1, 4, 5), None)
    assert (values.count, values.places, values.members) == (60, (3, 4, 5), None)
    saliency = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    assert pixels.pooled(saliency, "mean").tolist() == saliency.sum(axis=0).ravel().tolist()
    assert values.pooled(saliency, "mean").tolist() == saliency.ravel().tolist()
    assert values.pooled(saliency[0], "mean").tolist() == np.tile(saliency[0].ravel(), 3).tolist()


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_a_patch_is_worth_the_mean_or_the_sum_of_its_pixels_by_loops(how):
    units = made("patch", (3, 5, 4), 2)
    saliency = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)
    expected = []
    for unit in range(units.count):
        inside = [float(saliency[:, y, x].sum()) for y in range(5) for x in range(4) if units.members[0, y, x] == unit]
        expected.append(sum(inside) / (len(inside) if how == "mean" else 1))
    np.testing.assert_allclose(units.pooled(saliency, how), expected, rtol=1e-6)
    order = np.arange(units.count)[::-1]
    held = units.held(order, np.array([0, 1, units.count]))
    assert held.tolist() == [0, int((units.members == units.count - 1).sum()), 20]
    assert units.spread(np.arange(units.count)).tolist() == units.members.tolist()


def test_superpixels_partition_the_picture_into_about_as_many_segments():
    pytest.importorskip("skimage", reason="scikit-image is not installed")
    ramp = np.linspace(0, 1, 40, dtype=np.float32)
    picture = np.stack([ramp[:, None] * np.ones(40), np.ones((40, 40)), ramp[None] * np.ones((40, 1))]).astype("f")
    found = superpixels(picture, 16)
    assert found.shape == (40, 40)
    assert sorted(np.unique(found)) == list(range(found.max() + 1))
    assert 6 <= found.max() + 1 <= 30
    np.testing.assert_array_equal(found, superpixels(picture * 100 - 7, 16))  # any units of pixels


def test_units_that_do_not_fit_are_refused_with_what_to_set():
    with pytest.raises(InputError, match=r"tokens of side 4 do not divide an image of \(6, 8\); set unit_size"):
        made("token", (3, 6, 8), 4)
    assert made("token", (3, 8, 8), 4).count == 4
    with pytest.raises(InputError, match="unit=window does not fit"):
        made("window", (3, 6, 8), 4)
    with pytest.raises(InputError, match="unit=patch does not fit"):
        made("patch", (1, 9), 4)
    assert made("window", (2, 9), 4).count == 3
    with pytest.raises(InputError, match="superpixels are of pictures"):
        made("superpixel", (2, 9), 4)
