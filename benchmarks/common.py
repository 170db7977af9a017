"""What the benchmarks share: cases with their assets, maps on disk, workloads, and how results are printed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout these files belong to, installed or not

from c2i_fast.bench.environment import environment  # noqa: E402
from c2i_fast.bench.scoring import Workload, scoring_task, smooth_noise  # noqa: E402
from c2i_fast.bench.timing import TimingRules, neighbours, take_turns  # noqa: E402
from c2i_fast.calibration.temperature import Temperature  # noqa: E402
from c2i_fast.cli.render import interval, show_table  # noqa: E402
from c2i_fast.data.images import open_images  # noqa: E402
from c2i_fast.data.map_source import FolderMaps, MapSource  # noqa: E402
from c2i_fast.data.source import ImageSource  # noqa: E402
from c2i_fast.export.open import GraphOpener, engine_for  # noqa: E402
from c2i_fast.models import Classifier, load_classifier  # noqa: E402
from c2i_fast.models.preprocess import preprocessing_from_options  # noqa: E402
from c2i_fast.perturb.order import step_type  # noqa: E402
from c2i_fast.perturb.passes import GraphPasses  # noqa: E402
from c2i_fast.results.estimate import FP32, SubsetSource, subset  # noqa: E402
from c2i_fast.results.record import record  # noqa: E402
from c2i_fast.results.run import MAIN, RunDirectory  # noqa: E402
from c2i_fast.results.summary import summarise, table_rows, values_by_cell  # noqa: E402
from c2i_fast.score import ScoreTask  # noqa: E402
from c2i_fast.types import Doubles, EngineConfig, GraphContract, PerturbationPlan  # noqa: E402

ASSETS = ROOT.parent / "shared" / "assets"
THREADS = 2


class SkipError(Exception):
    """A benchmark cannot be run here, and why."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network and the images it is scored on.

    Attributes:
        images: a source; None where only the network is asked for.
        count: how many images a full run scores.
        temperature: of the calibrated read-out; its value has no bearing on speed.
    """

    name: str
    model: str
    images: str | None
    recipe: str | None = None
    random_weights: bool = False
    count: int = 32
    temperature: float = 1.5

    def classifier(self) -> Classifier:
        """Returns the network, or skips where its file is not there."""
        if self.model.endswith(".onnx"):
            _need(self.model)
        preprocessing = preprocessing_from_options(recipe=self.recipe) if self.recipe else None
        return load_classifier(self.model, preprocessing=preprocessing, random_weights=self.random_weights)

    def source(self, classifier: Classifier, limit: int | None) -> ImageSource:
        """Returns the first so many images, read from disk whenever they are scored."""
        if self.images is None:
            raise SkipError(f"case {self.name} needs --images")
        contract = classifier.contract
        return open_images(
            _need(self.images),
            preprocessing=contract.preprocessing,
            channels=contract.channels,
            classes=contract.classes,
            limit=limit,
        )

    def task(self, classifier: Classifier) -> ScoreTask:
        """Returns deletion, insertion and gap under `c2i` at 33 points a curve, raw and calibrated."""
        return scoring_task(classifier.contract, self.calibrator())

    def calibrator(self) -> Temperature:
        """Returns temperature scaling with the case's T."""
        return Temperature.from_parameters({"temperature": self.temperature})


def _need(path: str) -> str:
    if not Path(path).exists():
        raise SkipError(f"{path} is not there")
    return path


def _asset(*parts: str) -> str:
    return str(ASSETS.joinpath(*parts))


IMAGENET = _asset("images", "imagenet_val", "manifest.csv")
CASES = {
    case.name: case
    for case in (
        Case(
            name="mobilenet",
            model=_asset("models", "imagenet", "tf2_mobilenet_v2_1.0_224_ptq.onnx"),
            recipe="mobilenet-tf",
            images=IMAGENET,
        ),
        Case(
            name="squeezenet",
            model=_asset("models", "imagenet", "squeezenet_v1.1.onnx"),
            recipe="caffe-bgr",
            images=IMAGENET,
        ),
        Case(
            name="cifar",
            model=_asset("models", "cifar10", "resnet20.onnx"),
            recipe="cifar10-imagenet-stats",
            images=_asset("images", "cifar10_test.npz"),
            count=240,
        ),
        Case(
            name="cifar56",
            model=_asset("models", "cifar10", "resnet56.onnx"),
            recipe="cifar10-imagenet-stats",
            images=_asset("images", "cifar10_test.npz"),
        ),
        Case(name="resnet50", model="torchvision:resnet50", random_weights=True, images=IMAGENET, count=8),
    )
}


