"""Are the kernels right on this device, and how fast are they and the link?

    python benchmarks/gpu_kernels.py                  checks alone, on small shapes: what compute-sanitizer is run on
    python benchmarks/gpu_kernels.py --device host    the same on the CPU

`gpu.py` runs the checks before it times anything, and the timings from here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np

from c2i_fast.bench.scoring import smooth_noise
from c2i_fast.errors import C2IError, EngineError
from c2i_fast.kernels.engine import SLOTS
from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.launch import Launch, Layout, readout_launch, select_launch
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.kernels.ranking import Ranking
from c2i_fast.kernels.storage import STORED, Storage
from c2i_fast.perturb.order import pixel_order, step_map
from c2i_fast.types import GraphContract, Preprocessing

KERNEL_BATCH, SIDE = 256, 224
RUNGS = {1: (1, False), 2: (8, False), 3: (8, True)}
LINK_BYTES = 64 * 2**20


def open_device(name: str) -> Any:
    """Returns the GPU, or the host.

    Raises:
        EngineError: There is none, or no compiler for the host.
    """
    if name == "host":
        if shutil.which("g++") is None:
            raise EngineError("--device host needs g++")
        return HostDevice()
    from c2i_fast.kernels.cuda import CudaDevice

    return CudaDevice()


class EchoEngine:
    """A network of no layers: it keeps what it was fed."""

    def __init__(self, device: Any, storage: Storage, contract: GraphContract, batch: int) -> None:
        self.device, self.storage, self.batch, self.contract = device, storage, batch, contract
        self._inputs = [device.allocate(batch * contract.elements * storage.itemsize) for _ in range(SLOTS)]
        self._logits = device.allocate(batch * contract.classes * 4)
        self.seen: list[Any] = []

    def input(self, slot: int) -> Any:
        """Returns an input buffer."""
        return self._inputs[slot]

    def run(self, slot: int) -> Any:
        """Keeps what is in the slot, as stored bits."""
        shape = (self.batch, self.contract.elements)
        self.seen.append(self.device.download(self._inputs[slot], shape, STORED[self.storage.type]))
        return self._logits

    def resize(self, batch: int) -> None:
        """Refuses: what is compared has the batch it was made for."""
        raise EngineError("the check needs its batch")

    def capture(self, body: Callable[[], None]) -> None:
        """Returns None: a download cannot be recorded."""


def check_kernels(device: Any) -> int:
    """Compares masks, ranks and read-outs on the device with NumPy's; returns how many.

    Raises:
        EngineError: One of them is wrong.
    """
    rng = np.random.default_rng(0)
    return _check_masks(device, rng) + _check_ranks(device, rng) + _check_readouts(device, rng)


def _check_masks(device: Any, rng: np.random.Generator) -> int:
    """Every type, layout and step type, bit for bit."""
    checked = 0
    for type_ in STORED:
        for layout in ("NCHW", "NHWC"):
            for space, intervals in (((16, 16), 7), ((13, 9), 300), ((5, 3), 70_000)):
                contract = GraphContract(channels=3, space=space, classes=2, preprocessing=Preprocessing())
                storage = Storage(type=type_, layout=layout, scale=0.05)  # type: ignore[arg-type]
                plans = common.random_plans(rng, contract, intervals, 3)
                work = np.stack([rng.integers(0, 3, 24), rng.integers(0, intervals + 1, 24)], 1).astype(np.int32)
                work = work[np.argsort(work[:, 0], kind="stable")]
                engine = EchoEngine(device, storage, contract, 8)
                CudaPasses(device, engine, contract).select(plans, work)
                for row, (p, k) in zip(np.concatenate(engine.seen), work, strict=True):
                    masked = np.where(plans[p].step_map < k, plans[p].end, plans[p].start)
                    if not np.array_equal(row, storage.encode(masked)):
                        raise EngineError(f"mask_select is wrong for {type_} {layout} {space}")
                    checked += 1
    return checked


def _check_ranks(device: Any, rng: np.random.Generator) -> int:
    maps = rng.integers(-3, 4, (5, 40, 40)).astype(np.float32)
    counts = np.array([0, 1, 400, 400, 1600], np.int32)
    for saliency, found in zip(maps, Ranking(device).step_maps(maps, counts), strict=True):
        if not np.array_equal(found, step_map(pixel_order(saliency), counts, (40, 40))[0]):
            raise EngineError("rank_steps is wrong")
    return len(maps)


def _check_readouts(device: Any, rng: np.random.Generator) -> int:
    """All kinds of 1000 classes, to a millionth."""
    from scipy.special import expit, softmax

    passes, classes = 37, 1000
    logits = (rng.normal(size=(passes, classes)) * 5).astype(np.float32)
    arrays = {
        "logits": logits,
        "targets": rng.integers(0, classes, passes).astype(np.int32),
        "kinds": np.arange(5, dtype=np.int32),
        "scales": rng.uniform(0.2, 5, (passes, 5)).astype(np.float32),
        "weights": rng.uniform(-2, 2, classes),
        "offsets": rng.uniform(-5, 5, classes),
    }
    buffers = {name: device.allocate(array.nbytes) for name, array in arrays.items()}
    for name, array in arrays.items():
        device.upload(array, buffers[name])
    out = device.allocate(passes * 5 * 4)
    at = {name: buffer.pointer for name, buffer in buffers.items()}
    device.launch(readout_launch(passes, classes, 5, out=out.pointer, **at))
    found = device.download(out, (passes, 5), np.float32)
    here = np.arange(passes), arrays["targets"]
    z, scales = logits.astype(np.float64), arrays["scales"].astype(np.float64)
    mapped = arrays["weights"] * z + arrays["offsets"]
    exact = (
        softmax(z * scales[:, :1], axis=1)[here],
        z[here],
        expit(z[here] * scales[:, 2]),
        softmax(mapped, axis=1)[here],
        expit(mapped[here]),
    )
    if not np.abs(found - np.stack(exact, axis=1)).max() <= 1e-6:
        raise EngineError("readout is wrong")
    return passes


def per_second(device: Any, call: Callable[[], object], seconds: float) -> float:
    """Returns calls a second, the queue emptied before and after."""
    call()
    device.synchronise()
    begin, calls = time.perf_counter(), 0
    while True:
        for _ in range(4):
            call()
        calls += 4
        device.synchronise()
        if (taken := time.perf_counter() - begin) >= seconds:
            return calls / taken


def time_kernels(device: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Times mask_select and its rungs beside memset, and rank_steps."""
    batch, side = (8, 32) if options.quick else (KERNEL_BATCH, SIDE)
    pixels = side * side
    calls, written = _select_calls(device, batch, pixels)
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.repeats):
        for name in list(calls) if turn % 2 == 0 else list(calls)[::-1]:
            rates[name].append(per_second(device, calls[name], options.seconds) * written / 1e9)
    memset, ranking = np.array(rates["memset"]), Ranking(device)
    maps = smooth_noise(16, (1, side, side), seed=2)[:, 0]
    counts = np.linspace(0, pixels, 226).astype(np.int32)
    rank = per_second(device, lambda: ranking.step_maps(maps, counts), options.seconds) * len(maps)
    return {
        "buffer_bytes": written,
        "gb_per_s": {name: float(np.median(rate)) for name, rate in rates.items()},
        "of_memset": {name: common.middle(np.array(rate) / memset) for name, rate in rates.items()},
        "bytes_of_torch_chain_over_ours": torch_chain_bytes(3 * pixels) / (3 * pixels * 2),
        "rank_us_per_map_with_transfers": 1e6 / rank,
    }


