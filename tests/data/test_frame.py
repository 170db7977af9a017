"""What resizing and cropping do to places, against Pillow's own nearest neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from c2i_fast.data.frame import Frame
from c2i_fast.data.pictures import fit
from c2i_fast.types import Preprocessing

SIDE = st.integers(1, 40)


@settings(deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from([None, 1.0, 0.875, 0.5, 0.3]))
def test_points_are_what_pillows_nearest_neighbour_takes(height, width, high, wide, crop):
    preprocessing = Preprocessing(size=(high, wide), crop=crop)
    frame = Frame.of((height, width), preprocessing)
    numbered = np.arange(height * width, dtype=np.int32).reshape(height, width)
    (cover_h, cover_w), (top, left) = frame.cover, frame.corner
    resized = np.asarray(Image.fromarray(numbered).resize((cover_w, cover_h), Image.Resampling.NEAREST))
    rows, columns = (np.floor(points).astype(int) for points in frame.points())
    clear = np.ix_(*(points % 1 != 0 for points in frame.points()))  # on an edge, Pillow's rounding decides
    taken = numbered[np.ix_(rows, columns)]
    np.testing.assert_array_equal(taken[clear], resized[top : top + high, left : left + wide][clear])


@settings(deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from([None, 1.0, 0.875, 0.5]))
def test_a_picture_is_fitted_to_the_frame_it_is_said_to_have(height, width, high, wide, crop):
    preprocessing = Preprocessing(size=(high, wide), crop=crop)
    ramp = np.add.outer(np.arange(height), 2 * np.arange(width)).astype(np.float32)
    frame = Frame.of((height, width), preprocessing)
    made = fit(Image.fromarray(ramp), preprocessing, "it")
    assert (made.height, made.width) == frame.space == (high, wide)
    if min(height, width) > 8 and frame.cover[0] >= height and frame.cover[1] >= width:  # enlarged: bilinear is exact
        rows, columns = frame.points()
        inner = np.ix_((rows > 1) & (rows < height - 1), (columns > 1) & (columns < width - 1))
        expected = np.add.outer(rows - 0.5, 2 * (columns - 0.5))
        np.testing.assert_allclose(np.asarray(made)[inner], expected[inner], atol=1e-3)


def test_whole_and_without_a_size_are_the_picture_itself():
    assert Frame.of((3, 4), Preprocessing()) == Frame.whole((3, 4))
    assert [points.tolist() for points in Frame.whole((3,)).points()] == [[0.5, 1.5, 2.5]]


@pytest.mark.parametrize(
    ("stored", "cover", "corner"), [((100, 50), (128, 64), (36, 4)), ((50, 99), (64, 126), (4, 35))]
)
def test_the_short_side_is_covered_and_margins_are_halved(stored, cover, corner):
    frame = Frame.of(stored, Preprocessing(size=(56, 56), crop=0.875))
    assert (frame.cover, frame.corner) == (cover, corner)