def arguments(doc: str, **defaults: Any) -> argparse.ArgumentParser:
    """Returns a parser with what all benchmarks take; `defaults` change theirs."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="a network (repeatable)")
    parser.add_argument("--model", help="a MODEL of your own instead, with --images and, if it is bare, --recipe")
    parser.add_argument("--recipe", help="its preprocessing, a TOML file or a shipped recipe")
    parser.add_argument("--images", help="its images, a folder, CSV or .npz")
    parser.add_argument("--threads", type=int, default=THREADS, help="of every engine and peer (%(default)s)")
    parser.add_argument("--repeats", type=int, default=9, help="turns of what is compared (%(default)s)")
    parser.add_argument("--limit", type=int, help="images of a full run")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the numbers mean nothing")
    parser.set_defaults(**defaults)
    return parser


def chosen_cases(options: argparse.Namespace, default: Sequence[str]) -> list[Case]:
    """Returns the cases asked for, with their image counts."""
    if options.model:
        cases = [Case(name="given", model=options.model, recipe=options.recipe, images=options.images)]
    else:
        cases = [CASES[name] for name in options.case or default]
    limit = options.limit or (2 if options.quick else None)
    return [replace(case, count=limit) if limit else case for case in cases]


def engine_config(
    classifier: Classifier, engine: str, precision: str, threads: int, batch_size: int | None = None
) -> EngineConfig:
    """Returns how `score` would run this classifier: the default batch unless one is given."""
    return engine_for(
        classifier,
        engine,
        precision=precision,  # type: ignore[arg-type]
        threads=threads,
        batch_size=batch_size,
    ).config


def open_passes(classifier: Classifier, config: EngineConfig, task: ScoreTask) -> GraphPasses:
    """Returns the passes with their graphs open."""
    passes = GraphPasses(GraphOpener(classifier, config), classifier.contract, config.batch_size)
    passes.warm_up(task.protocols)
    return passes


def write_maps(ids: Sequence[str], space: tuple[int, ...], folder: Path) -> dict[str, MapSource]:
    """Writes one random smooth map an image, at the network's size, and returns them as `score --maps` reads them."""
    for number, name in enumerate(ids):
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, smooth_noise(1, (1, *space), seed=number)[0, 0])
    return {"map": FolderMaps("map", folder)}


def estimate(classifier: Classifier, config: EngineConfig, work: Workload, fp32_images: int) -> dict[str, Any]:
    """Returns what low precision says of fp32: means corrected by a random subset scored in both, and its cost."""
    exact = open_passes(classifier, replace(config, precision="fp32"), work.task)
    chosen = SubsetSource(work.images, subset(work.images.ids, fp32_images, 0))
    with tempfile.TemporaryDirectory(prefix="c2i-fast-bench-") as folder:
        run = RunDirectory(Path(folder))
        run.begin({"settings": {}}, replace=False)
        low = record(run, work.images, work.maps, work.passes, work.task)
        full = record(run, chosen, work.maps, exact, work.task, prefix=FP32)
        tables = [values_by_cell(table_rows(run.read(prefix))) for prefix in (MAIN, FP32)]
    return {
        "fp32_images": full.images,
        "fp32_passes": full.run,
        "fp32_seconds": full.seconds,
        "low_precision_passes": low.run,
        "low_precision_seconds": low.seconds,
        "scores": [row.to_dict() for row in summarise(*tables)],
    }


def show_estimate(title: str, found: dict[str, Any]) -> None:
    """Prints the corrected means beside those of the low precision."""
    show(
        f"{title}: corrected to fp32 by {found['fp32_images']} of the images, {found['fp32_seconds']:.1f} s beside "
        f"{found['low_precision_seconds']:.1f} s",
        ("metric", "read-out", "low precision", "corrected"),
        [
            [
                row["metric"],
                row["readout"],
                interval(row["mean"], row["ci95"]),
                interval(row["corrected"]["mean"], row["corrected"]["ci95"]),
            ]
            for row in found["scores"]
        ],
    )


def random_plans(
    rng: np.random.Generator, contract: GraphContract, intervals: int, count: int
) -> list[PerturbationPlan]:
    """Returns plans of random ends and step maps."""
    shape = (contract.channels, *(size or 1 for size in contract.space))
    return [
        PerturbationPlan(
            start=rng.normal(size=shape).astype(np.float32),
            end=rng.normal(size=shape).astype(np.float32),
            step_map=rng.integers(0, intervals + 1, (1, *shape[1:])).astype(step_type(intervals)),
            intervals=intervals,
        )
        for _ in range(count)
    ]


def rates_in_turns(subjects: Mapping[str, Callable[[], int]], turns: int) -> dict[str, Doubles]:
    """Returns images per second (turns,) of calls that return how many images they forwarded; A B C, C B A, …."""
    rates: dict[str, list[float]] = {name: [] for name in subjects}

    def rated(name: str, subject: Callable[[], int]) -> None:
        begin = time.perf_counter()
        images = subject()
        rates[name].append(images / (time.perf_counter() - begin))

    calls = {name: partial(rated, name, subject) for name, subject in subjects.items()}
    take_turns(calls, TimingRules(seconds=1e-9, iterations=turns, turns=turns, warm_up_iterations=0, warm_up_seconds=0))
    return {name: np.asarray(rate) for name, rate in rates.items()}


def middle(ratios: Doubles) -> dict[str, float]:
    """Returns the median and the quartiles of the turns."""
    low, median, high = (float(value) for value in np.percentile(ratios, (25, 50, 75)))
    return {"median": median, "low": low, "high": high}


def spread(found: Mapping[str, float]) -> str:
    """Returns a median with its quartiles.

    Example:
        >>> spread({"median": 0.95, "low": 0.9, "high": 1.0})
        '0.95 (0.90–1.00)'
    """
    return f"{found['median']:.2f} ({found['low']:.2f}–{found['high']:.2f})"


@contextmanager
def watched(results: dict[str, Any]) -> Iterator[None]:
    """Adds to the results how busy other processes kept the machine over the body."""
    with neighbours() as others:
        yield
    results["busy_elsewhere"] = others.share


def say(message: str) -> None:
    """Prints a note or progress on stderr."""
    print(message, file=sys.stderr, flush=True)


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table on stderr."""
    with redirect_stdout(sys.stderr):
        show_table(title, columns, rows)


def emit(name: str, options: argparse.Namespace, content: dict[str, Any]) -> None:
    """Prints the JSON on stdout: what was asked, where, and what came out."""
    where = environment(options.threads, "")
    del where["precision_used"]  # differs from row to row
    print(json.dumps({"benchmark": name, "options": vars(options), "environment": where, **content}, indent=2))
