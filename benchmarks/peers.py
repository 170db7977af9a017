"""How many masked images per second do torchcam, Quantus and c2i-fast score, each through its own code?

torchcam 0.5's `DeletionInsertionMetric` and Quantus 0.6's `PixelFlipping`, unchanged:

- *as released*: the peer runs the torch module, we run our export of the same module on the engine that `auto` takes;
  the peer at its best batch size of 1, 4, 8, 16, 32, we at our default. torchvision's ResNet-50 and MobileNetV2 with
  random weights.
- *same engine*: the peer is wrapped around our ONNX Runtime session of the network, with our precision, threads and
  batch; what is left is the difference in the code around the engine. ResNet-50, and the MobileNetV2 of the assets.

Everything starts from images and maps in memory and ends with scores in memory, on the CPU, in one process; a pass is
one image forwarded, counted by a wrapper around the forward. Left out for all: decoding, opening the engine, writing
results. Given to the peers: maps (their saliency methods cost nothing here), normalised images and, in `same engine`, a
network without the normalisation. torchcam runs deletion and insertion of 33 points each, 64 passes an image; Quantus
flips channel values one by one, up to 96 passes an image (its curve then is our deletion at every third point); ours is
deletion, insertion and gap, 64 passes an image. All do about the same number of passes, in turns; each turn
gives one ratio, and their median is reported with its quartiles. Nothing is
timed before the curves of two images agree: on logits, to 1e-4 of their range.

The peers are no dependency of this project. With them in an environment of their own that sees this one's packages:

    python benchmarks/peers.py
    python benchmarks/peers.py --case resnet50
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import metadata
from typing import Any

import common
import numpy as np
import torch
from contestants import QUANTUS_STEPS, Contestant, Counted, Data, check_curves, ours, quantus, torchcam, wrapped

from c2i_fast.bench.raw import image_shape
from c2i_fast.bench.scoring import Workload, scoring_task
from c2i_fast.bench.timing import TimingRules, take_turns
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.models import load_classifier
from c2i_fast.types import Doubles, GraphContract

BATCHES = (1, 4, 8, 16, 32)
OURS = "c2i-fast"
OUR_PASSES = 64
PASSES = {"mobilenet": 768, "resnet50": 384}
RELEASED = {"mobilenet": "torchvision:mobilenet_v2", "resnet50": "torchvision:resnet50"}
COLUMNS = ("network", "peer", "setting", "its batch", "its passes/s", "our batch", "our passes/s", "ours ÷ its")


def best_batch(make: Callable[[int], Contestant], quick: bool) -> int:
    """Returns the batch size at which a peer makes most passes per second, each tried on the work of one batch."""
    rates = {}
    for batch in BATCHES[:2] if quick else BATCHES:
        contestant = make(batch)
        passes = contestant.run()
        rules = TimingRules(seconds=0.1, iterations=1 if quick else 2, warm_up_iterations=0, warm_up_seconds=0, turns=1)
        rates[batch] = passes / float(take_turns({0: contestant.run}, rules)[0].min())
        common.say(f"  {contestant.name} batch {batch}: {rates[batch]:,.1f} passes/s")
    return max(rates, key=lambda batch: rates[batch])


def race(contestants: list[Contestant], turns: int) -> dict[str, Doubles]:
    """Returns everybody's passes per second, turn by turn."""
    for contestant in contestants:
        contestant.run()  # warms up
    return common.rates_in_turns({c.name: c.run for c in contestants}, turns)


