"""Logits and labels of a source of images, through an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Floats


class _Passes(Protocol):
    @property
    def batch(self) -> int: ...

    def direct(self, images: Sequence[Floats]) -> Floats: ...


def collect_logits(
    source: Any,
    passes: _Passes,
    *,
    workers: int = 2,
    on_error: Literal["stop", "skip"] = "stop",
    on_images: Callable[[int], None] = lambda images: None,
    activation: Activation = "softmax",
) -> tuple[Floats, NDArray[np.int64], list[Any]]:
    """Returns raw logits (N, K), labels (N,) and the images that were left out; of a sigmoid head labels are (N, K).

    Args:
        source: an `ImageSource` with exactly one label an image; of a sigmoid head with any number.
        passes: `direct` is all that is used.
        workers: decoding threads.
        on_error: `stop` at an image that cannot be read, or `skip` it.
        on_images: told how many images are done since the last call.
        activation: of the head.

    Raises:
        InputError: No labels, or several for one image.
    """
    check_labelled(source, several=activation == "sigmoid")
    stream = source.stream(workers=workers, on_error=on_error)
    logits, labels, skipped = [], [], []
    for batch in _batches(stream, passes.batch):
        read = [image for image in batch if hasattr(image, "pixels")]
        skipped += [image for image in batch if not hasattr(image, "pixels")]
        if read:
            logits.append(passes.direct([image.pixels for image in read]))
        labels += [image.labels for image in read]
        on_images(len(batch))
    if not labels:
        raise InputError(f"none of the {len(source)} images could be read: {skipped[0].reason}")
    stacked = np.concatenate(logits)
    if activation == "sigmoid":
        return stacked, multi_hot(labels, stacked.shape[1]), skipped
    return stacked, np.array([own[0] for own in labels], np.int64), skipped


def multi_hot(labels: Sequence[tuple[int, ...]], classes: int) -> NDArray[np.int64]:
    """Returns labels as int64 (N, K) of 0 and 1.

    Example:
        >>> multi_hot([(0, 2), ()], 3)
        array([[1, 0, 1],
               [0, 0, 0]])
    """
    applies = np.zeros((len(labels), classes), np.int64)
    for row, own in zip(applies, labels, strict=True):
        row[list(own)] = 1
    return applies


def check_labelled(source: Any, *, several: bool = False) -> None:
    """Raises an `InputError` unless the source has labels, exactly one an image unless `several` may be."""
    if source.labels is None:
        raise InputError(
            "calibration needs labels: a sub-folder per class, a CSV with file,label, or `labels` in the .npz"
        )
    pairs = zip(source.ids, source.labels, strict=True)
    other = next(((image, len(labels)) for image, labels in pairs if len(labels) != 1), None)
    if other is not None and not several:
        raise InputError(f"calibration needs one label an image; {other[0]} has {other[1]}")


def _batches(stream: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(stream, size)):
        yield batch
