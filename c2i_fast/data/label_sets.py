"""The labels of a sigmoid head: any number an image, none included; and of a head of one output, its 0 or 1.

Inside they are what all labels are, a tuple of class indices an image. A head of one output has the class 0 alone:
present is (0,), absent is ().
"""

from __future__ import annotations

from typing import Any

import numpy as np

from c2i_fast.data.labels import Labels
from c2i_fast.errors import InputError


def label_sets(labels: Any, images: int, classes: int, where: str = "labels") -> list[tuple[int, ...]]:
    """Returns the labels of `images` images, ascending and each once.

    Args:
        labels: an array (N, K) of 0 and 1; integers (N,), one label an image (for K = 1: 0 absent, 1 present); or N
            sequences of class indices.
        images: N.
        classes: K.
        where: what the labels are called in messages.

    Raises:
        InputError: another shape, type or count. Whether an index is a class is for `ClassIndex.check`.

    Example:
        >>> label_sets(np.array([[1, 0, 1], [0, 0, 0]]), 2, 3), label_sets([[2, 0], []], 2, 3), label_sets([1, 0], 2, 1)
        ([(0, 2), ()], [(0, 2), ()], [(0,), ()])
    """
    if len(labels) != images:
        raise InputError(f"{where}: expected labels of {images} images, got {len(labels)}")
    if not isinstance(labels, np.ndarray) and any(np.ndim(own) for own in labels):
        return [tuple(sorted({_index(label, where) for label in own})) for own in labels]
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == classes and ((array == 0) | (array == 1)).all():
        return [tuple(np.flatnonzero(row).tolist()) for row in array]
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise InputError(
            f"{where}: a sigmoid head of {classes} label(s) takes 0 and 1 of shape ({images}, {classes}), or one "
            f"integer an image; got {array.dtype} of shape {array.shape}"
        )
    single: list[tuple[int, ...]] = [(int(label),) for label in array]
    return present_or_absent(single, where) if classes == 1 else single


def present_or_absent(labels: Labels, where: object) -> list[tuple[int, ...]]:
    """Returns the 0 or 1 of each image as what a head of one output means by it, () or (0,).

    Raises:
        InputError: several labels, none, or another number.
    """
    bad = next((own for own in labels if own not in ((0,), (1,))), None)
    if bad is not None:
        came = ";".join(map(str, bad)) or "none"
        raise InputError(f"{where}: a model of one output takes the label 0 (absent) or 1 (present), got {came}")
    return [(0,) if own == (1,) else () for own in labels]


def _index(label: Any, where: str) -> int:
    if not isinstance(label, int | np.integer):
        raise InputError(f"{where}: expected class indices, got {label!r:.40}")
    return int(label)
