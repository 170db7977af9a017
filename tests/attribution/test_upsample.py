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
