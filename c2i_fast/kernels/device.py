"""What `CudaPasses` needs of a device: memory, copies and launches, all in one order."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from c2i_fast.errors import EngineError
from c2i_fast.kernels.launch import Buffer, Launch
from c2i_fast.kernels.traffic import Traffic


class DeviceMemoryError(EngineError):
    """The device has no memory left for what was asked."""


class Device(Protocol):
    """A device with one stream: what is asked first is done first.

    Attributes:
        name: for people, e.g. the GPU's.
        traffic: bytes and launches so far.
    """

    name: str
    traffic: Traffic

    def allocate(self, nbytes: int) -> Buffer:
        """Returns memory, aligned to 256 bytes; `DeviceMemoryError` where there is none."""
        ...

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies an array into a buffer; the array may be changed once this returns."""
        ...

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns the first bytes of a buffer, when all that was asked before is done."""
        ...

    def copy(self, source: Buffer, into: Buffer, offset: int, nbytes: int) -> None:
        """Copies within the device."""
        ...

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        ...

    def launch(self, launch: Launch) -> None:
        """Runs a kernel."""
        ...

    def synchronise(self) -> None:
        """Returns when all that was asked is done."""
        ...
