"""The NVIDIA device: memory and copies by the driver; kernels, streams, events and graphs by cuda.core."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.kernels.device import DeviceMemoryError, Event, Lane
from c2i_fast.kernels.launch import Buffer, Launch
from c2i_fast.kernels.nvrtc import compile_kernel
from c2i_fast.kernels.traffic import Traffic

try:
    from cuda.bindings import driver
    from cuda.core import Device, LaunchConfig, ObjectCode, launch
except ImportError as error:
    raise MissingDependencyError("cuda-core", "cuda") from error

OUT_OF_MEMORY = 2


class CudaBuffer:
    """Bytes on the GPU, given back when nobody holds them."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._free = driver.cuMemFree
        self.pointer = int(_checked(driver.cuMemAlloc(max(nbytes, 1)), f"allocating {nbytes / 2**20:,.0f} MiB"))

    def __del__(self) -> None:
        if pointer := getattr(self, "pointer", 0):
            self._free(pointer)


class PinnedBuffer:
    """Page-locked host memory, given back when nobody holds it."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._free = driver.cuMemFreeHost
        self.pointer = int(_checked(driver.cuMemHostAlloc(max(nbytes, 1), 0), f"pinning {nbytes / 2**20:,.0f} MiB"))

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns a view of the first bytes; it does not keep this memory."""
        kind = np.dtype(dtype)
        raw = (ctypes.c_uint8 * (int(np.prod(shape)) * kind.itemsize)).from_address(self.pointer)
        return np.frombuffer(raw, kind).reshape(shape)

    def __del__(self) -> None:
        if pointer := getattr(self, "pointer", 0):
            self._free(pointer)


class CudaDevice:
    """A GPU with two streams of its own; engines are given the compute lane's: masks and network need no waiting.

    Raises:
        EngineError: There is no driver, no such device, or the driver is too old for the compiler.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            _checked(driver.cuInit(0), "starting the driver")
        except RuntimeError as error:  # cuda-pathfinder's, where the driver's library is not there
            raise EngineError("there is no NVIDIA driver on this machine; use --device cpu") from error
        count = _checked(driver.cuDeviceGetCount(), "counting devices")
        if index >= count:
            raise EngineError(f"there is no CUDA device {index}; this machine has {count}")
        device = Device(index)
        device.set_current()
        self.index = index
        self.name = str(device.name)
        self.architecture = f"sm_{device.arch}"
        self.traffic = Traffic()
        self._streams: dict[Lane, Any] = {"compute": device.create_stream(), "copy": device.create_stream()}
        self._kernels: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}

    @property
    def stream(self) -> int:
        """The handle of the compute lane's stream, for engines."""
        return self._handle("compute")

    def allocate(self, nbytes: int) -> CudaBuffer:
        """Returns memory."""
        return CudaBuffer(nbytes)

    def pinned(self, nbytes: int) -> PinnedBuffer:
        """Returns pinned host memory."""
        return PinnedBuffer(nbytes)

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies from pageable memory: the driver has staged it when this returns."""
        data = np.ascontiguousarray(array)
        self._up(data.ctypes.data, into.pointer + offset, data.nbytes, "compute")

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Copies to the host and waits for it."""
        answer = np.empty(shape, dtype)
        self._down(buffer.pointer, answer.ctypes.data, answer.nbytes)
        self._streams["compute"].sync()
        return answer

    def send(self, source: Buffer, into: Buffer, nbytes: int) -> None:
        """Copies from pinned memory on the copy lane."""
        self._up(source.pointer, into.pointer, nbytes, "copy")

    def fetch(self, source: Buffer, into: Buffer, nbytes: int) -> None:
        """Copies to pinned memory on the compute lane."""
        self._down(source.pointer, into.pointer, nbytes)

    def copy(self, source: int, into: int, nbytes: int) -> None:
        """Copies within the device."""
        _checked(driver.cuMemcpyDtoDAsync(into, source, nbytes, self.stream), "copying")

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        _checked(driver.cuMemsetD8Async(buffer.pointer, byte, buffer.nbytes, self.stream), "filling")

    def launch(self, what: Launch) -> None:
        """Runs a kernel, compiled on first use."""
        config = LaunchConfig(grid=what.grid, block=what.block)
        launch(self._streams["compute"], config, self._kernel(what.source, what.kernel), *what.arguments)
        self.traffic.launches += 1

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Records a CUDA graph; relaxed, because libraries allocate on their way."""
        stream = self._streams["compute"]
        builder = stream.create_graph_builder()
        try:
            builder.begin_building("relaxed")
            try:
                body()
            finally:
                builder.end_building()
            graph = builder.complete()
        except Exception as error:  # the driver's own classes, and whatever the network raises
            raise EngineError(f"the launches cannot be recorded: {error}") from error
        finally:
            builder.close()

        def replay() -> None:
            graph.launch(stream)
            self.traffic.replays += 1

        return replay

    def mark(self, lane: Lane) -> Event:
        """Records an event."""
        return self._streams[lane].record()

    def after(self, lane: Lane, event: Event) -> None:
        """Lets a stream wait for an event."""
        self._streams[lane].wait(event)

    def wait(self, event: Event) -> None:
        """Lets the host wait for an event."""
        event.sync()

    def synchronise(self) -> None:
        """Waits for both streams."""
        for stream in self._streams.values():
            stream.sync()

    def _handle(self, lane: Lane) -> int:
        return int(self._streams[lane].handle)

    def _up(self, source: int, into: int, nbytes: int, lane: Lane) -> None:
        _checked(driver.cuMemcpyHtoDAsync(into, source, nbytes, self._handle(lane)), "uploading")
        self.traffic.up += nbytes

    def _down(self, source: int, into: int, nbytes: int) -> None:
        _checked(driver.cuMemcpyDtoHAsync(into, source, nbytes, self.stream), "downloading")
        self.traffic.down += nbytes

    def _kernel(self, source: str, name: str) -> Any:
        if name not in self._kernels:
            if source not in self._modules:
                self._modules[source] = ObjectCode.from_cubin(compile_kernel(source, self.architecture))
            try:
                self._kernels[name] = self._modules[source].get_kernel(name)
            except Exception as error:  # the driver's own classes
                raise EngineError(
                    f"the driver refuses {name} for {self.architecture}: {error}; a driver older than the compiler's "
                    "CUDA major cannot load its code"
                ) from error
        return self._kernels[name]


def _checked(answer: tuple[Any, ...], doing: str) -> Any:
    """Returns what a driver call answered besides its status."""
    status, *values = answer
    if int(status) == OUT_OF_MEMORY:
        raise DeviceMemoryError(f"the GPU is out of memory ({doing})")
    if int(status):
        raise EngineError(f"CUDA error {status.name} while {doing}")
    return values[0] if values else None
