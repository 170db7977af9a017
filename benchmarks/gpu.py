"""What do the kernels and scoring reach on this GPU?

    make bench-gpu                                   everything, and a table with the GPU's name in benchmarks/results/
    python benchmarks/gpu.py --case resnet50 --engine torch:fp16
    python benchmarks/gpu.py --device host --quick   the same code on the CPU, for tests: its numbers mean nothing

Nothing is timed before it is right: masks of every type and layout equal NumPy's bit for bit, ranks equal, read-outs
within 1e-6, and every engine's scores within a tolerance of the torch module's on the CPU.

- *kernels*: bytes `mask_select` writes a second ÷ bytes memset writes a second, same buffer, in turns; every rung of
  its ladder; bytes of a chain of torch operations ÷ those it writes; microseconds a map of `rank_steps`.
- *scoring*: masked images scored a second ÷ images a second of the same engine at its best batch size, fed from device
  memory. Scoring starts from arrays in host memory and ends with scores in memory: ranking, planning, uploads, masks,
  network, read-outs. 225 and 33 points a curve, deletion and insertion; and an awkward shape: 37 images, 29 intervals,
  three methods. Bytes sent to the device ÷ bytes of the masked images.
- *peers*: torchcam's and Quantus' metrics around the same torch module on the same GPU, per pass, at their best batch.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import common
import numpy as np

from c2i_fast.bench.raw import image_shape
from c2i_fast.bench.scoring import smooth_noise
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.errors import C2IError, EngineError
from c2i_fast.kernels.engine import SLOTS, HostEngine
from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.launch import Launch, Layout, select_launch
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.kernels.storage import STORED, Storage
from c2i_fast.models import Classifier, load_classifier
from c2i_fast.perturb.order import pixel_order, step_map
from c2i_fast.score import ScoreTask, make_protocols, score_stream
from c2i_fast.types import EngineConfig, GraphContract, Preprocessing

MODELS = {"mobilenet": "torchvision:mobilenet_v2", "resnet50": "torchvision:resnet50", "vit": "torchvision:vit_b_16"}
ENGINES = ("torch:fp32", "torch:fp16", "torch:bf16", "onnxruntime:fp32", "tensorrt:fp32")
BATCHES = (32, 64, 128, 256)
# Largest |Δ score| from the same module in float32 on the CPU that is still the same answer.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
KERNEL_BATCH, SIDE = 256, 224
RUNGS = {1: (1, False), 2: (8, False), 3: (8, True)}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How much is scored: images, methods, intervals."""

    name: str
    images: int
    methods: int
    intervals: int


SHAPES = (
    Shape(name="225 points", images=64, methods=1, intervals=224),
    Shape(name="33 points", images=256, methods=1, intervals=32),
    Shape(name="awkward", images=37, methods=3, intervals=29),
)


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


def check_masks(device: Any) -> int:
    """Compares masks on the device with NumPy's, every type, layout and step type; returns how many."""
    rng, checked = np.random.default_rng(0), 0
    for type_ in STORED:
        for layout in ("NCHW", "NHWC"):
            for space, intervals in (((16, 16), 7), ((13, 9), 300), ((5, 3), 70_000)):
                contract = GraphContract(channels=3, space=space, classes=2, preprocessing=Preprocessing())
                storage = Storage(type=type_, layout=layout, scale=0.05)
                plans = common.random_plans(rng, contract, intervals, 3)
                work = np.stack([rng.integers(0, 3, 24), rng.integers(0, intervals + 1, 24)], 1).astype(np.int32)
                work = work[np.argsort(work[:, 0], kind="stable")]
                engine = EchoEngine(device, storage, contract, 8)
                CudaPasses(device, engine, contract).select(plans, work)
                found = np.concatenate(engine.seen)
                for row, (p, k) in zip(found, work, strict=True):
                    masked = np.where(plans[p].step_map < k, plans[p].end, plans[p].start)
                    if not np.array_equal(row, storage.encode(masked)):
                        raise EngineError(f"mask_select is wrong for {type_} {layout} {space}")
                    checked += 1
    maps = rng.integers(-3, 4, (5, 40, 40)).astype(np.float32)
    counts = np.array([0, 1, 400, 400, 1600], np.int32)
    steps = CudaPasses(device, engine, contract).rank_steps(maps, counts)
    for saliency, found in zip(maps, steps, strict=True):
        if not np.array_equal(found, step_map(pixel_order(saliency), counts, (40, 40))[0]):
            raise EngineError("rank_steps is wrong")
    return checked + len(maps)


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


