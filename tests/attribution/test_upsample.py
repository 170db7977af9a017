from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2i_fast.attribution.upsample import linear_axis

sizes = st.integers(1, 40)


@given(sizes, sizes, st.sampled_from(["clamp", "mirror"]))
def test_rows_are_weights_of_at_most_two_neighbours(out, source, edge):
    matrix = linear_axis(out, source, edge)
    assert matrix.shape == (out, source)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    for row in matrix:
        used = np.flatnonzero(row)
        assert len(used) <= 2
        assert used[-1] - used[0] <= 1


@given(sizes, sizes)
def test_clamped_interpolation_is_numpys(out, source):
    values = np.cos(np.arange(source) * 1.7)
    positions = [(j + 0.5) * source / out - 0.5 for j in range(out)]
    expected = np.interp(positions, np.arange(source), values)
    np.testing.assert_allclose(linear_axis(out, source, "clamp") @ values, expected, atol=1e-12)


@given(sizes, st.integers(2, 40))
def test_mirrored_interpolation_reads_a_reflected_signal(out, source):
    values = np.cos(np.arange(source) * 1.7)
    reflected = np.concatenate([values[1:2], values, values[-2:-1]])
    positions = [(j + 0.5) * source / out - 0.5 for j in range(out)]
    expected = np.interp(positions, np.arange(-1, source + 1), reflected)
    np.testing.assert_allclose(linear_axis(out, source, "mirror") @ values, expected, atol=1e-12)


@pytest.mark.parametrize("edge", ["clamp", "mirror"])
def test_the_same_size_is_the_identity(edge):
    np.testing.assert_allclose(linear_axis(9, 9, edge), np.eye(9), atol=1e-12)


@pytest.mark.parametrize(("out", "source"), [(9, 4), (32, 8), (5, 1), (1, 3), (3, 7), (4, 4)])
def test_aligned_and_cubic_axes_are_torchs(out, source):
    torch = pytest.importorskip("torch")
    from c2i_fast.attribution.upsample import aligned_axis, cubic_axis

    cells = torch.eye(source, dtype=torch.float64)[None, None]
    aligned = torch.nn.functional.interpolate(cells, (out, source), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(aligned_axis(out, source), aligned[0, 0].numpy(), atol=1e-12)
    cubic = torch.nn.functional.interpolate(cells, (out, source), mode="bicubic", align_corners=False)
    np.testing.assert_allclose(cubic_axis(out, source), cubic[0, 0].numpy(), atol=1e-12)
    assert np.allclose(cubic_axis(out, source).sum(axis=1), 1)


def test_resized_leaves_leading_axes_alone():
    torch = pytest.importorskip("torch")
    from c2i_fast.attribution.upsample import resized

    values = np.random.default_rng(0).random((2, 3, 4, 5))
    found = torch.nn.functional.interpolate(torch.from_numpy(values), (9, 7), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(resized(values, (9, 7), first=2), found.numpy(), atol=1e-12)
