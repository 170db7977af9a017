"""The NVIDIA device: memory and copies by the driver, kernels by cuda.core, everything on one stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.kernels.device import DeviceMemoryError
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


class CudaDevice:
    """A GPU with a stream of its own, whose handle engines are given: masks and network need no waiting in between.

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
        self._stream = device.create_stream()
        self._kernels: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}

    @property
    def stream(self) -> int:
        """The stream's handle, for engines."""
        return int(self._stream.handle)

    def allocate(self, nbytes: int) -> CudaBuffer:
        """Returns memory."""
        return CudaBuffer(nbytes)

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies from pageable memory: the driver has staged it when this returns."""
        data = np.ascontiguousarray(array)
        _checked(
            driver.cuMemcpyHtoDAsync(into.pointer + offset, data.ctypes.data, data.nbytes, self.stream), "uploading"
        )
        self.traffic.up += data.nbytes

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Copies to the host and waits for it."""
        answer = np.empty(shape, dtype)
        _checked(
            driver.cuMemcpyDtoHAsync(answer.ctypes.data, buffer.pointer, answer.nbytes, self.stream), "downloading"
        )
        self.synchronise()
        self.traffic.down += answer.nbytes
        return answer

    def copy(self, source: Buffer, into: Buffer, offset: int, nbytes: int) -> None:
        """Copies within the device."""
        _checked(driver.cuMemcpyDtoDAsync(into.pointer + offset, source.pointer, nbytes, self.stream), "copying")

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        _checked(driver.cuMemsetD8Async(buffer.pointer, byte, buffer.nbytes, self.stream), "filling")

    def launch(self, what: Launch) -> None:
        """Runs a kernel, compiled on first use."""
        config = LaunchConfig(grid=what.grid, block=what.block)
        launch(self._stream, config, self._kernel(what.source, what.kernel), *what.arguments)
        self.traffic.launches += 1

    def synchronise(self) -> None:
        """Waits for the stream."""
        self._stream.sync()

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
