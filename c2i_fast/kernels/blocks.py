"""Blocks of batches on a device: while one is computed, the next goes up, and the one before comes down.

    copy lane      block 1 up │ block 2 up │ block 3 up │ …
    compute lane              │ block 1    │ block 2    │ …      a batch: its record into the slot, then, recorded:
    host           pack 1, 2  │ pack 3     │ answers 1, pack 4   masks ─► network ─► read-outs; then the answers out

A record is what differs from batch to batch: (plan, step), target and scales of every pass. All else that a batch is
made of stays where it is, so that a batch is the same launches as the last one in its slot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2i_fast.kernels.device import Device, DeviceMemoryError, Event
from c2i_fast.kernels.engine import SLOTS, DeviceEngine
from c2i_fast.kernels.launch import Launch, readout_launch
from c2i_fast.kernels.replays import Replays
from c2i_fast.kernels.stage import Stage
from c2i_fast.types import Floats, Ints, Reading

BLOCK_PASSES = 4096
STAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """What a block shows, on its way up.

    Attributes:
        work: int32 (P, 2), the block's passes by rows of the tables.
        launch: (address of a batch's work, address of a slot) → the launch that fills the slot.
    """

    work: Ints
    launch: Callable[[int, int], Launch]


Masks = Callable[[Stage, Ints], Tables]
"""Puts what some passes show into a stage, and returns it as tables."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Flight:
    stage: Stage
    rows: NDArray[np.intp]
    done: Event


class Blocks:
    """The schedule; see the module.

    Args:
        device, engine: where, and the network there.
        classes: K, the logits of a pass.
        say: told when the batch had to be halved for want of memory, or graphs could not be recorded.
        stages: blocks that may have memory at a time; with 1 nothing overlaps.
        graphs: whether batches that repeat are recorded.
    """

    def __init__(
        self,
        device: Device,
        engine: DeviceEngine,
        classes: int,
        say: Callable[[str], None],
        *,
        stages: int = STAGES,
        graphs: bool = True,
    ) -> None:
        self.device, self.engine, self._classes, self._say = device, engine, classes, say
        self.on_passes: Callable[[int], None] = lambda passes: None
        self._stages = [Stage(device) for _ in range(stages)]
        self._slots = [Stage(device) for _ in range(SLOTS)]
        self._replays = Replays(engine.capture if graphs else lambda body: None, say)
        self._most = BLOCK_PASSES

    def run(self, work: Ints, masks: Masks, read: Reading | None) -> Floats:
        """Returns the answers (P, K or R); a block that finds no memory is tried with half the batch."""
        width = len(read.kinds) if read else self._classes
        answer = np.empty((len(work), width), np.float32)
        order = np.argsort(work[:, 0], kind="stable")
        aloft: deque[_Flight] = deque()
        self.device.synchronise()  # a run that was interrupted may have left something on the lanes
        first = number = 0
        while first < len(order):
            rows = order[first : first + max(1, self._most // self.engine.batch) * self.engine.batch]
            if len(aloft) == len(self._stages):
                self._land(aloft.popleft(), answer)
            try:
                stage = self._stages[number % len(self._stages)]
                done = self._depart(stage, work[rows], masks, read and read.rows(rows))
            except DeviceMemoryError as error:
                while aloft:
                    self._land(aloft.popleft(), answer)
                self.halve(error)
                continue
            aloft.append(_Flight(stage=stage, rows=rows, done=done))
            first, number = first + len(rows), number + 1
        while aloft:
            self._land(aloft.popleft(), answer)
        return answer

    def halve(self, error: DeviceMemoryError) -> None:
        """Goes on with half the batch and half the block, or not at all."""
        if self.engine.batch == 1:
            raise error
        self.device.synchronise()
        self._replays.clear()
        for stage in (*self._stages, *self._slots):
            stage.clear()
        self._most = max(1, self._most // 2)
        self.engine.resize(self.engine.batch // 2)
        self._say(f"{error}; going on with batches of {self.engine.batch}")

    def _depart(self, stage: Stage, work: Ints, masks: Masks, read: Reading | None) -> Event:
        """Puts a block on the lanes, its last batch padded with its last plan's step 0; returns the end's event."""
        batch, width = self.engine.batch, len(read.kinds) if read else self._classes
        padding = -len(work) % batch
        tables = masks(stage, np.concatenate([work, np.full((padding, 2), (work[-1, 0], 0), work.dtype)]))
        records = _records(tables.work, read, padding, batch)
        records_at = stage.put("records", records)
        results = stage.room("results", (len(work) + padding) * width * 4).pointer
        steady = _put_reading(stage, read) if read else None
        stage.sent()
        size, answers = records[0].nbytes, batch * width * 4
        for number in range(len(records)):
            slot = number % SLOTS
            record = self._slots[slot].room("record", size).pointer
            out = self._slots[slot].room("answers", answers).pointer
            self.device.copy(records_at + number * size, record, size)
            self._batch(slot, tables.launch(record, self.engine.input(slot).pointer), record, out, width, steady)
            self.device.copy(out, results + number * answers, answers)
        return stage.fetch("results", len(work) * width * 4)

    def _batch(self, slot: int, mask: Launch, record: int, out: int, width: int, steady: dict[str, int] | None) -> None:
        """Masks, network, read-outs (or logits) of the batch whose record is in the slot."""
        batch = self.engine.batch

        def readout(logits: int) -> Launch | None:
            if steady is None:
                return None
            varying = {"targets": record + 8 * batch, "scales": record + 12 * batch}
            return readout_launch(batch, self._classes, width, logits=logits, out=out, **varying, **steady)

        def body() -> None:
            self.device.launch(mask)
            logits = self.engine.run(slot).pointer
            if launch := readout(logits):
                self.device.launch(launch)
            else:
                self.device.copy(logits, out, batch * width * 4)

        self._replays.run((slot, mask, readout(0), out), self.engine.input(slot), body)

    def _land(self, flight: _Flight, answer: Floats) -> None:
        self.device.wait(flight.done)
        answer[flight.rows] = flight.stage.fetched("results", (len(flight.rows), answer.shape[1]), np.float32)
        self.on_passes(len(flight.rows))


def _records(work: Ints, read: Reading | None, padding: int, batch: int) -> Ints:
    """Returns what differs from batch to batch, int32 (batches, words): work, then targets, then the scales' bits."""
    fields = [work]
    if read:
        scales = np.concatenate([read.scales, np.ones((padding, len(read.kinds)), np.float32)])
        fields += [np.concatenate([read.targets, np.zeros(padding, np.int32)]), scales.view(np.int32)]
    return np.concatenate([np.ascontiguousarray(field).reshape(len(work) // batch, -1) for field in fields], axis=1)


def _put_reading(stage: Stage, read: Reading) -> dict[str, int]:
    """Puts what all passes are read by."""
    at = {"kinds": stage.put("kinds", read.kinds)}
    if read.weights is not None and read.offsets is not None:
        at |= {"weights": stage.put("weights", read.weights), "offsets": stage.put("offsets", read.offsets)}
    return at
