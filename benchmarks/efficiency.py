"""How much of the raw engine does scoring reach, everything included?

    efficiency = masked images scored per second ÷ images per second of the raw engine at its best batch size

Numerator: images on disk → decoded and resized → ranked → planned → masked passes → raw and calibrated read-outs →
Parquet on disk, by the functions the command uses: deletion, insertion and gap under `c2i`, 33 points a curve, 64
passes an image. Maps are .npy files at the network's size. Opening the engine is left out. Denominator: the fused graph
in the same precision with as many threads, on random input made once. Both in turns, in one process; medians. `single`
is one image alone, another one each time.

In bf16 the scores estimate those of fp32; `estimate` scores a random subset in fp32 as well, apart from the timing, and
gives the corrected means with their intervals.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --case mobilenet --engine openvino:bf16 --repeats 5
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from typing import Any

import common
import numpy as np

from c2i_fast.bench.raw import best, image_shape, random_images, raw_call, sweep
from c2i_fast.bench.scoring import Workload
from c2i_fast.bench.timing import TimingRules, take_turns
from c2i_fast.types import Doubles

SWEEP = "1,2,4,8,16,32,64,128"
ENGINES = ("openvino:fp32", "openvino:bf16", "onnxruntime:fp32")
CASES = ("mobilenet", "cifar", "resnet50")
SINGLES = 8
WARM_UP_IMAGES = 16
COLUMNS = ("case", "engine", "raw images/s", "batch", "passes/s", "batch", "efficiency", "single image", "others busy")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--engine", action="append", metavar="NAME:PRECISION", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--batches", default=SWEEP, help="of the raw sweep (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="of scoring, default what score takes")
    parser.add_argument("--fp32-images", type=int, default=16, help="of the estimate in bf16 (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of raw timing, in each turn (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.batches, options.fp32_images = 0.05, "1,8", 2
    rows: list[dict[str, Any]] = []
    for case in common.chosen_cases(options, CASES):
        try:
            rows += _rows(case, options)
        except common.SkipError as reason:
            common.say(f"skipped {case.name}: {reason}")
            rows.append({"case": case.name, "skipped": str(reason)})
    common.show("scoring against the raw engine", COLUMNS, [_line(row) for row in rows if "skipped" not in row])
    for row in rows:
        if "estimate" in row:
            common.show_estimate(f"{row['case']} {row['engine']}", row["estimate"])
    common.emit("efficiency", options, {"includes": __doc__, "rows": rows})


def _rows(case: common.Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns one row for each engine."""
    classifier = case.classifier()
    source = case.source(classifier, case.count)
    task = case.task(classifier)
    rows = []
    with tempfile.TemporaryDirectory(prefix="c2i-fast-bench-") as folder:
        maps = common.write_maps(source.ids, image_shape(classifier.contract)[1:], Path(folder))
        for name in options.engine or ENGINES:
            engine, _, precision = name.partition(":")
            config = common.engine_config(classifier, engine, precision or "fp32", options.threads, options.batch_size)
            common.say(f"{case.name}: {config.engine} {config.precision}, {len(source)} images")
            work = Workload(images=source, maps=maps, passes=common.open_passes(classifier, config, task), task=task)
            rows.append({"case": case.name, **_row(work, options)})
            if config.precision != "fp32":
                rows[-1]["estimate"] = common.estimate(classifier, config, work, options.fp32_images)
    return rows


def _row(work: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Sweeps the raw engine, then times it at its best batch in turns with scoring all images, and one alone."""
    config, contract = work.passes.session("fused").config, work.passes.contract
    sizes = [int(size) for size in options.batches.split(",")]
    rules = TimingRules(seconds=options.seconds, iterations=3)
    name = f"{config.engine} {config.precision}"
    raw = sweep({name: work.passes.session("fused")}, contract, sizes, rules, say=common.say)[name]
    batch = best(raw).batch
    with common.watched(found := {}):
        rates = _rates(work, batch, options)
    middle = {name: float(np.median(rate)) for name, rate in rates.items()}
    return {
        "engine": name,
        "threads": config.threads,
        "images": len(work.images),
        "points_a_curve": (work.task.protocols[0].intervals or 0) + 1,
        "readouts": work.task.readouts,
        "batch": work.passes.batch,
        "raw_batch": batch,
        "raw_images_per_s": middle["raw"],
        "passes_per_s": middle["scoring"],
        "single_image_passes_per_s": middle["single"],
        "efficiency": middle["scoring"] / middle["raw"],
        "single_image_efficiency": middle["single"] / middle["raw"],
        "runs": {name: rates[name].tolist() for name in ("scoring", "single")},
        **found,
        "raw": [asdict(row) for row in raw],
    }


def _rates(work: Workload, raw_batch: int, options: argparse.Namespace) -> dict[str, Doubles]:
    """Returns the raw engine's images per second and the passes per second of both ways of scoring, call by call."""
    ids = work.images.ids
    singles = cycle([work.only([name]) for name in ids[:SINGLES]])
    warm = work.only(ids[:WARM_UP_IMAGES]).score()  # also compiles what the engine compiles at first sight
    next(singles).score()
    passes_an_image = warm.run // warm.images
    images = random_images(raw_batch, image_shape(work.passes.contract))
    subjects: dict[str, Callable[[], object]] = {
        "raw": raw_call(work.passes.session("fused"), images),
        "scoring": work.score,
        "single": lambda: next(singles).score(),
    }
    rules = TimingRules(
        seconds=options.seconds * options.repeats,
        iterations=options.repeats,
        turns=options.repeats,
        warm_up_seconds=0.0,
        warm_up_iterations=0,
    )
    counts = {"raw": raw_batch, "scoring": passes_an_image * len(ids), "single": passes_an_image}
    return {name: counts[name] / seconds for name, seconds in take_turns(subjects, rules).items()}


def _line(row: dict[str, Any]) -> list[str]:
    busy = row["busy_elsewhere"]
    return [
        row["case"],
        row["engine"],
        f"{row['raw_images_per_s']:,.1f}",
        str(row["raw_batch"]),
        f"{row['passes_per_s']:,.1f}",
        str(row["batch"]),
        f"{row['efficiency']:.3f}",
        f"{row['single_image_efficiency']:.3f}",
        "unknown" if busy is None else f"{busy:.0%}",
    ]


if __name__ == "__main__":
    main()
