"""Reading .npy headers without trusting them: no pickles, and no sizes that are not there."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from c2i_fast.errors import InputError

MOST_RECORD_BYTES = 1 << 31  # one image or map; a 10 000 × 10 000 float32 picture of 3 channels is 1.2e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an array says about itself: shape, dtype, order of the axes, and the byte at which its values begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int


def read_header(file: IO[bytes], size: int, where: object) -> Header:
    """Returns the header at the front of `file`, which holds `size` bytes in all.

    Raises:
        InputError: no .npy, an array of Python objects, or a shape that does not fill the bytes there are.
    """
    try:
        version = npy_format.read_magic(file)
        read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except (ValueError, TypeError, SyntaxError, TokenError) as error:
        raise InputError(f"{where}: expected a NumPy array, but {one_line(error)}; save it with NumPy") from error
    if dtype.hasobject:
        raise InputError(f"{where}: expected numbers, but it holds Python objects, which are never unpickled; convert")
    there, said = size - file.tell(), prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or said != there:
        raise InputError(
            f"{where}: its header says {dtype} {shape}, {said} bytes, but {there} follow; it is cut off or forged, "
            "save it again"
        )
    return Header(shape=shape, dtype=dtype, fortran=fortran, offset=file.tell())


def read_npy(path: Path) -> NDArray[Any]:
    """Returns the array in a .npy file, read-only; anything but a plain array is an `InputError`."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = read_header(file, size, path)
            if size > MOST_RECORD_BYTES:
                raise InputError(
                    f"{path}: expected at most {MOST_RECORD_BYTES} bytes, but came {size}; make it smaller"
                )
            values = np.frombuffer(file.read(), header.dtype)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, but {error.strerror}; mend it") from error
    return values.reshape(header.shape[::-1]).T if header.fortran else values.reshape(header.shape)


def one_line(error: BaseException) -> str:
    """Returns an exception's message without line breaks, at most 200 characters, or its type where it has none."""
    return " ".join(str(error).split())[:200] or type(error).__name__
