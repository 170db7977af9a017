"""A network behind `CudaPasses`: device input buffers in, device logits out, nothing by way of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from c2i_fast.kernels.host import HostBuffer, HostDevice
from c2i_fast.kernels.launch import Buffer
from c2i_fast.kernels.storage import Storage
from c2i_fast.types import GraphContract, Session

SLOTS = 2


class DeviceEngine(Protocol):
    """A network that runs on a device's stream.

    Attributes:
        storage: how its input lies in memory.
        batch: images a run takes, always the full number.
    """

    storage: Storage
    batch: int

    def input(self, slot: int) -> Buffer:
        """Returns input buffer number `slot` of two, the same object until `resize`; its next run reads it."""
        ...

    def run(self, slot: int) -> Buffer:
        """Runs the batch in a slot and returns its logits, float32 (batch, K), valid until the slot runs again."""
        ...

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on, in other buffers."""
        ...

    def capture(self, body: Callable[[], None]) -> Callable[[], None] | None:
        """Returns what does again, at one go, all that `body` asks of the compute lane, runs of this network included.

        None where this network cannot be part of that.

        Raises:
            EngineError: It should have been, and failed.
        """
        ...


class HostEngine:
    """Any session as a device engine on the host: `HostDevice`'s buffers are NumPy's."""

    storage = Storage()

    def __init__(self, session: Session, contract: GraphContract, batch: int, device: HostDevice) -> None:
        self._session, self._contract, self._device = session, contract, device
        self.resize(batch)

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on."""
        self.batch = batch
        self._inputs = [HostBuffer(batch * self._contract.elements * 4) for _ in range(SLOTS)]
        self._logits = [HostBuffer(batch * self._contract.classes * 4) for _ in range(SLOTS)]

    def input(self, slot: int) -> HostBuffer:
        """Returns an input buffer."""
        return self._inputs[slot]

    def run(self, slot: int) -> HostBuffer:
        """Runs a batch."""
        shape = (self.batch, self._contract.channels, *(size or 1 for size in self._contract.space))
        pixels = self._inputs[slot].array(shape, np.float32)
        logits = self._logits[slot].array((self.batch, self._contract.classes), np.float32)

        def forward() -> None:
            answers: Any = self._session.run({"pixels": pixels})
            logits[:] = answers["logits"]

        self._device.do(forward)
        return self._logits[slot]

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Records."""
        return self._device.capture(body)
