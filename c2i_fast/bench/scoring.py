"""End-to-end scoring: pixels and maps → plans → masked passes → read-outs → rows on disk, as the command does it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.bench.raw import image_shape
from c2i_fast.bench.timing import Latency
from c2i_fast.data.map_source import MapSource
from c2i_fast.data.source import ImageSource
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.readout import check_readouts
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.results.estimate import SubsetSource
from c2i_fast.results.record import Totals, record
from c2i_fast.results.run import RunDirectory
from c2i_fast.score import ScoreTask
from c2i_fast.types import Calibrator, Doubles, Floats, GraphContract

INTERVALS = 32
POOL = 32
MOST_IMAGES = 1024
COARSE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringFigures:
    """What scoring reached.

    Attributes:
        passes_per_s: passes ÷ the median time of a whole scoring run.
        raw_images_per_s: the raw engine at its best batch, timed in turns with scoring.
        efficiency: the former ÷ the latter.
        raw_batch: that best batch.
        batch: the one scoring uses.
        images, passes: of one scoring run.
        runs: how many were timed.
    """

    passes_per_s: float
    efficiency: float
    raw_images_per_s: float
    raw_batch: int
    batch: int
    images: int
    passes: int
    runs: int

    @classmethod
    def of(cls, scoring: Doubles, raw: Doubles, *, totals: Totals, batch: int, raw_batch: int) -> ScoringFigures:
        """Returns the figures of scoring runs and raw calls that took these seconds, in turns."""
        rate = totals.run * 1000 / Latency.of(scoring).p50_ms
        ceiling = raw_batch * 1000 / Latency.of(raw).p50_ms
        return cls(
            passes_per_s=rate,
            efficiency=rate / ceiling,
            raw_images_per_s=ceiling,
            raw_batch=raw_batch,
            batch=batch,
            images=totals.images,
            passes=totals.run,
            runs=len(scoring),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to score from beginning to end, as often as asked."""

    images: ImageSource
    maps: Mapping[str, MapSource]
    passes: GraphPasses
    task: ScoreTask

    def only(self, ids: Iterable[str]) -> Workload:
        """Returns the part of it with these images."""
        return replace(self, images=SubsetSource(self.images, frozenset(ids)))

    def score(self) -> Totals:
        """Scores everything into a run directory that is thrown away, and returns its totals."""
        with tempfile.TemporaryDirectory(prefix="c2i-fast-bench-") as folder:
            run = RunDirectory(Path(folder))
            run.begin({"settings": {}}, replace=False)
            return record(run, self.images, self.maps, self.passes, self.task)


def curve_intervals(contract: GraphContract) -> int:
    """Returns the intervals of the curves that are timed: 32, or fewer where an image has fewer elements."""
    return min(INTERVALS, int(np.prod(image_shape(contract)[1:])))


def scoring_task(contract: GraphContract, calibrator: Calibrator | None) -> ScoreTask:
    """Returns deletion, insertion and gap under `c2i`, 33 points a curve (fewer where an image has fewer elements)."""
    measures = make_measures((), ("c2i",), {"intervals": str(curve_intervals(contract))})
    return ScoreTask(
        measures=measures,
        readouts=check_readouts((), calibrator),
        preprocessing=contract.preprocessing,
        activation=contract.activation,
        calibrator=calibrator,
    )


def synthetic_workload(
    contract: GraphContract, passes: GraphPasses, images: int, calibrator: Calibrator | None = None
) -> Workload:
    """Returns so many synthetic images with a map each: a few distinct ones over and over, as images share nothing."""
    shape = image_shape(contract)
    pixels = smooth_noise(min(images, POOL), shape, seed=0)
    maps = smooth_noise(min(images, POOL), (1, *shape[1:]), seed=1)[:, 0]
    return Workload(
        images=PoolImages(pixels, images),
        maps={"synthetic": PoolMaps(maps, images)},
        passes=passes,
        task=scoring_task(contract, calibrator),
    )


def smooth_noise(count: int, shape: tuple[int, ...], seed: int) -> Floats:
    """Returns random blocks under a little noise, in [0, 1), float32 (count, *shape): no flat areas and few ties.

    Example:
        >>> smooth_noise(2, (3, 16, 16), seed=0).shape
        (2, 3, 16, 16)
    """
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, shape[0], *(COARSE,) * (len(shape) - 1)), dtype=np.float32)
    for axis, size in enumerate(shape[1:], start=2):
        coarse = coarse.take(np.arange(size) * COARSE // size, axis=axis)
    return np.float32(0.75) * coarse + np.float32(0.25) * rng.random((count, *shape), dtype=np.float32)


def images_for(seconds: float, images_per_s: float, passes_an_image: int) -> int:
    """Returns how many images to score so that it takes about so long at the raw rate, 1 to 1024.

    Example:
        >>> images_for(2.0, 640.0, 64)
        20
    """
    return int(np.clip(seconds * images_per_s / passes_an_image, 1, MOST_IMAGES))


class PoolImages(ImageSource):
    """`count` images out of a few, over and over."""

    def __init__(self, pool: Floats, count: int) -> None:
        super().__init__([str(number) for number in range(count)])
        self._pool = pool

    def fingerprint(self) -> str:
        """Returns a name: what is synthetic has no content to protect."""
        return "synthetic"

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what returns one image's pixels."""
        return (partial(self._pool.__getitem__, number % len(self._pool)) for number in range(start, len(self)))


class PoolMaps(MapSource):
    """The maps of `PoolImages`."""

    def __init__(self, pool: Floats, count: int) -> None:
        super().__init__("synthetic", [str(number) for number in range(count)], Path("synthetic"))
        self._pool = pool

    def fingerprint(self) -> str:
        """Returns a name: what is synthetic has no content to protect."""
        return "synthetic"

    def read(self, key: str) -> NDArray[Any]:
        """Returns the map of an image."""
        return np.asarray(self._pool[int(key) % len(self._pool)])
