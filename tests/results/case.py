"""One small scoring run, for the tests of this room and for processes that are killed in the middle of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from c2i_fast.calibration.temperature import Temperature
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.metrics.measures import make_measures
from c2i_fast.results import files, record
from c2i_fast.results.record import Totals, measure_entries
from c2i_fast.results.run import RunDirectory
from c2i_fast.score import ScoreTask
from c2i_fast.types import Preprocessing
from tests import nets

PREPROCESSING = Preprocessing(mean=(0.4,), std=(0.25,))
SHAPE = (3, 6, 5)
METRICS = ("deletion", "insertion", "gap")
IMAGES = 9
PARTS = 3


def make_images(count: int = IMAGES) -> np.ndarray:
    return np.random.default_rng(0).random((count, *SHAPE)).astype(np.float32)


def make_maps(count: int = IMAGES, ids: list[str] | None = None):
    rng = np.random.default_rng(1)
    named = {"smooth-random": rng.random((count, 3, 3)), "ours": rng.normal(size=(count, 6, 5)).round(1)}
    return memory_maps(named, ids or [str(i) for i in range(count)])


def make_task(**options) -> ScoreTask:
    content = {
        "measures": make_measures(METRICS, ("c2i",), {"intervals": "5"}),
        "readouts": ("raw", "calibrated"),
        "preprocessing": PREPROCESSING,
        "calibrator": Temperature.from_parameters({"temperature": 1.7}),
        "passes_per_part": 40,
    }
    return ScoreTask(**{**content, **options})


def make_passes() -> nets.NumpyPasses:
    return nets.NumpyPasses(nets.smooth_function(SHAPE, seed=2))


def manifest(task: ScoreTask | None = None) -> dict:
    task = task or make_task()
    return {
        "settings": {"metrics": list(METRICS)},
        "activation": task.activation,
        **measure_entries(task.measures),
        "hashes": {},
        "images": IMAGES,
    }


class FlakyImages(ImageSource):
    """Images some of which cannot be read."""

    def __init__(self, images: np.ndarray, broken: set[int]) -> None:
        super().__init__([str(i) for i in range(len(images))])
        self._images, self._broken = images, broken

    def fingerprint(self) -> str:
        return "flaky"

    def loads(self, start: int) -> Iterator[Callable[[], np.ndarray]]:
        for number in range(start, len(self)):
            yield lambda number=number: self._load(number)

    def _load(self, number: int) -> np.ndarray:
        if number in self._broken:
            raise InputError(f"picture {number} is truncated")
        return self._images[number]


def run_case(folder: Path, *, task: ScoreTask | None = None, passes=None, images=None, **options) -> Totals:
    """Begins the run where there is none, and goes on with it where there is."""
    run, task = RunDirectory(folder), task or make_task()
    if not run.exists():
        run.begin(manifest(task), replace=False)
    source = images if images is not None else MemoryImages(make_images())
    options = {"keep_logits": True, **options}
    return record.record(run, source, make_maps(), passes or make_passes(), task, **options)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(folder: Path, place: str) -> None:
    """Starts the run and kills its own process, with SIGKILL, at a place in the second part."""
    passes = make_passes()
    if place == "passes":
        select = passes.select
        passes.select = lambda plans, work: die() if len(passes.calls) == 1 else select(plans, work)
    written: list[Path] = []
    real = files.write_atomically

    def write(path: Path, writer: Callable[[Path], object]) -> None:
        written.append(path)
        scores = [p for p in written if p.parent.name == "scores"]
        logits = [p for p in written if p.name.startswith("part") and p.parent.name == "logits"]
        if place == "half a file" and len(scores) == 2:
            real(path, lambda temporary: (writer(temporary), os.truncate(temporary, 100), die()))
        if place == "between logits and scores" and len(scores) == 2:
            die()
        if place == "half the logits" and len(logits) == 2:
            real(path, lambda temporary: (writer(temporary), os.truncate(temporary, 10), die()))
        if place == "before the name" and len(scores) == 2:
            real(path, lambda temporary: (writer(temporary), die()))
        real(path, writer)

    import c2i_fast.results.run as run_module

    run_module.write_atomically = write
    run_case(folder, passes=passes)


if __name__ == "__main__":
    run_and_die(Path(sys.argv[1]), sys.argv[2])
