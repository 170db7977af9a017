"""How much of the raw engine does scoring reach, everything included?

    efficiency = masked images scored per second ÷ images per second of the raw engine at its best batch size

Numerator: images on disk → decoded and resized → ranked → planned → masked passes → raw and calibrated read-outs →
Parquet on disk, by the functions the command uses: deletion, insertion and gap under `c2i`, 33 points a curve, 64
passes an image. Maps are .npy files at the network's size. Opening the engine is left out. Denominator: the fused graph
in the same precision with as many threads, on as many random images. Both in turns, in one process: each turn gives one
ratio, and the median of the turns is reported with its quartiles, since a shared machine changes its speed from one
second to the next. `single` is one image alone, several such runs a turn.

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
from c2i_fast.bench.scoring import Workload, curve_intervals
from c2i_fast.bench.timing import TimingRules

SWEEP = "1,2,4,8,16,32,64,128"
ENGINES = ("openvino:fp32", "openvino:bf16", "onnxruntime:fp32")
CASES = ("mobilenet", "cifar", "resnet50")
SINGLES = 8
SINGLES_A_TURN = 4
COLUMNS = ("case", "engine", "raw images/s", "batch", "passes/s", "batch", "efficiency", "single image", "others busy")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--engine", action="append", metavar="NAME:PRECISION", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--batches", default=SWEEP, help="of the raw sweep (%(default)s)")
    parser.add_argument("--batch-size", type=int, help="of scoring, default what score takes")
    parser.add_argument("--fp32-images", type=int, default=16, help="of the estimate in bf16 (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each batch in the raw sweep (%(default)s)")
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
        rates = common.rates_in_turns(_subjects(work, batch), options.repeats)
    return {
        "engine": name,
        "threads": config.threads,
        "images": len(work.images),
        "points_a_curve": curve_intervals(work.passes.contract) + 1,
        "readouts": work.task.readouts,
        "batch": work.passes.batch,
        "raw_batch": batch,
        "raw_images_per_s": float(np.median(rates["raw"])),
        "passes_per_s": float(np.median(rates["scoring"])),
        "efficiency": common.middle(rates["scoring"] / rates["raw"]),
        "single_image_efficiency": common.middle(rates["single"] / rates["raw"]),
        "rates": {name: rate.tolist() for name, rate in rates.items()},
        **found,
        "raw": [asdict(row) for row in raw],
    }


def _subjects(work: Workload, raw_batch: int) -> dict[str, Callable[[], int]]:
    """Returns what is timed, each as a call that returns how many images it forwarded."""
    raw = raw_call(work.passes.session("fused"), random_images(raw_batch, image_shape(work.passes.contract)))
    ids = work.images.ids
    singles = cycle([work.only([name]) for name in ids[:SINGLES]])
    rounds = -(-work.score().run // raw_batch)  # warms up too: it compiles what the engine compiles at first sight

    def forward() -> int:
        for _ in range(rounds):
            raw()
        return rounds * raw_batch

    return {
        "raw": forward,
        "scoring": lambda: work.score().run,
        "single": lambda: sum(next(singles).score().run for _ in range(SINGLES_A_TURN)),
    }


def _line(row: dict[str, Any]) -> list[str]:
    busy = row["busy_elsewhere"]
    return [
        row["case"],
        row["engine"],
        f"{row['raw_images_per_s']:,.1f}",
        str(row["raw_batch"]),
        f"{row['passes_per_s']:,.1f}",
        str(row["batch"]),
        common.spread(row["efficiency"]),
        common.spread(row["single_image_efficiency"]),
        "unknown" if busy is None else f"{busy:.0%}",
    ]


if __name__ == "__main__":
    main()
