"""An .npz as a source: uint8 pictures or float32 images of any rank, streamed record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.data.columns import read_ids, read_integers, read_labels
from c2i_fast.data.files import check_pictures
from c2i_fast.data.fingerprint import of_records
from c2i_fast.data.frame import Frame
from c2i_fast.data.labels import ClassIndex
from c2i_fast.data.records import Records, members
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.types import Floats, Preprocessing


class ArraySource(ImageSource):
    """`images` of an .npz, with `labels`, `ids` and `targets` where it has them.

    uint8 (N, H, W, C) are pictures: resized and cropped when (H, W) is not already the network's size. float32
    (N, C, *space) are taken as they are: no resizing, clipping or range check. Memory holds a few records at a time.
    """

    def __init__(
        self, path: Path, *, preprocessing: Preprocessing, channels: int, index: ClassIndex, limit: int | None
    ) -> None:
        self._path = path
        self._channels = channels
        with Records(path, "images") as images:
            self._preprocessing = _rule(images, preprocessing, channels)
            self._pictures = images.dtype == np.uint8
            total = images.shape[0]
            stored = images.shape[1:3] if self._pictures else images.shape[2:]
            self._frame = Frame.of(stored, self._preprocessing) if self._pictures else Frame.whole(stored)
        there = members(path)
        ids = read_ids(path, total)[:limit] if "ids" in there else [str(number) for number in range(total)][:limit]
        labels = None
        if "labels" in there:
            labels = read_labels(path, total, index.classes, any_number=index.any_number)[:limit]
        targets = read_integers(path, "targets", total)[:limit] if "targets" in there else None
        followed = None if targets is None else [(target,) for target in targets]
        for key, values in (("labels", labels), ("targets", followed)):
            index.check(values or (), ids if values else (), f"{path}[{key!r}]")
        super().__init__(ids, labels, targets)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex over ids, labels, targets and the values of the images in use."""
        return of_records([list(self.ids), self.labels, self.targets], self._path, "images", len(self))

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what turns record `start`, `start + 1`, … into pixels; reading stays in order, in one place."""
        return self.picks(range(start, len(self)))

    def picks(self, places: Iterable[int]) -> Iterator[Callable[[], Floats]]:
        """Yields what turns these records into pixels; going back in a compressed file inflates it from its start."""
        with Records(self._path, "images") as images:
            for place in places:
                record = images.read(place)
                yield partial(self._picture, record) if self._pictures else partial(_as_stored, record)

    def frame(self, number: int) -> Frame:
        """Returns what resizing and cropping do to a record; all are of one size."""
        return self._frame

    def _picture(self, record: NDArray[Any]) -> Floats:
        from PIL import Image  # here, so that float arrays and `--help` need no Pillow

        from c2i_fast.data.pictures import fit, flatten, to_pixels

        picture = flatten(Image.fromarray(record[..., 0] if record.shape[-1] == 1 else record), self._channels)
        return to_pixels(fit(picture, self._preprocessing, self._path), self._channels)


def _as_stored(record: NDArray[Any]) -> Floats:
    return record.astype(np.float32, copy=False)


def _rule(images: Records, preprocessing: Preprocessing, channels: int) -> Preprocessing:
    """Returns the preprocessing these images need, or raises an `InputError` when they cannot be used."""
    shape, dtype, where = images.shape, images.dtype, images.where
    if dtype == np.uint8:
        if len(shape) != 4 or shape[3] not in (1, 3, 4):
            raise InputError(f"{where}: expected uint8 pictures (N,H,W,C), C 1, 3 or 4, got {shape}; add or move axes")
        check_pictures(preprocessing, channels, where)
        as_is = preprocessing.size == shape[1:3]
        return replace(preprocessing, size=None, crop=None) if as_is else preprocessing
    if dtype.kind != "f" or dtype.itemsize != 4 or len(shape) not in (3, 4):
        raise InputError(
            f"{where}: expected uint8 (N,H,W,C) pictures, or float32 (N,C,H,W) or (N,C,T) in the model's units, "
            f"got {dtype} {shape}; convert with .astype"
        )
    if shape[1] != channels or preprocessing.size not in (None, shape[2:]):
        size = "" if preprocessing.size is None else f" and size {preprocessing.size}"
        raise InputError(
            f"{where}: float images are taken as they are, but the model takes {channels} channel(s){size} and these "
            f"are {shape}, read as (N,C,*space); store the axes in that order, or mend --size"
        )
    return preprocessing
