"""`CudaPasses`: masks written by kernels straight into the engine's input, on one stream, plans uploaded once.

    plans, work ─► blocks of batches: each image, baseline and map up once; the work list up once
        batch i:  mask kernel ─► engine input (slot i mod 2) ─► network ─► read-out kernel, or the logits kept
    one download for a block

The device is a parameter. On `HostDevice` the very same launches and copies run on the CPU, which is how the schedule
is tested where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.kernels.device import Device, DeviceMemoryError
from c2i_fast.kernels.engine import SLOTS, DeviceEngine
from c2i_fast.kernels.launch import (
    Buffer,
    Launch,
    Layout,
    blend_launch,
    rank_launch,
    readout_launch,
    scratch_bytes,
    select_launch,
)
from c2i_fast.kernels.storage import Storage
from c2i_fast.perturb.passes import check_shapes
from c2i_fast.types import CurveProtocol, Floats, GraphContract, Ints, PerturbationPlan, Reading

BLOCK_PASSES = 4096
STEP_TYPES = ("uint8", "uint16", "int32")


@dataclass(slots=True)
class _Tables:
    """Images and maps, each once however many plans show them, and the plans as rows of numbers."""

    rows: dict[tuple[int, ...], int] = field(default_factory=dict)
    values: list[NDArray[Any]] = field(default_factory=list)

    def add(self, array: NDArray[Any], stored: Callable[[NDArray[Any]], NDArray[Any]]) -> int:
        """Returns the row of an array; the same memory is the same row."""
        key = (array.__array_interface__["data"][0], *array.shape, *array.strides)
        if key not in self.rows:
            self.rows[key] = len(self.values)
            self.values.append(stored(array))
        return self.rows[key]


class CudaPasses:
    """Masked passes on a device; see `MaskedPasses`.

    Args:
        device: a `CudaDevice`, or a `HostDevice`.
        engine: the network, on that device.
        contract: of the fused graph.
        say: told when the batch had to be halved for want of memory.
    """

    def __init__(
        self,
        device: Device,
        engine: DeviceEngine,
        contract: GraphContract,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.device, self.engine, self.contract, self._say = device, engine, contract, say
        self.on_passes: Callable[[int], None] = lambda passes: None
        self._arena: dict[str, Buffer] = {}

    @property
    def batch(self) -> int:
        """Images a run of the network takes."""
        return self.engine.batch

    def warm_up(self, protocols: Sequence[CurveProtocol]) -> None:
        """Runs the network once, so that no timing pays for its first run; the kernels do not depend on protocols."""
        self.engine.run(0)

    def select(self, plans: Sequence[PerturbationPlan], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        return self._select(plans, work, None)

    def read(self, plans: Sequence[PerturbationPlan], work: Ints, reading: Reading) -> Floats:
        """Returns read-outs (P, R); see `ReadingPasses`."""
        return self._select(plans, work, reading)

    def _select(self, plans: Sequence[PerturbationPlan], work: Ints, read: Reading | None) -> Floats:
        check_shapes(self.contract, [plan.start for plan in plans])
        used = [plans[p] for p in np.unique(work[:, 0])]
        heights = max((len(plan.step_map) for plan in used), default=1)
        kind = STEP_TYPES[max((STEP_TYPES.index(plan.step_map.dtype.name) for plan in used), default=0)]
        pixels = int(np.prod(plans[0].start.shape[1:])) if plans else 0
        layout = Layout.of(self.engine.storage, self.contract.channels, pixels, heights)

        def masks(rows: Ints) -> Callable[[int, int, int], Launch]:
            tables = self._upload_plans(plans, rows, self.engine.storage, heights, kind)

            def launch(first: int, items: int, out: int) -> Launch:
                return select_launch(
                    layout,
                    self.engine.storage,
                    kind,
                    items=items,
                    work=self._arena["work"].pointer + 8 * first,
                    out=out,
                    **tables,
                )

            return launch

        return self._run(work, masks, read)

    def blend(
        self,
        plans: Sequence[PerturbationPlan],
        grids: Floats,
        axes: Sequence[Floats],
        work: Ints,
    ) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        check_shapes(self.contract, [plan.start for plan in plans])
        whole = Storage(preprocessing=self.engine.storage.preprocessing)
        space = plans[0].start.shape[1:]
        if len(axes) == 1:  # a signal is an image of height 1
            axes = [np.ones((len(grids), 1, 1), np.float32), axes[0]]
            grids, space = grids[:, None], (1, *space)

        def masks(rows: Ints) -> Callable[[int, int, int], Launch]:
            which, local = np.unique(rows[:, 1], return_inverse=True)
            rows = np.stack([rows[:, 0], local.astype(np.int32)], axis=1)
            tables = self._upload_plans(plans, rows, whole, 0, "uint8")
            soft = {"grids": grids[which], "rows": axes[0][which], "columns": axes[1][which]}
            soft_at = {name: self._put(name, array.astype(np.float32, copy=False)) for name, array in soft.items()}

            def launch(first: int, items: int, out: int) -> Launch:
                return blend_launch(
                    self.engine.storage,
                    self.contract.channels,
                    space,
                    grids.shape[1:],
                    images=tables["images"],
                    plans=tables["plans"],
                    work=self._arena["work"].pointer + 8 * first,
                    out=out,
                    items=items,
                    **soft_at,
                )

            return launch

        return self._run(work, masks, None)

    def direct(self, images: Sequence[Floats]) -> Floats:
        """Returns logits (N, K) of the images themselves."""
        check_shapes(self.contract, images)
        answer = np.empty((len(images), self.contract.classes), np.float32)
        first = 0
        while first < len(images):
            part = images[first : first + self.batch]
            try:
                stored = np.stack([self.engine.storage.encode(image) for image in part])
                self.device.upload(stored, self.engine.input(0))
                logits = self.engine.run(0)
                answer[first : first + len(part)] = self.device.download(
                    logits, (len(part), self.contract.classes), np.float32
                )
            except DeviceMemoryError as error:
                self._halve(error)
                continue
            self.on_passes(len(part))
            first += len(part)
        return answer

    def rank_steps(
        self, saliency: Floats, counts: Ints, *, last_first: bool = False, lerf: bool = False
    ) -> NDArray[Any]:
        """Returns the step maps (M, *space) of saliency maps (M, *space), ranked on the device.

        Equal to `step_map(pixel_order(…), counts, …)`; `last_first` is the tie rule `reverse-index`, `lerf` the exact
        reversal.

        Raises:
            InputError: A map holds a NaN or an infinity.
        """
        maps, elements, intervals = len(saliency), int(np.prod(saliency.shape[1:])), len(counts) - 1
        kind = STEP_TYPES[0] if intervals <= 255 else STEP_TYPES[1] if intervals <= 65535 else STEP_TYPES[2]
        refused = self._put("refused", np.zeros(maps, np.int32))
        steps = self._room("steps", maps * elements * np.dtype(kind).itemsize)
        self.device.launch(
            rank_launch(
                maps,
                elements,
                intervals,
                kind,
                saliency=self._put("saliency", saliency.astype(np.float32, copy=False)),
                counts=self._put("counts", np.asarray(counts, np.int32)),
                scratch=self._room("scratch", scratch_bytes(maps, elements)).pointer,
                steps=steps.pointer,
                refused=refused,
                last_first=last_first,
                lerf=lerf,
            )
        )
        bad = np.flatnonzero(self.device.download(self._arena["refused"], (maps,), np.int32))
        if len(bad):
            raise InputError(f"saliency map {bad[0]} holds a NaN or an infinity; maps must be finite")
        return self.device.download(steps, saliency.shape, kind)

    def _run(
        self, work: Ints, masks: Callable[[Ints], Callable[[int, int, int], Launch]], read: Reading | None
    ) -> Floats:
        """Works through blocks of passes in plan order; a block that finds no memory is tried with half the batch."""
        width = len(read.kinds) if read else self.contract.classes
        answer = np.empty((len(work), width), np.float32)
        order = np.argsort(work[:, 0], kind="stable")
        first = 0
        while first < len(order):
            rows = order[first : first + max(1, BLOCK_PASSES // self.batch) * self.batch]
            try:
                answer[rows] = self._block(work[rows], masks, None if read is None else read.rows(rows))
            except DeviceMemoryError as error:
                self._halve(error)
                continue
            self.on_passes(len(rows))
            first += len(rows)
        return answer

    def _block(
        self,
        work: Ints,
        masks: Callable[[Ints], Callable[[int, int, int], Launch]],
        read: Reading | None,
    ) -> Floats:
        """Returns the answers of some batches, the last one padded with its last plan's step 0."""
        padding = -len(work) % self.batch
        padded = np.concatenate([work, np.repeat(np.array([[work[-1, 0], 0]], work.dtype), padding, axis=0)])
        launch = masks(padded)
        width = len(read.kinds) if read else self.contract.classes
        results = self._room("results", len(padded) * width * 4)
        readout = self._readout(read, padding) if read else None
        for number, first in enumerate(range(0, len(padded), self.batch)):
            slot = number % SLOTS
            self.device.launch(launch(first, self.batch, self.engine.input(slot).pointer))
            logits = self.engine.run(slot)
            if readout:
                self.device.launch(readout(first, logits))
            else:
                self.device.copy(logits, results, first * width * 4, self.batch * width * 4)
        return np.asarray(self.device.download(results, (len(work), width), np.float32))

    def _readout(self, read: Reading, padding: int) -> Callable[[int, Buffer], Launch]:
        width = len(read.kinds)
        at = {
            "targets": self._put("targets", np.concatenate([read.targets, np.zeros(padding, np.int32)])),
            "scales": self._put("scales", np.concatenate([read.scales, np.ones((padding, width), np.float32)])),
            "kinds": self._put("kinds", read.kinds),
        }
        if read.weights is not None and read.offsets is not None:
            at |= {"weights": self._put("weights", read.weights), "offsets": self._put("offsets", read.offsets)}

        def launch(first: int, logits: Buffer) -> Launch:
            moved = {"targets": at["targets"] + 4 * first, "scales": at["scales"] + 4 * width * first}
            out = self._arena["results"].pointer + 4 * width * first
            return readout_launch(
                self.batch, self.contract.classes, width, logits=logits.pointer, out=out, **(at | moved)
            )

        return launch

    def _upload_plans(
        self, plans: Sequence[PerturbationPlan], work: Ints, storage: Storage, heights: int, kind: str
    ) -> dict[str, int]:
        """Uploads what the work shows: images, maps (none where `heights` is 0), plans and the work itself."""
        used, local = np.unique(work[:, 0], return_inverse=True)
        images, maps = _Tables(), _Tables()

        def stored_map(step_map: NDArray[Any]) -> NDArray[Any]:
            tall = step_map if len(step_map) == heights else np.repeat(step_map, heights, axis=0)
            return storage.arrange(tall).astype(kind, copy=False)

        triples = [
            (
                images.add(plans[p].start, storage.encode),
                images.add(plans[p].end, storage.encode),
                maps.add(plans[p].step_map, stored_map) if heights else 0,
            )
            for p in used
        ]
        self._put("work", np.stack([local, work[:, 1]], axis=1).astype(np.int32))
        return {
            "images": self._put("images", np.stack(images.values)),
            "maps": self._put("maps", np.stack(maps.values)) if heights else 0,
            "plans": self._put("plans", np.asarray(triples, np.int32)),
        }

    def _put(self, name: str, array: NDArray[Any]) -> int:
        """Uploads an array into the buffer of that name and returns its address."""
        buffer = self._room(name, array.nbytes)
        self.device.upload(array, buffer)
        return buffer.pointer

    def _room(self, name: str, nbytes: int) -> Buffer:
        """Returns the buffer of that name, made larger where it is too small."""
        if name not in self._arena or self._arena[name].nbytes < nbytes:
            self._arena.pop(name, None)
            self._arena[name] = self.device.allocate(nbytes)
        return self._arena[name]

    def _halve(self, error: DeviceMemoryError) -> None:
        if self.batch == 1:
            raise error
        self._arena.clear()
        self.engine.resize(self.batch // 2)
        self._say(f"{error}; going on with batches of {self.batch}")
