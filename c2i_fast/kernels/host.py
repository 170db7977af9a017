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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import EngineError
from c2i_fast.kernels.device import Event, Lane
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
    """A device whose memory is the host's and whose threads run in turn: every call has ended when it returns.

    Attributes:
        launches: all that ran, in order.
    """

    name = "host"

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.launches: list[Launch] = []
        self._recorded: list[Callable[[], None]] | None = None
        self._libraries: dict[str, ctypes.CDLL] = {}

    def allocate(self, nbytes: int) -> HostBuffer:
        """Returns zeroed memory."""
        return HostBuffer(nbytes)

    def pinned(self, nbytes: int) -> HostBuffer:
        """Returns zeroed memory."""
        return HostBuffer(nbytes)

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies an array into a buffer."""
        data = np.ascontiguousarray(array)
        self._move(data.ctypes.data, into.pointer + offset, data.nbytes)
        self.traffic.up += data.nbytes

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns the first bytes of a buffer as an array."""
        answer = np.empty(shape, dtype)
        self._move(buffer.pointer, answer.ctypes.data, answer.nbytes)
        self.traffic.down += answer.nbytes
        return answer

    def send(self, source: Buffer, into: Buffer, nbytes: int) -> None:
        """Copies from pinned memory."""
        self._move(source.pointer, into.pointer, nbytes)
        self.traffic.up += nbytes

    def fetch(self, source: Buffer, into: Buffer, nbytes: int) -> None:
        """Copies to pinned memory."""
        self._move(source.pointer, into.pointer, nbytes)
        self.traffic.down += nbytes

    def copy(self, source: int, into: int, nbytes: int) -> None:
        """Copies within the device."""
        self.do(lambda: _moved(source, into, nbytes))

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        self.do(lambda: _filled(buffer, byte))

    def launch(self, launch: Launch) -> None:
        """Runs a launch to its end."""
        self.traffic.launches += 1
        self.do(lambda: self._execute(launch))

    def do(self, call: Callable[[], None]) -> None:
        """Does something on the compute lane; while recording, writes it down instead."""
        if self._recorded is None:
            call()
        else:
            self._recorded.append(call)

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Returns what does again all that a body asks of the compute lane."""
        recorded: list[Callable[[], None]] = []
        self._recorded = recorded
        try:
            body()
        finally:
            self._recorded = None

        def replay() -> None:
            self.traffic.replays += 1
            for call in recorded:
                call()

        return replay

    def mark(self, lane: Lane) -> Event:
        """Returns nothing: all that was asked has happened."""

    def after(self, lane: Lane, event: Event) -> None:
        """Does nothing."""

    def wait(self, event: Event) -> None:
        """Does nothing."""

    def synchronise(self) -> None:
        """Does nothing."""

    def _move(self, source: int, into: int, nbytes: int) -> None:
        if self._recorded is not None:
            raise EngineError("a copy between host and device cannot be recorded")
        _moved(source, into, nbytes)

    def _execute(self, launch: Launch) -> None:
        self.launches.append(launch)
        function = getattr(self._library(launch.source), launch.kernel)
        block = 1 if launch.together else launch.block
        function.restype = None
        function((ctypes.c_int32 * 3)(*launch.grid, block), *map(_argument, launch.arguments))

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


def _moved(source: int, into: int, nbytes: int) -> None:
    ctypes.memmove(into, source, nbytes)


def _filled(buffer: Buffer, byte: int) -> None:
    ctypes.memset(buffer.pointer, byte, buffer.nbytes)


def _argument(value: Any) -> Any:
    if isinstance(value, np.int32):
        return ctypes.c_int32(int(value))
    return ctypes.c_float(float(value)) if isinstance(value, np.float32) else ctypes.c_void_p(int(value))