def peers(
    network: Counted, contract: GraphContract, data: Data, total: int, batches: dict[str, int]
) -> list[Contestant]:
    """Returns both peers, each with so many passes to make in all."""
    images = max(batches["Quantus"], total // QUANTUS_STEPS)
    return [
        torchcam(network, contract, data.first(max(1, total // OUR_PASSES)), batches["torchcam"]),
        quantus(network, contract, data.first(images), batches["Quantus"], _steps(total // images)),
    ]


def _steps(wanted: int) -> int:
    """Returns the largest number of flips up to `wanted` that Quantus allows at 224×224: 3·2^a·7^b."""
    allowed = [3 * 2**a * 7**b for a in range(11) for b in range(3)]
    return max((steps for steps in allowed if steps <= wanted), default=3)


def as_released(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Races the peers' torch module against our export of it, in fp32 and bf16."""
    classifier = load_classifier(RELEASED[name], random_weights=True)
    contract, total = classifier.contract, _total(name, options)
    data = Data.of(max(BATCHES[-1], total // OUR_PASSES), image_shape(contract))
    config = common.engine_config(classifier, "auto", "fp32", options.threads, options.batch_size)
    assert classifier.module is not None
    network = Counted(classifier.module)
    apart = check_curves(network, classifier, config, data)
    batches = {
        "torchcam": best_batch(lambda b: torchcam(network, contract, data.first(1), b), options.quick),
        "Quantus": best_batch(lambda b: quantus(network, contract, data.first(b), b, 6), options.quick),
    }
    work = data.first(max(1, total // OUR_PASSES))
    low = common.engine_config(classifier, "openvino", "bf16", options.threads, options.batch_size)
    contestants = [ours(classifier, config, work), ours(classifier, low, work)]
    contestants += peers(network, contract, data, total, batches)
    found = _row(RELEASED[name], "as released", contestants, options, apart)
    images = MemoryImages(work.pixels)
    task = scoring_task(contract, None)
    held = Workload(
        images=images,
        maps=memory_maps(work.maps, images.ids),
        passes=common.open_passes(classifier, low, task),
        task=task,
    )
    return {**found, "estimate": common.estimate(classifier, low, held, 2 if options.quick else 8)}


def same_engine(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Races the peers around our own session: same engine, precision, threads and batch."""
    classifier = common.CASES[name].classifier()
    contract, total = classifier.contract, _total(name, options)
    data = Data.of(max(BATCHES[-1], total // OUR_PASSES), image_shape(contract))
    config = common.engine_config(classifier, "onnxruntime", "fp32", options.threads, options.batch_size)
    network = wrapped(classifier, config)
    apart = check_curves(network, classifier, config, data)
    contestants = [ours(classifier, config, data.first(max(1, total // OUR_PASSES)))]
    batches = dict.fromkeys(("torchcam", "Quantus"), config.batch_size)
    contestants += peers(network, contract, data, total, batches)
    return _row(classifier.name, "same engine", contestants, options, apart)


def _total(name: str, options: argparse.Namespace) -> int:
    return OUR_PASSES * 2 if options.quick else PASSES[name]


def _row(
    network: str, setting: str, contestants: list[Contestant], options: argparse.Namespace, apart: dict[str, float]
) -> dict[str, Any]:
    common.say(f"{network}, {setting}: {', '.join(f'{c.name} at batch {c.batch}' for c in contestants)}")
    with common.watched(found := {}):
        rates = race(contestants, options.repeats)
    return {
        "network": network.rpartition("/")[2],
        "setting": setting,
        "batches": {c.name: c.batch for c in contestants},
        "passes_per_s": {name: float(np.median(rate)) for name, rate in rates.items()},
        "ratios": {
            mine: {name: common.middle(rates[mine] / rates[name]) for name in rates if not name.startswith(OURS)}
            for mine in rates
            if mine.startswith(OURS)
        },
        "curves_apart": apart,
        **found,
    }


def _lines(row: dict[str, Any]) -> list[list[str]]:
    rates, batches = row["passes_per_s"], row["batches"]
    return [
        [
            row["network"],
            peer,
            f"{row['setting']}, {name.removeprefix(OURS).strip()}",
            str(batches[peer]),
            f"{rates[peer]:,.1f}",
            str(batches[name]),
            f"{rates[name]:,.1f}",
            common.spread(ratio),
        ]
        for name, ratios in row["ratios"].items()
        for peer, ratio in ratios.items()
    ]


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--batch-size", type=int, help="of ours and of the same engine, default what score takes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    try:
        versions = {name: metadata.version(name) for name in ("torchcam", "quantus")}
    except metadata.PackageNotFoundError as error:
        versions = {}
        rows = [{"skipped": f"{error.name} is not installed"}]
    for name in (options.case or list(PASSES)) if versions else ():
        for measure in (as_released, same_engine):
            try:
                rows.append(measure(name, options))
            except common.SkipError as reason:
                rows.append({"network": name, "skipped": str(reason)})
    for row in rows:
        if "skipped" in row:
            common.say(f"skipped: {row['skipped']}")
    common.show("masked images per second", COLUMNS, [line for row in rows if "setting" in row for line in _lines(row)])
    for row in rows:
        if "estimate" in row:
            common.show_estimate(f"{row['network']} openvino bf16", row["estimate"])
    common.emit("peers", options, {"includes": __doc__, "peers": versions, "rows": rows})


if __name__ == "__main__":
    main()
