"""A network behind `CudaPasses`: device input buffers in, device logits out, nothing by way of the host."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from c2i_fast.kernels.host import HostBuffer
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
        """Returns input buffer number `slot` of two; its next run reads it."""
        ...

    def run(self, slot: int) -> Buffer:
        """Runs the batch in a slot and returns its logits, float32 (batch, K), valid until the slot runs again."""
        ...

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on."""
        ...


class HostEngine:
    """Any session as a device engine on the host: `HostDevice`'s buffers are NumPy's."""

    storage = Storage()

    def __init__(self, session: Session, contract: GraphContract, batch: int) -> None:
        self._session, self._contract = session, contract
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
        answers: Any = self._session.run({"pixels": self._inputs[slot].array(shape, np.float32)})
        self._logits[slot].array((self.batch, self._contract.classes), np.float32)[:] = answers["logits"]
        return self._logits[slot]
