from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.checks import BLOCK_ELEMENTS, check_labels, check_logits, check_matrix, row_blocks
from c2i_fast.errors import InputError


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 2), (7, 3), (300, 1000), (BLOCK_ELEMENTS, 2), (3, 10 * BLOCK_ELEMENTS)]
)
def test_blocks_cover_each_row_once_in_order_and_stay_small(rows, columns):
    blocks = list(row_blocks(rows, columns))
    covered = [row for block in blocks for row in range(block.start, block.stop)]
    assert covered == list(range(rows))
    assert all((block.stop - block.start) * columns <= max(BLOCK_ELEMENTS, columns) for block in blocks)


@pytest.mark.parametrize(
    "logits",
    [
        [1.0, 2.0],
        [[[1.0, 2.0]]],
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        [["a", "b"]],
        np.array([[1, None]], object),
        [[1j, 2]],
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused_with_its_shape(logits):
    with pytest.raises(InputError, match=r"expected logits as numbers of shape \(N, K\), got .* of shape \("):
        check_matrix(logits)


def test_one_class_is_refused():
    with pytest.raises(InputError, match=r"at least 2 classes, got shape \(5, 1\)"):
        check_logits(np.zeros((5, 1)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39, -1e39])
def test_rows_that_are_not_finite_in_float32_are_counted(value):
    logits = np.zeros((10, 3))
    logits[2, 0] = logits[7, 1] = logits[7, 2] = value
    with pytest.raises(InputError, match="2 of 10 rows"):
        check_logits(logits)


def test_the_count_spans_blocks():
    logits = np.zeros((3 * BLOCK_ELEMENTS // 4, 4), np.float32)
    logits[[0, len(logits) // 2, -1], 3] = np.nan
    with pytest.raises(InputError, match=f"3 of {len(logits)} rows"):
        check_logits(logits)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_infinity_of_any_type_is_counted(dtype):
    with pytest.raises(InputError, match="1 of 2 rows"):
        check_logits(np.array([[0, np.inf], [65504, 0]], dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8])
def test_good_logits_come_back_uncopied(dtype):
    logits = np.arange(6).reshape(3, 2).astype(dtype)
    assert check_logits(logits) is logits


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 0], [0, 1], [1, 0]], "one-hot"),
        ([0.0, 1.0, 1.0], "integers"),
        ([True, False, True], "integers, got bool|integers of shape"),
        (["0", "1", "1"], "integers"),
        ([0, 1], "2 labels and 3 rows"),
        ([0, 1, 1, 0], "4 labels and 3 rows"),
        ([0, 1, 2], r"0\.\.1, got 0\.\.2"),
        ([0, -1, 1], r"0\.\.1, got -1\.\.1"),
        (np.array([0, 1, 2**64 - 1], np.uint64), r"0\.\.1, got 0\.\.18446744073709551615"),
    ],
)
def test_labels_that_are_no_class_indices_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        check_labels(labels, np.zeros((3, 2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_labels_of_any_integer_type_become_int64(dtype):
    labels = check_labels(np.array([0, 1, 1], dtype), np.zeros((3, 2)))
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 1, 1]
