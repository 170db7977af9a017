"""From shapes to launches: grid, block and arguments. Pure functions, no device in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from c2i_fast.kernels.storage import Storage

WIDE_BYTES = 16
SELECT_THREADS = 128
SELECT_CHUNK = 8
BLEND_THREADS = 256
RANK_THREADS = 1024
WARP = 32
READOUT_WARPS = 4
MOST_READOUT_BLOCKS = 1024
SCRATCH_WORDS = 4


class Buffer(Protocol):
    """Bytes on a device."""

    @property
    def pointer(self) -> int:
        """The address of the first."""
        ...

    @property
    def nbytes(self) -> int:
        """How many."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch.

    Attributes:
        source: the `.cu` file it comes from, without the suffix.
        kernel: its `extern "C"` name.
        grid: blocks in x and y.
        block: threads a block.
        arguments: device addresses (`int`), `np.int32` and `np.float32`, in the order of the kernel's parameters.
        together: whether the threads of a block work together; on the host such a block has one thread.
    """

    source: str
    kernel: str
    grid: tuple[int, int]
    block: int
    arguments: tuple[Any, ...]
    together: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """An image as `mask_select` sees it; see `mask_core.cuh`."""

    planes: int
    plane: int
    map_planes: int
    divisor: int

    @classmethod
    def of(cls, storage: Storage, channels: int, pixels: int, map_channels: int) -> Layout:
        """Returns the layout of images of so many channels and pixels with maps of 1 or C channels.

        Example:
            >>> Layout.of(Storage(layout="NHWC"), 3, 4, 1)
            Layout(planes=1, plane=12, map_planes=1, divisor=3)
        """
        if storage.layout == "NHWC":
            return cls(planes=1, plane=pixels * channels, map_planes=1, divisor=channels if map_channels == 1 else 1)
        return cls(planes=channels, plane=pixels, map_planes=map_channels, divisor=1)


def select_launch(
    layout: Layout,
    storage: Storage,
    step_bits: str,
    *,
    images: int,
    maps: int,
    plans: int,
    work: int,
    out: int,
    items: int,
    chunk: int = SELECT_CHUNK,
) -> Launch:
    """Returns the launch that fills `items` slots at address `out`.

    16-byte stores where every plane of every image begins at a multiple of 16 bytes, else one element a thread.

    Args:
        layout: of the images.
        storage: their element type.
        step_bits: the maps' type, `uint8`, `uint16` or `int32`.
        images: device address of the stored images.
        maps: of the step maps.
        plans: of the plans, rows of (start, end, map).
        work: of the work list, rows of (plan, step).
        out: of the first slot.
        items: slots to fill.
        chunk: consecutive slots a thread writes from its registers.
    """
    aligned = all(address % WIDE_BYTES == 0 for address in (images, out))
    wide = aligned and layout.plane * storage.itemsize % WIDE_BYTES == 0
    each = WIDE_BYTES // storage.itemsize if wide else 1
    return Launch(
        source="mask_select",
        kernel=f"mask_select_{storage.itemsize * 8}_{step_bits}_{'wide' if wide else 'lone'}",
        grid=(_blocks(layout.plane, SELECT_THREADS * each), _blocks(items, chunk)),
        block=SELECT_THREADS,
        arguments=(
            images,
            maps,
            plans,
            work,
            out,
            *map(np.int32, (items, chunk, layout.planes, layout.plane, layout.map_planes, layout.divisor)),
        ),
    )


def blend_launch(
    storage: Storage,
    channels: int,
    space: Sequence[int],
    grid: Sequence[int],
    *,
    images: int,
    plans: int,
    grids: int,
    rows: int,
    columns: int,
    work: int,
    out: int,
    items: int,
) -> Launch:
    """Returns the launch that writes `items` softly masked images; `space` and `grid` are (H, W) and (g0, g1)."""
    height, width = space
    sizes = (items, channels, height, width, *grid, int(storage.layout == "NHWC"))
    return Launch(
        source="mask_blend",
        kernel=f"mask_blend_{storage.type}",
        grid=(_blocks(height * width, BLEND_THREADS), items),
        block=BLEND_THREADS,
        arguments=(
            images,
            plans,
            grids,
            rows,
            columns,
            work,
            out,
            *map(np.int32, sizes),
            np.float32(storage.scale),
        ),
    )


def rank_launch(
    maps: int,
    elements: int,
    intervals: int,
    step_bits: str,
    *,
    saliency: int,
    counts: int,
    scratch: int,
    steps: int,
    refused: int,
    last_first: bool = False,
    lerf: bool = False,
) -> Launch:
    """Returns the launch that ranks `maps` saliency maps of so many elements, a block each."""
    return Launch(
        source="rank_steps",
        kernel=f"rank_steps_{step_bits}",
        grid=(maps, 1),
        block=RANK_THREADS,
        arguments=(
            saliency,
            counts,
            scratch,
            steps,
            refused,
            *map(np.int32, (elements, intervals, last_first, lerf)),
        ),
        together=True,
    )


def scratch_bytes(maps: int, elements: int) -> int:
    """Returns the scratch memory `rank_steps` needs: keys and places, twice."""
    return maps * elements * SCRATCH_WORDS * 4


def readout_launch(
    passes: int,
    classes: int,
    readouts: int,
    *,
    logits: int,
    targets: int,
    kinds: int,
    scales: int,
    out: int,
    weights: int = 0,
    offsets: int = 0,
) -> Launch:
    """Returns the launch that reads `passes` rows of logits, a warp each; see `Reading`, and 0 for what it lacks."""
    return Launch(
        source="readout",
        kernel="readout_fp32",
        grid=(min(_blocks(passes, READOUT_WARPS), MOST_READOUT_BLOCKS), 1),
        block=READOUT_WARPS * WARP,
        arguments=(
            logits,
            targets,
            kinds,
            scales,
            weights,
            offsets,
            out,
            *map(np.int32, (passes, classes, readouts)),
        ),
        together=True,
    )


def _blocks(total: int, each: int) -> int:
    return -(-total // each)
