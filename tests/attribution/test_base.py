from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c2i_fast.attribution.base import Context, check_batch, check_targets
from c2i_fast.attribution.rise import Rise
from c2i_fast.errors import InputError


@given(
    hnp.arrays(np.float32, (4, 5), elements=st.floats(-50, 50, width=32)),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_what_is_read_unless_told_is_the_softmax(logits, targets):
    expected = []
    for row, target in zip(logits.astype(float), targets, strict=True):
        exponentials = [np.exp(value) for value in row]
        expected.append(exponentials[target] / sum(exponentials))
    np.testing.assert_allclose(Context().read(logits, np.array(targets)), expected, rtol=1e-12)


def test_the_softmax_survives_huge_logits():
    answer = Context().read(np.array([[1e4, 0.0], [-1e4, 0.0]], np.float32), np.array([0, 1]))
    np.testing.assert_array_equal(answer, [1.0, 1.0])
    assert answer.dtype == np.float64


def test_settings_are_defaults_overridden_by_options():
    assert Context(options={"masks": 10}).settings(Rise) == {"masks": 10, "grid": 7, "p": 0.5}
    with pytest.raises(InputError, match="rise has no option 'mask'; it has: masks, grid, p"):
        Context(options={"mask": 10}).settings(Rise)


@pytest.mark.parametrize(("ids", "shape", "targets"), [(1, (2, 3, 4, 4), 2), (2, (2, 3, 4, 4), 1), (2, (2, 4), 2)])
def test_a_batch_that_does_not_fit_is_refused(ids, shape, targets):
    with pytest.raises(InputError, match="expected images"):
        check_batch(["a"] * ids, np.zeros(shape), np.zeros(targets, int))


@pytest.mark.parametrize("target", [-1, 10])
def test_a_target_outside_the_classes_is_refused(target):
    check_targets(np.array([0, 9]), 10)
    with pytest.raises(InputError, match=f"target {target} is not one of the model's 10 classes"):
        check_targets(np.array([0, target]), 10)
