"""Scoring on a GPU, beside the same engine alone, beside itself without this and that, and beside others.

`gpu.py` is the command; nothing here is timed before its scores agree with the CPU's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import common
import numpy as np
from gpu_kernels import per_second

from c2i_fast.bench.raw import image_shape
from c2i_fast.bench.scoring import smooth_noise
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.engines import GPU_SESSIONS
from c2i_fast.errors import C2IError
from c2i_fast.kernels.engine import HostEngine
from c2i_fast.kernels.host import HostDevice
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.metrics.measures import make_measures
from c2i_fast.models import Classifier, load_classifier
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import EngineConfig, Floats, GraphContract

MODELS = {"mobilenet": "torchvision:mobilenet_v2", "resnet50": "torchvision:resnet50", "vit": "torchvision:vit_b_16"}
BATCHES = (32, 64, 128, 256)
# Largest |Δ score| from the same module in float32 on the CPU that is still the same answer.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
# What each part of the schedule is worth: the same without it.
VARIANTS: dict[str, dict[str, Any]] = {"all": {}, "no graphs": {"graphs": False}, "no overlap": {"stages": 1}}


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
SMALL = Shape(name="check", images=2, methods=1, intervals=8)


class IdleDevice(HostDevice):
    """A device that does nothing, at once: what is left is the host's own work."""

    name = "idle"

    def do(self, call: Callable[[], None]) -> None:
        """Does nothing."""

    def _move(self, source: int, into: int, nbytes: int) -> None:
        """Moves nothing."""


def task_of(contract: GraphContract, intervals: int) -> ScoreTask:
    """Returns deletion and insertion at so many intervals, read raw."""
    return ScoreTask(
        measures=make_measures(("deletion", "insertion"), ("c2i",), {"intervals": str(intervals)}),
        readouts=("raw",),
        preprocessing=contract.preprocessing,
        passes_per_part=65_536,
    )


@dataclass(frozen=True, kw_only=True)
class Work:
    """Fresh images and maps, made before the clock starts."""

    images: MemoryImages
    maps: dict[str, Any]
    task: ScoreTask

    @classmethod
    def of(cls, contract: GraphContract, shape: Shape, seed: int) -> Work:
        """Returns smooth random images and maps."""
        size = image_shape(contract)
        images = MemoryImages(smooth_noise(shape.images, size, seed=seed))
        maps: dict[str, Any] = {}
        for m in range(shape.methods):
            values = smooth_noise(shape.images, (1, *size[1:]), seed=seed + 1 + m)[:, 0]
            maps |= memory_maps({f"m{m}": values}, images.ids)
        return cls(images=images, maps=maps, task=task_of(contract, shape.intervals))

    def scored(self, passes: Any) -> tuple[int, float, Floats]:
        """Returns the passes run, the passes a second, and the scores."""
        begin, run, values = time.perf_counter(), 0, []
        for part in score_stream(self.images.stream(), self.maps, passes, self.task, keep_logits=False):
            run += sum(len(image.plan.work) for image in part.images)
            values += [score.value for image in part.images for score in image.scores]
        return run, run / (time.perf_counter() - begin), np.array(values)


