"""What the tests of the families share: the oracles' networks and maps, and scoring over a NumPy function."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from c2i_fast import Preprocessing
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.data.resize import resize_map
from c2i_fast.export.open import engine_for, open_passes
from c2i_fast.metrics.measures import make_measures
from c2i_fast.models import load_classifier
from c2i_fast.score import ScoreTask, score_stream
from tests import nets

FILES = {"a": "model_a_tiny.onnx", "b": "model_b_resnet20.onnx"}
PREPROCESSING = {
    "a": Preprocessing(mean=(0.5,), std=(0.5,)),
    "b": Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
}
UNEVEN = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))


class GivenMaps:
    """Maps of an array in memory as they are, those with channels of their own too."""

    def __init__(self, values) -> None:
        self.values = values

    def load(self, image: str, space: tuple[int, ...], channels: int = 1):
        found = self.values[int(image)]
        return found if found.shape[-2:] == space else resize_map(found, space)


@lru_cache(maxsize=2)
def opened(path):
    """Passes of an oracle's network through ONNX Runtime."""
    classifier = load_classifier(path, preprocessing=PREPROCESSING[path.name[6]])
    return open_passes(classifier, engine_for(classifier, "onnxruntime", threads=1).config)


def oracle_scores(oracles, model: str, maps, metrics, *, preset="c2i", overrides=None, readouts=("raw",)):
    """Scores of the eight pictures under maps, as {(metric, method, read-out): values (8,)}."""
    with np.load(oracles / "images.npz") as images:
        source, targets = MemoryImages(images["images_u8"]), images[f"target_{model}"]
    task = ScoreTask(
        measures=make_measures(metrics, (preset,), overrides), readouts=readouts, preprocessing=PREPROCESSING[model]
    )
    given = {name: GivenMaps(values) for name, values in maps.items()}
    cells: dict[tuple[str, str, str], list[float]] = {}
    for part in score_stream(source.stream(), given, opened(oracles / FILES[model]), task):
        for row in (row for image in part.images for row in image.scores):
            assert row.target == targets[int(row.image)]
            cells.setdefault((row.metric, row.method, row.readout), []).append(row.value)
    return {cell: np.array(values) for cell, values in cells.items()}


def scored(
    images,
    maps,
    metrics,
    *,
    preset="c2i",
    overrides=None,
    logits_of=None,
    preprocessing=UNEVEN,
    seed=0,
    keep=True,
    **task,
):
    """What scoring arrays over a NumPy function gives: its rows, its images, and what it may be asked afterwards."""
    source = MemoryImages(images)
    measures = make_measures(metrics, (preset,), overrides)
    made = ScoreTask(
        **{"measures": measures, "readouts": ("raw",), "preprocessing": preprocessing, "seed": seed, **task}
    )
    passes = nets.NumpyPasses(logits_of or nets.smooth_function(images.shape[1:], seed=4))
    parts = list(score_stream(source.stream(), memory_maps(maps, source.ids), passes, made, keep_logits=keep))
    done = [image for part in parts for image in part.images]
    return SimpleNamespace(rows=[row for image in done for row in image.scores], images=done, task=made)


def value(found, metric: str, image: int = 0, method: str = "ours", readout: str = "raw"):
    """The one row of a cell."""
    rows = [r for r in found.rows if (r.metric, r.image, r.method, r.readout) == (metric, str(image), method, readout)]
    assert len(rows) == 1
    return rows[0]


def softmax(logits) -> np.ndarray:
    """Float64 probabilities (K,)."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return shifted / shifted.sum()


def column(statistics) -> np.ndarray:
    """A per-channel number as (C, 1, 1)."""
    return np.asarray(statistics, np.float64).reshape(-1, 1, 1)
