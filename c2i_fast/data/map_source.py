"""Saliency maps by image id: folders of .npy files and .npz files, brought to the image's size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.data.columns import read_ids
from c2i_fast.data.fingerprint import of_files, of_records
from c2i_fast.data.folder import files_below
from c2i_fast.data.names import keys_of
from c2i_fast.data.npy import read_npy
from c2i_fast.data.records import Records
from c2i_fast.data.resize import resize_map
from c2i_fast.errors import InputError
from c2i_fast.types import Floats, frozen


class MapSource(ABC):
    """The maps of one method.

    Attributes:
        name: what the method is called in results.
        ids: the ids there are maps for.
    """

    def __init__(self, name: str, ids: Sequence[str], where: Path) -> None:
        self.name = name
        self.ids = ids
        self.where = where
        self._known = {key: number for number, key in enumerate(ids)}

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of ids and contents; above 1 GiB, `stat:` and one of ids, sizes and mtimes."""

    @abstractmethod
    def read(self, key: str) -> NDArray[Any]:
        """Returns the map stored for one of `ids`, as it is."""

    def find(self, image_id: str) -> str | None:
        """Returns the key of the image's map: its id, that without the extension, its name or stem; else None."""
        return next((key for key in keys_of(image_id) if key in self._known), None)

    def load(self, image_id: str, space: tuple[int, ...], channels: int = 1) -> Floats:
        """Returns the map of an image as float32 of shape `space`, read-only and finite.

        Any real type and resolution is taken, a leading axis of length 1 is dropped, resizing is `resize_map`'s. A map
        for each of the image's `channels` stays (channels, *space): protocols that move values one by one rank them
        so, all others their sum.

        Raises:
            InputError: no map for this image; NaN or infinite values; wrong rank; complex numbers or objects.
        """
        key = self.find(image_id)
        if key is None:
            raise InputError(f"{self.where}: there is no map {self.name!r} for image {image_id}; explain it first")
        values = _real(self.read(key), len(space), channels, f"map {self.name!r} of image {image_id}")
        if values.ndim > len(space):
            return frozen(np.stack([resize_map(channel, space) for channel in values]))
        return frozen(resize_map(values, space))


class FolderMaps(MapSource):
    """A folder of `<id>.npy` or `<stem>.npy`; an id only ever finds files that were listed in it."""

    def __init__(self, name: str, folder: Path) -> None:
        ids = sorted(path.removesuffix(".npy") for path in files_below(folder, (".npy",)) if path.endswith(".npy"))
        if not ids:
            raise InputError(f"{folder}: expected maps (<image id>.npy), but found none; explain writes such")
        super().__init__(name, ids, folder)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of ids and the files' bytes."""
        return of_files(self.ids, [self.where / f"{key}.npy" for key in self.ids])

    def read(self, key: str) -> NDArray[Any]:
        """Returns the array in `<key>.npy`."""
        return read_npy(self.where / f"{key}.npy")


class ArrayMaps(MapSource):
    """`maps` (N, h, w) or (N, t) and `ids` (N,) of an .npz. Fast when ids are asked for in file order.

    `numpy.savez_compressed` files are inflated from the start again on every step back; `numpy.savez` ones are not.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._maps = Records(path, "maps")
        super().__init__(name, read_ids(path, self._maps.shape[0]), path)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of ids and values."""
        return of_records(list(self.ids), self.where, "maps", len(self.ids))

    def read(self, key: str) -> NDArray[Any]:
        """Returns the record whose id is `key`."""
        return self._maps.read(self._known[key])


def _real(values: NDArray[Any], rank: int, channels: int, what: str) -> Floats:
    """Returns the map as finite float32 of the rank, or one for each channel; else an `InputError` that names it."""
    if values.dtype.kind not in "fiub":
        raise InputError(f"{what}: expected real numbers, got {values.dtype}; save it as float32")
    if values.ndim == rank + 1 and 1 in values.shape[:1]:
        values = values[0]
    own_channels = values.ndim == rank + 1 and len(values) == channels
    if values.ndim == rank + 1 and not own_channels:
        raise InputError(f"{what}: expected one map, got {values.shape}; sum or average its channels to one")
    if values.ndim != rank + own_channels or values.size == 0:
        raise InputError(f"{what}: expected {rank} axes with at least one element, got shape {values.shape}; mend it")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is counted below
        real = values.astype(np.float32, copy=False)
    if bad := real.size - int(np.isfinite(real).sum()):
        raise InputError(f"{what}: expected finite numbers, but {bad} of {real.size} are NaN or infinite; mend it")
    return real
