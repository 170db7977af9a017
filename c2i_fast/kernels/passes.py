"""`CudaPasses`: masks written by kernels straight into the engine's input, plans uploaded once.

Here is what a block shows: each image, baseline and map once, however many passes show them. `blocks.py` is when.

The device is a parameter. On `HostDevice` the very same launches and copies run on the CPU, which is how the schedule
is tested where there is no GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.kernels.blocks import STAGES, Blocks, Tables
from c2i_fast.kernels.device import Device, DeviceMemoryError
from c2i_fast.kernels.engine import DeviceEngine
from c2i_fast.kernels.launch import Launch, Layout, blend_launch, select_launch
from c2i_fast.kernels.stage import Stage
from c2i_fast.kernels.storage import Storage
from c2i_fast.perturb.passes import check_shapes
from c2i_fast.protocols import Protocol
from c2i_fast.types import Floats, GraphContract, Ints, PerturbationPlan, Reading

STEP_TYPES = ("uint8", "uint16", "int32")
PACKING_THREADS = min(4, os.cpu_count() or 1)


@dataclass(slots=True)
class _Table:
    """Arrays, each once however many plans show it."""

    rows: dict[tuple[int, ...], int] = field(default_factory=dict)
    arrays: list[NDArray[Any]] = field(default_factory=list)

    def add(self, array: NDArray[Any]) -> int:
        """Returns the row of an array; the same memory is the same row."""
        key = (array.__array_interface__["data"][0], *array.shape, *array.strides)
        if key not in self.rows:
            self.rows[key] = len(self.arrays)
            self.arrays.append(array)
        return self.rows[key]


class CudaPasses:
    """Masked passes on a device; see `MaskedPasses`.

    Args:
        device: a `CudaDevice`, or a `HostDevice`.
        engine: the network, on that device.
        contract: of the fused graph.
        say: told when the batch had to be halved for want of memory, or when CUDA graphs cannot be had.
        stages: blocks that may have memory at a time; with 1 nothing overlaps.
        graphs: whether batches that repeat are recorded as CUDA graphs.
    """

    def __init__(
        self,
        device: Device,
        engine: DeviceEngine,
        contract: GraphContract,
        say: Callable[[str], None] = lambda line: None,
        *,
        stages: int = STAGES,
        graphs: bool = True,
    ) -> None:
        self.device, self.engine, self.contract = device, engine, contract
        self._blocks = Blocks(device, engine, contract.classes, say, stages=stages, graphs=graphs)

    @property
    def batch(self) -> int:
        """Images a run of the network takes."""
        return self.engine.batch

    @property
    def on_passes(self) -> Callable[[int], None]:
        """Told how many passes have come back."""
        return self._blocks.on_passes

    @on_passes.setter
    def on_passes(self, told: Callable[[int], None]) -> None:
        self._blocks.on_passes = told

    def warm_up(self, protocols: Sequence[Protocol]) -> None:
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
        storage = self.engine.storage
        layout = Layout.of(storage, self.contract.channels, pixels, heights)

        def masks(stage: Stage, rows: Ints) -> Tables:
            local, tables = _put_plans(stage, plans, rows, storage, heights, kind)

            def launch(at: int, out: int) -> Launch:
                return select_launch(layout, storage, kind, items=self.batch, work=at, out=out, **tables)

            return Tables(work=local, launch=launch)

        return self._blocks.run(work, masks, read)

    def blend(self, plans: Sequence[PerturbationPlan], grids: Floats, axes: Sequence[Floats], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        check_shapes(self.contract, [plan.start for plan in plans])
        whole = Storage(preprocessing=self.engine.storage.preprocessing)
        space = plans[0].start.shape[1:]
        if len(axes) == 1:  # a signal is an image of height 1
            axes = [np.ones((len(grids), 1, 1), np.float32), axes[0]]
            grids, space = grids[:, None], (1, *space)

        def masks(stage: Stage, rows: Ints) -> Tables:
            which, mask = np.unique(rows[:, 1], return_inverse=True)
            local, tables = _put_plans(stage, plans, np.stack([rows[:, 0], mask], axis=1), whole, 0, "uint8")
            del tables["maps"]
            soft = {"grids": grids[which], "rows": axes[0][which], "columns": axes[1][which]}
            tables |= {name: stage.put(name, array.astype(np.float32, copy=False)) for name, array in soft.items()}

            def launch(at: int, out: int) -> Launch:
                storage, channels = self.engine.storage, self.contract.channels
                sizes = {"items": self.batch, "work": at, "out": out}
                return blend_launch(storage, channels, space, grids.shape[1:], **sizes, **tables)

            return Tables(work=local, launch=launch)

        return self._blocks.run(work, masks, None)

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
                self._blocks.halve(error)
                continue
            self.on_passes(len(part))
            first += len(part)
        return answer


def _put_plans(
    stage: Stage, plans: Sequence[PerturbationPlan], work: Ints, storage: Storage, heights: int, kind: str
) -> tuple[Ints, dict[str, int]]:
    """Puts images, maps (none where `heights` is 0) and plans; returns the work by their rows, and where they are."""
    used, local = np.unique(work[:, 0], return_inverse=True)
    steps = np.zeros(len(used), np.int64)
    np.maximum.at(steps, local, work[:, 1])
    images, maps = _Table(), _Table()

    def stored_map(step_map: NDArray[Any]) -> NDArray[Any]:
        tall = step_map if len(step_map) == heights else np.repeat(step_map, heights, axis=0)
        return storage.arrange(tall).astype(kind, copy=False)

    def row(plan: PerturbationPlan, last: int) -> tuple[int, int, int]:
        if heights and not last:  # clean passes show the start alone
            return (images.add(plan.start),) * 2 + (maps.add(plan.step_map),)
        return images.add(plan.start), images.add(plan.end), maps.add(plan.step_map) if heights else 0

    triples = [row(plans[p], last) for p, last in zip(used, steps.tolist(), strict=True)]
    with ThreadPoolExecutor(PACKING_THREADS) as pool:  # NumPy lets go of the interpreter meanwhile
        encoded = list(pool.map(storage.encode, images.arrays))
    return np.stack([local, work[:, 1]], axis=1).astype(np.int32), {
        "images": stage.put("images", encoded),
        "maps": stage.put("maps", [stored_map(each) for each in maps.arrays]) if heights else 0,
        "plans": stage.put("plans", np.asarray(triples, np.int32)),
    }