def _select_calls(device: Any, batch: int, pixels: int) -> tuple[dict[str, Callable[[], object]], int]:
    """Returns memset, the product and its rungs on one buffer, and the buffer's bytes."""
    rng, storage = np.random.default_rng(1), Storage(type="fp16")
    arrays = {
        "images": rng.integers(0, 2**16, (2, 3 * pixels), np.uint16),
        "maps": rng.integers(0, 226, (1, pixels)).astype(np.uint8),
        "plans": np.array([[0, 1, 0]], np.int32),
        "work": np.stack([np.zeros(batch), np.arange(batch) % 226], axis=1).astype(np.int32),
    }
    buffers = {name: device.allocate(array.nbytes) for name, array in arrays.items()}
    for name, array in arrays.items():
        device.upload(array, buffers[name])
    out = device.allocate(batch * 3 * pixels * 2)
    at = {name: buffer.pointer for name, buffer in buffers.items()}
    product = select_launch(Layout.of(storage, 3, pixels, 1), storage, "uint8", out=out.pointer, items=batch, **at)
    calls: dict[str, Callable[[], object]] = {
        "memset": lambda: device.fill(out, 0),
        "mask_select": lambda: (device.launch(product), buffers)[0],  # the buffers live as long as the calls
    }
    for rung, (each, chunked) in RUNGS.items():
        launch = Launch(
            source="ladder/mask_select",
            kernel=f"mask_select_rung{rung}",
            grid=(-(-3 * pixels // (128 * each)), -(-batch // 8) if chunked else batch),
            block=128,
            arguments=product.arguments,
        )
        calls[f"rung {rung}"] = lambda launch=launch: device.launch(launch)  # type: ignore[misc]
    return calls, out.nbytes


def torch_chain_bytes(values: int) -> int:
    """Returns bytes a masked image of three channels costs as torch operations, reads and writes.

    int64 ranks < k → bool; where of two float32; minus; divide; half; copy to channels_last.
    """
    pixels = values // 3
    return (8 + 1) * pixels + pixels * 3 + 12 * values + 8 * values + 8 * values + 6 * values + 4 * values


def time_link(device: Any, options: argparse.Namespace) -> dict[str, float]:
    """Returns GB/s of copies up from pinned and from pageable memory, and down to pinned memory."""
    nbytes = 2**20 if options.quick else LINK_BYTES
    twin, buffer, pageable = device.pinned(nbytes), device.allocate(nbytes), np.zeros(nbytes, np.uint8)
    calls: dict[str, Callable[[], object]] = {
        "up_pinned": lambda: device.send(twin, buffer, nbytes),
        "up_pageable": lambda: device.upload(pageable, buffer),
        "down_pinned": lambda: device.fetch(buffer, twin, nbytes),
    }
    return {name: per_second(device, call, options.seconds) * nbytes / 1e9 for name, call in calls.items()}


def sanitised() -> dict[str, str]:
    """Runs the checks under compute-sanitizer; returns what each tool says in its last line, or why it did not run."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"skipped": "compute-sanitizer is not installed (it comes with the CUDA toolkit)"}
    found = {}
    for name in ("memcheck", "racecheck"):
        command = [tool, "--tool", name, "--error-exitcode", "9", sys.executable, __file__]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["it says nothing"]
        found[name] = f"{'clean' if done.returncode == 0 else f'FAILED ({done.returncode})'}: {last[0]}"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "host"))
    try:
        device = open_device(parser.parse_args().device)
        common.say(f"on {device.name}: {check_kernels(device)} masks, ranks and read-outs are right")
    except C2IError as error:
        common.say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
