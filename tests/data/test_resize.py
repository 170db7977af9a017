"""Bilinear resizing against a slow loop, against torch, and by its properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from c2i_fast.data import bilinear_axis, resize_map

SIZES = st.integers(1, 40)
VALUES = st.floats(-100, 100, width=32)
VECTORS = arrays(np.float64, st.integers(1, 30), elements=VALUES)
MAPS = arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=VALUES)


def slow(values, space):
    """Half-pixel bilinear from the definition, one output element at a time."""
    result = np.zeros(space)
    for place in np.ndindex(*space):
        corners = [((), 1.0)]
        for out, src, i in zip(space, values.shape, place, strict=True):
            at = min(max((i + 0.5) * src / out - 0.5, 0.0), src - 1.0)
            low = math.floor(at)
            sides = [(low, 1 - (at - low)), (min(low + 1, src - 1), at - low)]
            corners = [((*where, side), share * part) for where, share in corners for side, part in sides]
        result[place] = sum(share * values[where] for where, share in corners)
    return result


@given(VECTORS, SIZES)
def test_signals_equal_the_loop(values, out):
    np.testing.assert_allclose(resize_map(values, (out,)), slow(values, (out,)), atol=1e-10)


@settings(max_examples=50)
@given(MAPS, st.integers(1, 15), st.integers(1, 15))
def test_images_equal_the_loop(values, h, w):
    np.testing.assert_allclose(resize_map(values, (h, w)), slow(values, (h, w)), atol=1e-10)


@given(SIZES, SIZES)
def test_rows_of_an_axis_are_weights_that_sum_to_one(out, src):
    axis = bilinear_axis(out, src)
    assert axis.shape == (out, src)
    assert axis.dtype == np.float32
    assert (axis >= 0).all()
    assert ((axis > 0).sum(1) <= 2).all()
    np.testing.assert_array_equal(axis.sum(1), np.ones(out, np.float32))


@given(MAPS, SIZES, SIZES)
def test_axes_and_resize_map_are_one_map(values, h, w):
    product = bilinear_axis(h, values.shape[0]) @ values @ bilinear_axis(w, values.shape[1]).T
    np.testing.assert_allclose(resize_map(values, (h, w)), product, atol=1e-4)


@given(SIZES)
def test_the_axis_of_one_size_is_the_identity(size):
    np.testing.assert_array_equal(bilinear_axis(size, size), np.eye(size, dtype=np.float32))


@given(MAPS)
def test_a_map_of_the_right_size_is_itself(values):
    assert resize_map(values, values.shape) is values


@given(VALUES, SIZES, SIZES)
def test_a_constant_stays_exactly_constant(value, src, out):
    constant = np.full((src, 3), value, np.float32)
    np.testing.assert_array_equal(resize_map(constant, (out, 5)), np.full((out, 5), value, np.float32))


@given(VECTORS, SIZES)
def test_nothing_leaves_the_range_and_mirrors_stay_mirrors(values, out):
    resized = resize_map(values, (out,))
    assert values.min() - 1e-9 <= resized.min() <= resized.max() <= values.max() + 1e-9
    np.testing.assert_allclose(resize_map(values[::-1], (out,)), resized[::-1], atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_float_type_is_kept(dtype):
    assert resize_map(np.ones((3, 3), dtype), (5, 5)).dtype == dtype


def test_values_near_the_end_of_float32_do_not_overflow():
    extreme = np.array([-3e38, 3e38], np.float32)
    np.testing.assert_allclose(resize_map(extreme, (4,)), [-3e38, -1.5e38, 1.5e38, 3e38], rtol=1e-6)


@pytest.mark.parametrize(
    ("src", "out"), [((7, 7), (224, 224)), ((224, 224), (7, 7)), ((13, 9), (32, 227)), ((1, 5), (6, 1))]
)
def test_torch_agrees(src, out):
    torch = pytest.importorskip("torch", reason="torch's interpolate is the reference here")
    values = np.random.default_rng(0).normal(size=src)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], out, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resize_map(values, out), theirs[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize(("src", "out"), [(5, 64), (64, 5), (3, 3)])
def test_torch_agrees_on_signals(src, out):
    torch = pytest.importorskip("torch", reason="torch's interpolate is the reference here")
    values = np.random.default_rng(0).normal(size=src)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], out, mode="linear", align_corners=False
    )
    np.testing.assert_allclose(resize_map(values, (out,)), theirs[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize(("out", "src"), [(0, 3), (3, 0), (-1, 3)])
def test_sizes_are_at_least_one(out, src):
    with pytest.raises(ValueError, match="at least 1"):
        bilinear_axis(out, src)


def test_ranks_must_agree():
    with pytest.raises(ValueError, match=r"\(3, 3\).*\(5,\)"):
        resize_map(np.ones((3, 3)), (5,))
