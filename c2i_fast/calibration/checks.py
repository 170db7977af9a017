"""What logits and labels must be before anything is computed from them, and how they are walked in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.errors import InputError

# 1 MiB in float64: a block and its temporaries stay in cache, and 50 000 x 1000 logits are never copied whole.
BLOCK_ELEMENTS = 1 << 17
# The graph computes in float32, so a larger number is as good as infinite there.
LARGEST_LOGIT = float(np.finfo(np.float32).max)


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yields slices that cover `rows` rows in order, each of about `BLOCK_ELEMENTS` numbers.

    Example:
        >>> [(block.start, block.stop) for block in row_blocks(300, 1000)]
        [(0, 131), (131, 262), (262, 300)]
    """
    step = max(1, BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def check_matrix(logits: ArrayLike, least: int = 2) -> NDArray[Any]:
    """Returns the logits as an array (N, K) of real numbers, N ≥ 1 and K ≥ `least`, not copied if they are one.

    A softmax needs two classes; a sigmoid does with one.

    Raises:
        InputError: another shape or type, with what came.
    """
    array = np.asarray(logits)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or 0 in array.shape:
        raise InputError(f"expected logits as numbers of shape (N, K), got {array.dtype} of shape {array.shape}")
    if array.shape[1] < least:
        raise InputError(f"expected logits of at least 2 classes, got shape {array.shape}: one class has no softmax")
    return array


def check_logits(logits: ArrayLike, least: int = 2) -> NDArray[Any]:
    """Returns the logits as by `check_matrix`, every number finite in float32.

    Raises:
        InputError: as `check_matrix`, or the count of rows with NaN, infinite or larger numbers.
    """
    array = check_matrix(logits, least)
    # Written so that NaN, which compares false with everything, is counted too.
    bad = sum(
        int((~(np.abs(array[rows], dtype=np.float64) <= LARGEST_LOGIT)).any(axis=1).sum())
        for rows in row_blocks(*array.shape)
    )
    if bad:
        raise InputError(
            f"{bad} of {len(array)} rows of logits hold NaN, infinity or more than float32 can; leave them out"
        )
    return array


def check_labels(labels: ArrayLike, logits: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the labels as int64 (N,), one class index in 0..K−1 for each row of `logits`.

    Raises:
        InputError: one-hot or non-integer labels, another length, or an index that is no class.
    """
    array = np.asarray(labels)
    samples, classes = logits.shape
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(
            f"expected labels as integers of shape (N,), got {array.dtype} of shape {array.shape}; "
            "for one-hot labels take labels.argmax(axis=1)"
        )
    if len(array) != samples:
        raise InputError(f"expected one label for each row of logits, got {len(array)} labels and {samples} rows")
    if array.min() < 0 or array.max() >= classes:
        raise InputError(f"expected labels in 0..{classes - 1}, got {array.min()}..{array.max()}")
    return array.astype(np.int64)


def check_applies(labels: ArrayLike, logits: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns the labels of a sigmoid head as bool (N, K), one for each logit.

    Raises:
        InputError: another shape, or other numbers than 0 and 1.
    """
    array = np.asarray(labels)
    if array.shape != logits.shape or not ((array == 0) | (array == 1)).all():
        raise InputError(
            f"a sigmoid head expects labels of 0 and 1 of shape {logits.shape}, one for each logit, got {array.dtype} "
            f"of shape {array.shape}; one class a sample is for softmax heads"
        )
    return np.asarray(array == 1)


def label_notes(logits: NDArray[Any], applies: NDArray[np.bool_]) -> list[str]:
    """Returns what is unusual about checked logits and labels (N, K) of a sigmoid head, as sentences for a reader.

    Example:
        >>> label_notes(np.array([[-1.0, 3.0], [2.0, 4.0]]), np.array([[False, True], [True, True]]))
        ['label(s) 1 always apply: what is learnt of them rests on one side alone']
    """
    counts, notes = applies.sum(axis=0), []
    if ((logits >= 0) & (logits <= 1)).all():
        notes.append("the logits all lie in 0..1; if they are probabilities, pass log p − log(1 − p) instead")
    for word, there in (("never", counts == 0), ("always", counts == len(applies))):
        if there.any():
            found = [str(label) for label in np.flatnonzero(there)]
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            named = ", ".join(found[:5]) + more
            notes.append(f"label(s) {named} {word} apply: what is learnt of them rests on one side alone")
    return notes


def data_notes(logits: NDArray[Any], labels: NDArray[np.int64]) -> list[str]:
    """Returns what is unusual about checked logits (N, K) and labels (N,), as sentences for a reader.

    Example:
        >>> data_notes(np.array([[0.3, 0.7], [0.6, 0.4]]), np.array([1, 1]))[1]
        'only class 1 occurs among the labels'
    """
    samples, classes = logits.shape
    seen = np.unique(labels)
    notes = []
    if _are_probabilities(logits):
        notes.append("the logits look like probabilities (in 0..1, rows summing to 1); pass their logarithm instead")
    if len(seen) == 1:
        notes.append(f"only class {seen[0]} occurs among the labels")
    elif len(seen) < classes:
        notes.append(f"{classes - len(seen)} of {classes} classes never occur among the labels")
    if samples < classes:
        notes.append(f"there are fewer samples to fit on ({samples}) than classes ({classes})")
    return notes


def _are_probabilities(logits: NDArray[Any]) -> bool:
    return all(
        bool(((block >= 0) & (block <= 1)).all() and (np.abs(block.sum(axis=1, dtype=np.float64) - 1) < 1e-3).all())
        for block in (logits[rows] for rows in row_blocks(*logits.shape))
    )
