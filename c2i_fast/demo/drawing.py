"""The demo's figures, drawn by `report.figures`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.error import ece_equal_width, per_sample, reliability_bins
from c2i_fast.demo.tetromino import CLASS_NAMES, Tetrominoes
from c2i_fast.report.figures import Example, curves_figure, mean_curves, overlays_figure, reliability_figure
from c2i_fast.types import Calibrator, Floats

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES = 4
BINS = 10


def draw_curves(path: Path, rows: pa.Table) -> None:
    """Draws deletion and insertion, each read-out, from the rows of a run."""
    wanted = _rows(rows, "method", "metric", "readout", "fractions", "curve")
    chosen = [row for row in wanted if row[1] != "gap"]
    images = len(set(rows["image"].to_pylist()))
    title = (
        "What is left of the predicted class as pixels are removed or revealed, most relevant first\n"
        f"mean over {images} images; bands: 95 % interval of the mean"
    )
    curves_figure(path, mean_curves(chosen), title=title)


def draw_overlays(path: Path, images: Tetrominoes, maps: Mapping[str, Floats], rows: pa.Table) -> None:
    """Draws the first images with every method's map; what they are taken for is read from the rows of the run."""
    predicted = {
        image: (target, curve[0])
        for image, metric, readout, target, curve in _rows(rows, "image", "metric", "readout", "target", "curve")
        if (metric, readout) == ("deletion", "calibrated")  # whose first point is the image itself
    }
    examples = []
    for number, name in enumerate(images.ids[:EXAMPLES]):
        target, probability = predicted[name]
        shown, taken = CLASS_NAMES[images.labels[number]], CLASS_NAMES[target]
        example = Example(
            image=images.images[number, :, :, 0] / 255,
            maps={method: values[number] for method, values in maps.items()},
            truth=images.masks[number],
            caption=f"{shown}, taken for {taken}\nprobability {probability:.2f}",
        )
        examples.append(example)
    overlays_figure(path, examples, title="Saliency maps over their images; the blue line is the shape's outline")


def draw_reliability(path: Path, logits: NDArray[Any], labels: NDArray[np.int64], calibrator: Calibrator) -> None:
    """Draws reliability before and after calibration; the samples must not be those it was fitted on."""
    samples = [per_sample(logits, labels, chosen) for chosen in (None, calibrator)]
    before, after = (reliability_bins(s.confidence, s.correct, BINS) for s in samples)
    errors = [ece_equal_width(s.confidence, s.correct, BINS) for s in samples]
    temperature = calibrator.parameters()["temperature"]
    reliability_figure(
        path,
        before,
        after,
        labels=(
            f"before: raw\nexpected calibration error {errors[0]:.3f}",
            f"after: divided by temperature {temperature:.2f}\nexpected calibration error {errors[1]:.3f}",
        ),
        title=f"How often the network is right, by how sure it is ({len(labels)} held-out images)",
    )


def _rows(table: pa.Table, *columns: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in columns), strict=True)
