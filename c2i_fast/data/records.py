"""One array of an .npz, read record by record, however large it is and whether or not it is compressed."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from c2i_fast.data.names import some
from c2i_fast.data.npy import MOST_RECORD_BYTES, Header, one_line, read_header
from c2i_fast.errors import InputError

MOST_SMALL_BYTES = 1 << 30  # labels, ids and targets, which are read whole

# How far a method can shrink bytes at best; a member that claims more lies about its size.
_MOST_RATIO = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_FAULTS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, struct.error)


def members(path: Path) -> set[str]:
    """Returns the names of the arrays in an .npz; a file that is none is an `InputError`."""
    try:
        with zipfile.ZipFile(path) as file:
            return {name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")}
    except _FAULTS as error:
        raise InputError(f"{path}: expected an .npz, but {one_line(error)}; save it with numpy.savez") from error


class Records:
    """The records `array[i]` of one array in an .npz: memory never holds more than one.

    Going forward is fast. Going back is fast in `numpy.savez` files; a compressed one is inflated from its start again.
    May be shared by threads, and used as a context.

    Attributes:
        where: the file and the array, for messages.
        shape: (N, *record_shape), none of it 0.
        record_shape, record_bytes: of one record.
        dtype: any that holds no Python objects.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.where = f"{path}[{key!r}]"
        if key not in (keys := members(path)):
            raise InputError(f"{path}: expected the array {key!r}, but it holds {some(sorted(keys)) or 'nothing'}")
        try:
            header = self._open(path, key)
        except _FAULTS as error:
            raise InputError(f"{self.where}: expected a whole .npz, but {one_line(error)}; save it again") from error
        self.shape, self.dtype, self.record_shape = header.shape, header.dtype, header.shape[1:]
        self.record_bytes = prod(self.record_shape) * self.dtype.itemsize
        self._lock = threading.Lock()
        self._check(header)

    def _open(self, path: Path, key: str) -> Header:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(key + ".npy")
            if info.file_size > _MOST_RATIO.get(info.compress_type, 1 << 20) * info.compress_size:
                raise InputError(
                    f"{self.where}: claims {info.file_size} bytes out of {info.compress_size} compressed ones, which "
                    "is impossible; save the file again"
                )
            with archive.open(info) as file:
                header = read_header(file, info.file_size, self.where)
            # A stored member is read from the file itself, where it can be sought; zipfile would read its way there.
            stored = info.compress_type == zipfile.ZIP_STORED
            self._begin = header.offset + (_stored_at(path, info) if stored else 0)
            self._file: IO[bytes] = path.open("rb") if stored else archive.open(info)
            return header

    def _check(self, header: Header) -> None:
        fault = None
        if not self.shape or 0 in self.shape:
            fault = f"has no records, its shape is {self.shape}"
        elif header.fortran and len(self.shape) > 1:
            fault = "is in Fortran order, which cannot be streamed; save numpy.ascontiguousarray of it"
        elif self.record_bytes > MOST_RECORD_BYTES:
            fault = f"has records of {self.record_bytes} bytes, above the limit of {MOST_RECORD_BYTES}"
        if fault is not None:
            self.close()
            raise InputError(f"{self.where}: expected one record per image, but it {fault}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def read(self, index: int) -> NDArray[Any]:
        """Returns record `index`, read-only."""
        return self._values(index, 1).reshape(self.record_shape)

    def read_all(self) -> NDArray[Any]:
        """Returns the whole array, which must be small (labels, ids)."""
        if self.record_bytes * self.shape[0] > MOST_SMALL_BYTES:
            raise InputError(
                f"{self.where}: expected at most {MOST_SMALL_BYTES} bytes, but it has more; make it smaller"
            )
        return self._values(0, self.shape[0]).reshape(self.shape)

    def _values(self, index: int, count: int) -> NDArray[Any]:
        wanted = count * self.record_bytes
        try:
            with self._lock:
                self._file.seek(self._begin + index * self.record_bytes)
                data = self._file.read(wanted)
        except _FAULTS as error:
            raise InputError(
                f"{self.where}: record {index} cannot be read, {one_line(error)}; save it again"
            ) from error
        if len(data) != wanted:
            raise InputError(f"{self.where}: ends inside record {index}, the file is cut off; save it again")
        return np.frombuffer(data, self.dtype)


def _stored_at(path: Path, info: zipfile.ZipInfo) -> int:
    """Returns where a stored member's bytes begin, which only its local header tells."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(info.header_offset + 30 + name + extra)