def scoring(name: str, device: Any, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields a row for every engine and shape."""
    classifier = load_classifier(MODELS[name], random_weights=True)
    contract, host = classifier.contract, HostDevice()
    on_cpu = common.GraphOpener(classifier, EngineConfig(engine="torch", threads=options.threads))("fused")
    reference = CudaPasses(host, HostEngine(on_cpu, contract, 8, host), contract)
    check = Work.of(contract, SMALL, seed=7)
    expected = check.scored(reference)[2]
    for spec in options.engine:
        engine, _, precision = spec.partition(":")
        row: dict[str, Any] = {"network": MODELS[name], "engine": spec}
        batches = (2, 4) if options.quick else BATCHES
        try:
            config = EngineConfig(engine=engine, precision=precision, device="cuda", batch_size=batches[-1])  # type: ignore[arg-type]
            passes = _opened(classifier, config, device)
            row["max_abs_dscore"] = float(np.abs(check.scored(passes)[2] - expected).max())
            if not row["max_abs_dscore"] <= TOLERANCE[precision]:
                raise common.SkipError(f"scores differ from the CPU's by {row['max_abs_dscore']:.1e}: not timed")
            rows = _graph_rows if isinstance(passes, GraphPasses) else _kernel_rows
            for more in rows(passes, contract, batches, options):
                yield row | more
        except (common.SkipError, C2IError) as reason:
            common.say(f"{name} {spec}: {reason}")
            yield row | {"skipped": str(reason)}


def _opened(classifier: Classifier, config: EngineConfig, device: Any) -> Any:
    """Returns the masked passes of a configuration; on the host, those of ONNX Runtime's CPU behind the kernels."""
    from c2i_fast.export.open import device_engine, open_passes

    if isinstance(device, HostDevice):
        session = common.GraphOpener(classifier, replace(config, engine="onnxruntime", device="cpu"))("fused")
        engine: Any = HostEngine(session, classifier.contract, config.batch_size, device)
    elif config.engine in GPU_SESSIONS:
        return open_passes(classifier, config)
    else:
        engine = device_engine(classifier, config, device)
    return CudaPasses(device, engine, classifier.contract, common.say)


def _kernel_rows(
    passes: CudaPasses, contract: GraphContract, batches: tuple[int, ...], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Scoring behind our kernels: the raw engine at every batch, then every shape at the best."""
    device, engine = passes.device, passes.engine
    raw = {}
    for batch in batches:
        engine.resize(batch)
        raw[batch] = batch * per_second(device, partial(engine.run, 0), options.seconds)
    best = max(raw, key=lambda batch: raw[batch])
    engine.resize(best)
    variants = {name: CudaPasses(device, engine, contract, common.say, **kw) for name, kw in VARIANTS.items()}
    for shape in SHAPES:
        sized = _sized(shape, options)
        yield {"raw": raw, "batch": best, "shape": shape.name} | _timed(variants, contract, sized, best, options)


def _timed(
    variants: dict[str, CudaPasses], contract: GraphContract, shape: Shape, batch: int, options: argparse.Namespace
) -> dict[str, Any]:
    device, engine = variants["all"].device, variants["all"].engine
    rates: dict[str, list[float]] = {name: [] for name in variants}
    raw, run, sent = [], 0, 0
    for passes in variants.values():
        Work.of(contract, replace(shape, images=min(shape.images, 16)), seed=99).scored(passes)  # warms up
    for turn in range(options.repeats):
        work = Work.of(contract, shape, seed=100 * turn)
        for name in list(variants) if turn % 2 == 0 else list(variants)[::-1]:
            before = device.traffic.up
            run, rate, _ = work.scored(variants[name])
            rates[name].append(rate)
            sent = device.traffic.up - before
        raw.append(batch * per_second(device, partial(engine.run, 0), options.seconds))
    taken = {name: np.array(rate) for name, rate in rates.items()}
    return {
        "passes": run,
        "passes_per_s": float(np.median(taken["all"])),
        "efficiency": common.middle(taken["all"] / np.array(raw)),
        "worth": {name: common.middle(taken["all"] / rate) for name, rate in taken.items() if name != "all"},
        "sent_bytes": sent,
        "sent_over_masked": sent / (run * contract.elements * engine.storage.itemsize),
        "host_us_per_pass": host_alone(engine.storage, contract, shape, batch),
    }


def host_alone(storage: Any, contract: GraphContract, shape: Shape, batch: int) -> dict[str, float]:
    """Returns µs of processor time a pass that the host spends beside a device that takes no time.

    Reading, ranking and planning (in threads), packing (in threads), launches and scores; `main` is the share that no
    other thread can take over. Processor time, since others may be using the machine.
    """
    device = IdleDevice()
    engine = HostEngine(None, contract, batch, device)  # type: ignore[arg-type]
    engine.storage = storage
    passes = CudaPasses(device, engine, contract)
    Work.of(contract, replace(shape, images=1), seed=98).scored(passes)
    work = Work.of(contract, shape, seed=97)
    everything, main = time.process_time(), time.thread_time()
    run, _, _ = work.scored(passes)
    return {
        "all_threads": 1e6 * (time.process_time() - everything) / run,
        "main": 1e6 * (time.thread_time() - main) / run,
    }


def _graph_rows(
    passes: GraphPasses, contract: GraphContract, batches: tuple[int, ...], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Scoring with masks made in the graph; raw is the fused graph of the same engine, fed from the host."""
    batch, session = batches[-1], passes.session("fused")
    feeds = {"pixels": np.zeros((batch, *image_shape(contract)), np.float32)}
    session.run(feeds)
    for shape in (_sized(shape, options) for shape in SHAPES):
        Work.of(contract, replace(shape, images=2), seed=99).scored(passes)
        rates, raw, run = [], [], 0
        for turn in range(options.repeats):
            run, rate, _ = Work.of(contract, shape, seed=100 * turn).scored(passes)
            rates.append(rate)
            begin = time.perf_counter()
            session.run(feeds)
            raw.append(batch / (time.perf_counter() - begin))
        yield {
            "raw": {batch: float(np.median(raw))},
            "batch": batch,
            "shape": shape.name,
            "passes": run,
            "passes_per_s": float(np.median(rates)),
            "efficiency": common.middle(np.array(rates) / np.array(raw)),
        }


def _sized(shape: Shape, options: argparse.Namespace) -> Shape:
    return replace(shape, images=1, intervals=min(shape.intervals, 4)) if options.quick else shape


def peers(name: str, device: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times torchcam and Quantus around the same module on the same GPU, where they are installed, after a check."""
    try:
        from contestants import Counted, Data, check_curves, quantus, torchcam
    except ImportError as error:
        common.say(f"skipped peers: {error.name} is not installed")
        return []
    place = "cpu" if isinstance(device, HostDevice) else "cuda"
    classifier = load_classifier(MODELS[name], random_weights=True)
    assert classifier.module is not None
    contract, module = classifier.contract, classifier.module.to(place)
    network = Counted(lambda images: module(images.to(place)).cpu())
    shape, on_cpu = image_shape(contract), EngineConfig(engine="torch", threads=options.threads)
    rows = []
    try:
        apart = check_curves(network, load_classifier(MODELS[name], random_weights=True), on_cpu, Data.of(2, shape))
        for make, label, extra in ((torchcam, "torchcam", ()), (quantus, "Quantus", (6 if options.quick else 96,))):
            rates = {}
            for batch in (2,) if options.quick else (1, 8, 32, 128):
                contestant = make(network, contract, Data.of(batch, shape), batch, *extra)
                contestant.run()
                begin = time.perf_counter()
                rates[batch] = contestant.run() / (time.perf_counter() - begin)
            row = {"network": MODELS[name], "peer": label, "passes_per_s": rates, "curves_apart": apart[label]}
            rows.append(row)
    except Exception as error:  # theirs; our own numbers are not to be lost for them
        common.say(f"skipped peers of {name}: {type(error).__name__}: {error}")
    return rows
