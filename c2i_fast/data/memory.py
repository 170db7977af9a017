"""Images and maps that are arrays already, in the manners of those on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.data.frame import Frame
from c2i_fast.data.label_sets import label_sets
from c2i_fast.data.labels import ClassIndex
from c2i_fast.data.map_source import MapSource
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.types import Floats


def as_array(values: Any) -> NDArray[Any]:
    """Returns a NumPy array of an array, a sequence or anything that speaks DLPack (a torch tensor, detached first)."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        return np.from_dlpack(values)
    return np.asarray(values)


class MemoryImages(ImageSource):
    """Images (N, C, *space) float, in the units of `pixels`; or pictures (N, H, W, C) uint8, taken as pixel / 255.

    `labels` are one class index an image; for a sigmoid head of so many `classes` what `label_sets` takes.

    Raises:
        InputError: Another type or rank, or labels and ids that are not one an image.
    """

    def __init__(
        self,
        images: Any,
        *,
        ids: Sequence[str] | None = None,
        labels: Any = None,
        classes: int | None = None,
    ) -> None:
        array = as_array(images)
        if array.dtype == np.uint8 and array.ndim == 4:
            array = np.moveaxis(array, -1, 1)
        elif array.dtype.kind != "f" or array.ndim < 3:
            raise InputError(
                f"images must be float (N, C, *space) or uint8 (N, H, W, C), got {array.dtype} {array.shape}"
            )
        if not len(array):
            raise InputError("there are no images: the array is empty")
        names = [str(i) for i in range(len(array))] if ids is None else [str(i) for i in ids]
        if len(names) != len(array) or len(set(names)) != len(names):
            raise InputError(f"{len(array)} images need as many distinct ids, got {len(names)} ({len(set(names))})")
        super().__init__(names, None if labels is None else _label_tuples(labels, names, classes))
        self._array = array

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the values."""
        return hashlib.sha256(np.ascontiguousarray(self._array).tobytes()).hexdigest()

    def frame(self, number: int) -> Frame:
        """Returns that an image is taken as it is."""
        return Frame.whole(self._array.shape[2:])

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what returns one image's pixels when called."""
        return self.picks(range(start, len(self)))

    def picks(self, places: Iterable[int]) -> Iterator[Callable[[], Floats]]:
        """Yields what returns these images' pixels."""
        return (partial(_pixels, self._array[place]) for place in places)


def _label_tuples(labels: Any, names: Sequence[str], classes: int | None) -> list[tuple[int, ...]]:
    if classes is not None:
        sets = label_sets(labels if isinstance(labels, list | tuple) else as_array(labels), len(names), classes)
        ClassIndex(None, classes).check(sets, names, "labels")
        return sets
    if np.shape(labels) != (len(names),):
        raise InputError(f"{len(names)} images need as many labels, got {np.shape(labels)}")
    return [(int(label),) for label in as_array(labels)]


def _pixels(image: NDArray[Any]) -> Floats:
    pixels = np.ascontiguousarray(image, np.float32)
    return pixels / np.float32(255) if image.dtype == np.uint8 else pixels


class MemoryMaps(MapSource):
    """Maps (N, *space) of one method, in the order of the images."""

    def __init__(self, name: str, maps: Any, ids: Sequence[str]) -> None:
        self._array = as_array(maps)
        if self._array.ndim < 2 or len(self._array) != len(ids):
            raise InputError(f"map {name!r} must be (N, *space) for {len(ids)} images, got {self._array.shape}")
        super().__init__(name, list(ids), Path(name))

    def find(self, image_id: str) -> str | None:
        """Returns the id itself: arrays are matched by position, never by a stem."""
        return image_id if image_id in self._known else None

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the values."""
        return hashlib.sha256(np.ascontiguousarray(self._array).tobytes()).hexdigest()

    def read(self, key: str) -> NDArray[Any]:
        """Returns the map of an image."""
        return np.asarray(self._array[self._known[key]])


def memory_maps(maps: Any, ids: Sequence[str]) -> dict[str, MapSource]:
    """Returns the sources of `{name: (N, *space)}`, or of one array, then called `map`."""
    named = maps if isinstance(maps, Mapping) else {"map": maps}
    if not named:
        raise InputError("there are no maps: the mapping is empty")
    return {name: MemoryMaps(name, values, ids) for name, values in named.items()}
