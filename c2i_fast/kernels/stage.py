"""A block's memory on a device: what it needs goes up from pinned memory, and its answers come down to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.kernels.device import Device, Event, Pinned
from c2i_fast.kernels.launch import Buffer

# A buffer that grows gets an eighth more than was asked for: blocks differ by a few images.
HEADROOM = 8


class Stage:
    """Named buffers, each with a twin in pinned memory; they grow, and otherwise stay where they are.

    One block at a time has a stage: nothing may be `put` before the block that had it has landed.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers: dict[str, Buffer] = {}
        self._twins: dict[str, Pinned] = {}

    def put(self, name: str, rows: NDArray[Any] | Sequence[NDArray[Any]]) -> int:
        """Sends an array, or equal arrays one after the other, on the copy lane; returns where they will be."""
        first = rows if isinstance(rows, np.ndarray) else rows[0]
        shape = rows.shape if isinstance(rows, np.ndarray) else (len(rows), *first.shape)
        nbytes = int(np.prod(shape)) * first.dtype.itemsize
        buffer, twin = self.room(name, nbytes), self._twin(name, nbytes)
        view = twin.array(shape, first.dtype)
        if isinstance(rows, np.ndarray):
            view[...] = rows
        else:
            np.stack(rows, out=view)
        self._device.send(twin, buffer, nbytes)
        return buffer.pointer

    def room(self, name: str, nbytes: int) -> Buffer:
        """Returns the buffer of that name, made larger where it is too small."""
        if name not in self._buffers or self._buffers[name].nbytes < nbytes:
            self._buffers.pop(name, None)  # the old one goes before the new one comes
            self._buffers[name] = self._device.allocate(nbytes + nbytes // HEADROOM)
        return self._buffers[name]

    def sent(self) -> None:
        """Lets the compute lane go on only when all that was put is there."""
        self._device.after("compute", self._device.mark("copy"))

    def fetch(self, name: str, nbytes: int) -> Event:
        """Sends the first bytes of a buffer down on the compute lane; returns the event of their being there."""
        self._device.fetch(self._buffers[name], self._twin(name, nbytes), nbytes)
        return self._device.mark("compute")

    def fetched(self, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Returns what was fetched, to be copied before the next block; only after the event of `fetch`."""
        return self._twins[name].array(shape, dtype)

    def clear(self) -> None:
        """Gives all memory back."""
        self._buffers.clear()
        self._twins.clear()

    def _twin(self, name: str, nbytes: int) -> Pinned:
        if name not in self._twins or self._twins[name].nbytes < nbytes:
            self._twins.pop(name, None)
            self._twins[name] = self._device.pinned(nbytes + nbytes // HEADROOM)
        return self._twins[name]