def kernels(device: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Times mask_select and its rungs beside memset, and rank_steps."""
    batch, side = (8, 32) if options.quick else (KERNEL_BATCH, SIDE)
    rng, storage = np.random.default_rng(1), Storage(type="fp16")
    pixels = side * side
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
        "mask_select": lambda: device.launch(product),
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
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.repeats):
        for name in list(calls) if turn % 2 == 0 else list(calls)[::-1]:
            rates[name].append(per_second(device, calls[name], options.seconds) * out.nbytes / 1e9)
    memset = np.array(rates["memset"])
    passes = CudaPasses(device, EchoEngine(device, storage, _small(side), 1), _small(side))
    maps = smooth_noise(16, (1, side, side), seed=2)[:, 0]
    counts = np.linspace(0, pixels, 226).astype(np.int32)
    rank = per_second(device, lambda: passes.rank_steps(maps, counts), options.seconds) * len(maps)
    return {
        "buffer_bytes": out.nbytes,
        "gb_per_s": {name: float(np.median(rate)) for name, rate in rates.items()},
        "of_memset": {name: common.middle(np.array(rate) / memset) for name, rate in rates.items()},
        "bytes_of_torch_chain_over_ours": torch_chain_bytes(3 * pixels) / (3 * pixels * 2),
        "rank_us_per_map_with_transfers": 1e6 / rank,
    }


def _small(side: int) -> GraphContract:
    return GraphContract(channels=3, space=(side, side), classes=2, preprocessing=Preprocessing())


def torch_chain_bytes(values: int) -> int:
    """Returns bytes a masked image of three channels costs as torch operations, reads and writes.

    int64 ranks < k → bool; where of two float32; minus; divide; half; copy to channels_last.
    """
    pixels = values // 3
    return (8 + 1) * pixels + pixels * 3 + 12 * values + 8 * values + 8 * values + 6 * values + 4 * values


def open_engine(classifier: Classifier, config: EngineConfig, device: Any) -> Any:
    """Returns the device engine of a configuration, or skips with the reason."""
    from c2i_fast.export.open import device_engine

    if isinstance(device, HostDevice):
        session = common.GraphOpener(classifier, replace(config, engine="onnxruntime", device="cpu"))("fused")
        return HostEngine(session, classifier.contract, config.batch_size, device)
    try:
        return device_engine(classifier, config, device)
    except C2IError as error:
        raise common.SkipError(str(error)) from error


def task_of(contract: GraphContract, intervals: int) -> ScoreTask:
    """Returns deletion and insertion at so many intervals, read raw."""
    metrics, protocols = make_protocols(("deletion", "insertion"), "c2i", {"intervals": str(intervals)})
    return ScoreTask(
        metrics=metrics,
        protocols=protocols,
        readouts=("raw",),
        preprocessing=contract.preprocessing,
        passes_per_part=65_536,
    )


def scored(passes: Any, contract: GraphContract, shape: Shape, seed: int) -> tuple[int, np.ndarray]:
    """Scores fresh images and maps; returns the passes run and the values."""
    size = image_shape(contract)
    pixels = smooth_noise(shape.images, size, seed=seed)
    images = MemoryImages(pixels)
    maps: dict[str, Any] = {}
    for m in range(shape.methods):
        values = smooth_noise(shape.images, (1, *size[1:]), seed=seed + 1 + m)[:, 0]
        maps |= {f"m{m}": next(iter(memory_maps({f"m{m}": values}, images.ids).values()))}
    parts = score_stream(images.stream(), maps, passes, task_of(contract, shape.intervals), keep_logits=False)
    run, values = 0, []
    for part in parts:
        run += sum(len(image.plan.work) for image in part.images)
        values += [score.value for image in part.images for score in image.scores]
    return run, np.array(values)


def scoring(name: str, device: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields a row for every engine and shape."""
    classifier = load_classifier(MODELS[name], random_weights=True)
    contract = classifier.contract
    small = Shape(name="check", images=2, methods=1, intervals=8)
    reference = CudaPasses(
        HostDevice(),
        HostEngine(
            common.GraphOpener(classifier, EngineConfig(engine="torch", threads=options.threads))("fused"), contract, 8
        ),
        contract,
    )
    _, expected = scored(reference, contract, small, seed=7)
    for spec in options.engine or ENGINES:
        engine_name, _, precision = spec.partition(":")
        row: dict[str, Any] = {"network": MODELS[name], "engine": spec}
        batches = (2, 4) if options.quick else BATCHES
        largest = batches[-1]
        try:
            config = EngineConfig(engine=engine_name, precision=precision, device="cuda", batch_size=largest)  # type: ignore[arg-type]
            engine = open_engine(classifier, config, device)
            passes = CudaPasses(device, engine, contract, common.say)
            _, found = scored(passes, contract, small, seed=7)
            row["max_abs_dscore"] = float(np.abs(found - expected).max())
            if not row["max_abs_dscore"] <= TOLERANCE[precision]:
                raise common.SkipError(f"scores differ from the CPU's by {row['max_abs_dscore']:.1e}: not timed")
            raw = {}
            for batch in batches:
                engine.resize(batch)
                raw[batch] = batch * per_second(device, partial(engine.run, 0), options.seconds)
            best = max(raw, key=lambda batch: raw[batch])
            engine.resize(best)
            row |= {"raw": raw, "batch": best}
            for shape in SHAPES:
                yield row | _shape_row(passes, contract, shape, best, options)
        except common.SkipError as reason:
            common.say(f"{name} {spec}: {reason}")
            yield row | {"skipped": str(reason)}


def _shape_row(
    passes: CudaPasses, contract: GraphContract, shape: Shape, batch: int, options: argparse.Namespace
) -> dict[str, Any]:
    if options.quick:
        shape = replace(shape, images=2, intervals=min(shape.intervals, 9))
    device, engine = passes.device, passes.engine
    scored(passes, contract, replace(shape, images=1), seed=99)  # warms up
    ratios, rates, run, sent = [], [], 0, 0
    for turn in range(options.repeats):
        before, begin = device.traffic.up, time.perf_counter()
        run, _ = scored(passes, contract, shape, seed=100 * turn)
        rates.append(run / (time.perf_counter() - begin))
        sent = device.traffic.up - before
        ratios.append(rates[-1] / (batch * per_second(device, partial(engine.run, 0), options.seconds)))
    masked = run * contract.elements * engine.storage.itemsize
    return {
        "shape": shape.name,
        "passes": run,
        "passes_per_s": float(np.median(rates)),
        "efficiency": common.middle(np.array(ratios)),
        "sent_over_masked": sent / masked,
    }


def peers(name: str, device: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times torchcam and Quantus around the same module on the same GPU, where they are installed."""
    try:
        import torch
        from contestants import Counted, Data, quantus, torchcam
    except ImportError as error:
        common.say(f"skipped peers: {error.name} is not installed")
        return []
    place = "cpu" if isinstance(device, HostDevice) else "cuda"
    classifier = load_classifier(MODELS[name], random_weights=True)
    assert classifier.module is not None
    module = classifier.module.to(place)
    network = Counted(lambda images: module(images.to(place)).cpu())
    rows = []
    for make, label in ((torchcam, "torchcam"), (quantus, "Quantus")):
        rates = {}
        for batch in (2,) if options.quick else (1, 8, 32, 128):
            data = Data.of(batch, image_shape(classifier.contract))
            extra = (6,) if label == "Quantus" else ()
            contestant = make(network, classifier.contract, data, batch, *extra)
            contestant.run()
            begin = time.perf_counter()
            rates[batch] = contestant.run() / (time.perf_counter() - begin)
        if place == "cuda":
            torch.cuda.synchronize()
        rows.append({"network": MODELS[name], "peer": label, "passes_per_s": rates})
    return rows


def main() -> int:
    parser = common.arguments(__doc__, repeats=5)
    parser.add_argument("--device", default="cuda", choices=("cuda", "host"), help="host runs the kernels on the CPU")
    parser.add_argument("--engine", action="append", metavar="NAME:PRECISION", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each raw timing (%(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="leave torchcam and Quantus out")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.repeats = 0.01, 2
    try:
        device = _device(options)
    except C2IError as error:
        common.say(f"error: {error}")
        return 1
    common.say(f"on {device.name}: {check_masks(device)} masks and ranks are right")
    found: dict[str, Any] = {"gpu": device.name, "includes": __doc__, "kernels": kernels(device, options)}
    names = [name for name in options.case or MODELS if name in MODELS]
    found["rows"] = [row for name in names for row in scoring(name, device, options)]
    found["peers"] = [] if options.no_peers else [row for name in names for row in peers(name, device, options)]
    _tables(found)
    if options.device == "cuda" and not options.quick:
        _keep(found)
    common.emit("gpu", options, found)
    return 0


def _device(options: argparse.Namespace) -> Any:
    if options.device == "host":
        if shutil.which("g++") is None:
            raise EngineError("--device host needs g++")
        return HostDevice()
    from c2i_fast.kernels.cuda import CudaDevice

    return CudaDevice()


def _tables(found: dict[str, Any]) -> None:
    written, shares = found["kernels"]["gb_per_s"], found["kernels"]["of_memset"]
    common.show(
        f"kernels on {found['gpu']}, {found['kernels']['buffer_bytes'] / 2**20:,.0f} MiB of fp16",
        ("kernel", "GB/s written", "of memset"),
        [[name, f"{rate:,.1f}", common.spread(shares[name])] for name, rate in written.items()],
    )
    lines = [
        [
            row["network"],
            row["engine"],
            row["shape"],
            f"{row['raw'][row['batch']]:,.0f} ({row['batch']})",
            f"{row['passes_per_s']:,.0f}",
            common.spread(row["efficiency"]),
            f"{row['sent_over_masked']:.4f}",
            f"{row['max_abs_dscore']:.1e}",
        ]
        for row in found["rows"]
        if "skipped" not in row
    ]
    heads = ("network", "engine", "shape", "raw images/s (batch)", "passes/s", "efficiency", "bytes sent", "|Δ score|")
    common.show(f"scoring on {found['gpu']}", heads, lines)
    for row in found["peers"]:
        rates = ", ".join(f"batch {batch}: {rate:,.1f}" for batch, rate in row["passes_per_s"].items())
        common.say(f"{row['network']} {row['peer']}, passes/s: {rates}")


def _keep(found: dict[str, Any]) -> None:
    """Writes benchmarks/results/<date>-<gpu>.json."""
    gpu = re.sub(r"[^a-z0-9]+", "-", found["gpu"].lower()).strip("-")
    path = common.ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{gpu}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    common.say(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
