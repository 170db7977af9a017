"""Logits and labels of a source of images, through an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Floats


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
) -> tuple[Floats, NDArray[np.int64], list[Any]]:
    """Returns raw logits (N, K), labels (N,) and the images that were left out.

    Args:
        source: an `ImageSource` with exactly one label an image.
        passes: `direct` is all that is used.
        workers: decoding threads.
        on_error: `stop` at an image that cannot be read, or `skip` it.
        on_images: told how many images are done since the last call.

    Raises:
        InputError: No labels, or several for one image.
    """
    check_one_label(source)
    stream = source.stream(workers=workers, on_error=on_error)
    logits, labels, skipped = [], [], []
    for batch in _batches(stream, passes.batch):
        read = [image for image in batch if hasattr(image, "pixels")]
        skipped += [image for image in batch if not hasattr(image, "pixels")]
        if read:
            logits.append(passes.direct([image.pixels for image in read]))
        labels += [image.labels[0] for image in read]
        on_images(len(batch))
    if not labels:
        raise InputError(f"none of the {len(source)} images could be read: {skipped[0].reason}")
    return np.concatenate(logits), np.asarray(labels, np.int64), skipped


def check_one_label(source: Any) -> None:
    """Raises an `InputError` unless every image of the source has exactly one label."""
    if source.labels is None:
        raise InputError(
            "calibration needs labels: a sub-folder per class, a CSV with file,label, or `labels` in the .npz"
        )
    pairs = zip(source.ids, source.labels, strict=True)
    several = next(((image, len(labels)) for image, labels in pairs if len(labels) != 1), None)
    if several is not None:
        raise InputError(f"calibration needs one label an image; {several[0]} has {several[1]}")


def _batches(stream: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(stream, size)):
        yield batch
