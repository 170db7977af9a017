"""What `CudaPasses` needs of a device: memory, copies, launches, and an order among them.

A device has two lanes. What is asked of one lane is done in the order in which it was asked; between the lanes, and
between them and the host, only events say what comes first.

    compute   kernels, the network, copies within the device, answers down
    copy      plans up, from pinned memory, while the compute lane works on those before
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from c2i_fast.errors import EngineError
from c2i_fast.kernels.launch import Buffer, Launch
from c2i_fast.kernels.traffic import Traffic

Lane = Literal["compute", "copy"]
Event = Any


class DeviceMemoryError(EngineError):
    """The device has no memory left for what was asked."""


class Pinned(Buffer, Protocol):
    """Host memory that a device reads and writes by itself."""

    def array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns a view of the first bytes."""
        ...


class Device(Protocol):
    """A device with two lanes.

    Attributes:
        name: for people, e.g. the GPU's.
        traffic: bytes and launches so far.
    """

    name: str
    traffic: Traffic

    def allocate(self, nbytes: int) -> Buffer:
        """Returns memory, aligned to 256 bytes; `DeviceMemoryError` where there is none."""
        ...

    def pinned(self, nbytes: int) -> Pinned:
        """Returns pinned host memory; `DeviceMemoryError` where there is none."""
        ...

    def upload(self, array: NDArray[Any], into: Buffer, offset: int = 0) -> None:
        """Copies an array into a buffer, on the compute lane; the array may be changed once this returns."""
        ...

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns the first bytes of a buffer, when all that was asked of the compute lane before is done."""
        ...

    def send(self, source: Pinned, into: Buffer, nbytes: int) -> None:
        """Copies to the device on the copy lane; the source must stay as it is until that is done."""
        ...

    def fetch(self, source: Buffer, into: Pinned, nbytes: int) -> None:
        """Copies to the host on the compute lane; what arrives may be read when that is done."""
        ...

    def copy(self, source: int, into: int, nbytes: int) -> None:
        """Copies within the device, from address to address."""
        ...

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Sets every byte of a buffer."""
        ...

    def launch(self, launch: Launch) -> None:
        """Runs a kernel."""
        ...

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Returns what does again, at one go, all that `body` asks of the compute lane; `body` itself does nothing.

        Raises:
            EngineError: It cannot be recorded.
        """
        ...

    def mark(self, lane: Lane) -> Event:
        """Returns the event of all that was asked of a lane so far."""
        ...

    def after(self, lane: Lane, event: Event) -> None:
        """Lets a lane go on only when the event has happened; the host does not wait."""
        ...

    def wait(self, event: Event) -> None:
        """Returns when the event has happened."""
        ...

    def synchronise(self) -> None:
        """Returns when all that was asked is done, on both lanes."""
        ...
