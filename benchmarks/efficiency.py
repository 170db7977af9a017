"""How much of the raw engine does scoring reach, everything included?

    efficiency = masked images scored per second ÷ images per second of the raw engine at its best batch size

Numerator: image files on disk → decoded and resized → ranked → planned → masked passes → raw and calibrated read-outs →
Parquet on disk, by the functions the command uses: deletion, insertion and gap under `c2i`, 33 points a curve, 64 passes
an image. Maps are .npy files at the network's size. Opening the engine is left out. Denominator: the fused graph in the
same precision with as many threads, on random input made once. Both in turns, in one process; medians. `single` is one
image alone, another one each time.

In bf16 the scores estimate those of fp32; `estimate` scores a random subset in fp32 as well, apart from the timing, and
gives the corrected means with their intervals.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --case mobilenet --engine openvino:bf16 --repeats 5
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import common
import numpy as np

from c2i_fast.bench.raw import BATCHES, best, image_shape, random_images, raw_call, sweep
from c2i_fast.bench.scoring import Workload
from c2i_fast.bench.timing import TimingRules, take_turns
from c2i_fast.data.map_source import MapSource
from c2i_fast.data.source import ImageSource
from c2i_fast.models import Classifier
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.results.estimate import FP32, SubsetSource, subset
from c2i_fast.results.record import record
from c2i_fast.results.run import RunDirectory
from c2i_fast.results.summary import summarise, table_rows, values_by_cell
from c2i_fast.score import ScoreTask
from c2i_fast.types import EngineConfig, Floats

SWEEP = (1, 2, 4, 8, 16, 32, 64, 128)
ENGINES = ("onnxruntime:fp32", "openvino:bf16")
PASSES_AN_IMAGE = 64
SINGLES = 8
FP32_IMAGES = 64
COLUMNS = ("case", "engine", "batch", "raw images/s", "at", "passes/s", "efficiency", "single image", "busy")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--engine", action="append", metavar="NAME:PRECISION", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--batches", help="of the raw sweep, default " + ",".join(map(str, SWEEP)))
    parser.add_argument("--batch-size", type=int, help="of scoring, default what score takes")
    parser.add_argument("--raw-seconds", type=float, default=3.0, help="of raw timing in each turn (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.raw_seconds, options.batches = 0.05, options.batches or ",".join(map(str, BATCHES))
    rows: list[dict[str, Any]] = []
    for case in common.chosen_cases(options, ("mobilenet", "cifar", "resnet50")):
        try:
            rows += _case(case, options)
        except common.Skip as reason:
            common.say(f"skipped {case.name}: {reason}")
            rows.append({"case": case.name, "skipped": str(reason)})
    common.show("scoring against the raw engine", COLUMNS, [_line(row) for row in rows if "skipped" not in row])
    for row in rows:
        _show_estimate(row)
    common.emit("efficiency", options, {"includes": __doc__, "rows": rows})


def _case(case: common.Case, options: argparse.Namespace) -> list[dict[str, Any]]:
    classifier = case.classifier()
    source = case.source(classifier, case.count)
    task = case.task(classifier)
    with tempfile.TemporaryDirectory(prefix="c2i-fast-bench-") as folder:
        maps = common.write_maps(source.ids, image_shape(classifier.contract)[1:], Path(folder))
        found = []
        for name in options.engine or ENGINES:
            engine, _, precision = name.partition(":")
            config = common.engine_config(
                classifier, engine, precision or "fp32", options.threads, options.batch_size
            )
            common.say(f"{case.name}: {config.engine} {config.precision}, {len(source)} images")
            passes = common.open_passes(classifier, config, task)
            row = {"case": case.name, **_measure(passes, source, maps, task, options)}
            if precision == "bf16":
                row["estimate"] = _estimate(classifier, config, Workload(source, maps, passes, task), options.quick)
            found.append(row)
    return found


def _measure(
    passes: GraphPasses, source: ImageSource, maps: dict[str, MapSource], task: ScoreTask, options: argparse.Namespace
) -> dict[str, Any]:
    """Sweeps the raw engine, then times it at its best batch in turns with scoring all images and one alone."""
    session, contract = passes.session("fused"), passes.contract
    sizes = [int(size) for size in options.batches.split(",")] if options.batches else SWEEP
    rules = TimingRules(seconds=options.raw_seconds, iterations=3)
    raw = sweep({"raw": session}, contract, sizes, rules, say=common.say)["raw"]
    batch = best(raw).batch
    whole = Workload(images=source, maps=maps, passes=passes, task=task)
    singles = _singles(whole)
    replace(whole, images=SubsetSource(source, frozenset(source.ids[:16]))).score()  # compiles and warms up
    next(singles)()
    subjects: dict[str, Callable[[], object]] = {
        "raw": raw_call(session, random_images(batch, image_shape(contract))),
        "scoring": whole.score,
        "single": lambda: next(singles)(),
    }
    in_turns = TimingRules(
        seconds=options.raw_seconds * options.repeats,
        iterations=options.repeats,
        turns=options.repeats,
        warm_up_iterations=0,
        warm_up_seconds=0.0,
    )
    with common.watched(found := {}):
        taken = take_turns(subjects, in_turns)
    rates = {
        "raw": batch / taken["raw"],
        "scoring": PASSES_AN_IMAGE * len(source) / taken["scoring"],
        "single": PASSES_AN_IMAGE / taken["single"],
    }
    return {**found, **_figures(passes.config_of(), rates, batch), "raw": [asdict(row) for row in raw]}


if __name__ == "__main__":
    main()
