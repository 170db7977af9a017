"""The kernels on the CPU: the same sources through a host compiler, the same launches, one thread after the other.

For tests, and for whoever wants to see what a schedule does without a GPU; not fast, and not meant to be.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import EngineError
from c2i_fast.kernels.launch import Buffer, Launch
from c2i_fast.kernels.sources import cache_folder, source_path, sources_digest
from c2i_fast.kernels.traffic import Traffic
from c2i_fast.resources import resource

FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing", "-x", "c++")


class HostBuffer:
    """Bytes in host memory, aligned as a device's are."""

    ALIGNMENT = 256

    def __init__(self, nbytes: int) -> None:
        raw = np.zeros(nbytes + self.ALIGNMENT, np.uint8)
        offset = -raw.ctypes.data % self.ALIGNMENT
        self.bytes: NDArray[np.uint8] = raw[offset : offset + nbytes]
        self.nbytes = nbytes
        self.pointer = int(self.bytes.ctypes.data)

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns a view of the first bytes."""
        kind = np.dtype(dtype)
        return np.asarray(self.bytes[: int(np.prod(shape)) * kind.itemsize].view(kind).reshape(shape))


class HostDevice:
    """A device whose memory is the host's and whose threads run in turn."""

    name = "host"

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.launches: list[Launch] = []
        self._libraries: dict[str, ctypes.CDLL] = {}

    def allocate(self, nbytes: int) -> HostBuffer:
        """Returns zeroed memory."""
        return HostBuffer(nbytes)

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies an array into a buffer."""
        data = np.ascontiguousarray(array)
        ctypes.memmove(into.pointer + offset, data.ctypes.data, data.nbytes)
        self.traffic.up += data.nbytes

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns the first bytes of a buffer as an array."""
        answer = np.empty(shape, dtype)
        ctypes.memmove(answer.ctypes.data, buffer.pointer, answer.nbytes)
        self.traffic.down += answer.nbytes
        return answer

    def copy(self, source: Buffer, into: Buffer, offset: int, nbytes: int) -> None:
        """Copies within the device."""
        ctypes.memmove(into.pointer + offset, source.pointer, nbytes)

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        ctypes.memset(buffer.pointer, byte, buffer.nbytes)

    def launch(self, launch: Launch) -> None:
        """Runs a launch to its end."""
        self.launches.append(launch)
        self.traffic.launches += 1
        function = getattr(self._library(launch.source), launch.kernel)
        block = 1 if launch.together else launch.block
        function.restype = None
        function((ctypes.c_int32 * 3)(*launch.grid, block), *map(_argument, launch.arguments))

    def synchronise(self) -> None:
        """Does nothing: every call has ended when it returns."""

    def _library(self, source: str) -> ctypes.CDLL:
        if source not in self._libraries:
            self._libraries[source] = ctypes.CDLL(str(host_library(source)))
        return self._libraries[source]


def host_library(source: str, folder: Path | None = None) -> Path:
    """Returns the shared library of a kernel source, compiled on first use into the cache directory.

    Raises:
        EngineError: There is no host compiler, or it refuses the source.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise EngineError("running kernels on the CPU needs a C++ compiler: install g++, or name one in CXX")
    key = hashlib.sha256("\0".join((sources_digest(), source, compiler, *FLAGS)).encode()).hexdigest()[:16]
    path = (folder or cache_folder()) / f"{source.replace('/', '-')}-{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            command = [compiler, *FLAGS, "-I", str(resource("kernels")), "-o", str(made), str(source_path(source))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise EngineError(f"{compiler} refuses {source}.cu: {done.stderr.strip()[:500]}")
            os.replace(made, path)
    return path


def _argument(value: Any) -> Any:
    if isinstance(value, np.int32):
        return ctypes.c_int32(int(value))
    return ctypes.c_float(float(value)) if isinstance(value, np.float32) else ctypes.c_void_p(int(value))
