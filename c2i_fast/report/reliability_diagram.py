"""The reliability diagram of one model: accuracy against confidence, and what a calibrated model would have shown.

Two panels share the confidence axis: accuracy above, the number of samples below. The grey band is the consistency
band of Bröcker and Smith (2007): points inside it are what chance gives a calibrated model with these confidences.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.error import check_outcomes
from c2i_fast.calibration.measures.binned import ece
from c2i_fast.calibration.measures.binning import Binning, bin_index, check_bins, equal_mass_edges
from c2i_fast.calibration.measures.smooth import SmoothCurve, smooth_accuracy, smooth_ece
from c2i_fast.errors import InputError
from c2i_fast.report.figures import BLACK, BLUE, GREY, VERMILION, new_figure
from c2i_fast.results.files import write_atomically
from c2i_fast.types import Doubles, Ints, frozen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWS = 1000
FORMATS = (".png", ".svg")
# Where fewer than this many samples are within reach, the curve is one sample's outcome and not drawn.
CURVE_SAMPLES = 5.0
LINEAR_UP_TO = 20.0
CONVENTIONS = {
    "gpleiss": "equal-width bins (lo, hi]",
    "torchmetrics": "equal-width bins [lo, hi), an extra one for 1",
    "netcal": "equal-width bins [lo, hi)",
    "equal-mass": "equal-mass bins (lo, hi]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagramBins:
    """The bins of a diagram and what chance would make of them; each B long but the edges, NaN where a bin is empty.

    Attributes:
        edges: float64 (B+1,), from 0 to 1; the extra bin of `torchmetrics` has the width 0.
        counts: int32 (B,).
        confidence: float64 (B,), mean confidence.
        accuracy: float64 (B,), share of correct samples.
        low: float64 (B,), 2.5 % quantile of the accuracy if every confidence came true.
        high: float64 (B,), its 97.5 % quantile.
    """

    edges: Doubles
    counts: Ints
    confidence: Doubles
    accuracy: Doubles
    low: Doubles
    high: Doubles

    def __post_init__(self) -> None:
        for name in ("edges", "counts", "confidence", "accuracy", "low", "high"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


def diagram_bins(
    confidence: ArrayLike, correct: ArrayLike, binning: Binning = "gpleiss", bins: int | None = None, seed: int = 0
) -> DiagramBins:
    """Returns counts, mean confidence, accuracy and the 95 % consistency band of each bin.

    The band holds the accuracies of 1000 sets of outcomes drawn from the confidences themselves.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, or bool.
        binning: `gpleiss`, `torchmetrics`, `netcal` or `equal-mass`.
        bins: B; None takes the convention's own.
        seed: of the draws.

    Raises:
        InputError: outcomes, convention or number of bins that cannot be used.

    Example:
        >>> result = diagram_bins([0.9] * 100, [1] * 50 + [0] * 50, bins=10)
        >>> result.counts[8], result.accuracy[8], result.low[8] > 0.8
        (np.int32(100), np.float64(0.5), np.True_)
    """
    sure, right = check_outcomes(confidence, correct)
    count, index = check_bins(bins, binning), bin_index(sure, binning, bins)
    edges = np.linspace(0, 1, count + 1)
    if binning == "equal-mass":
        edges = np.concatenate([[0.0], equal_mass_edges(sure, count), [1.0]])
    if binning == "torchmetrics":
        edges = np.append(edges, 1.0)
    size = len(edges) - 1
    counts = np.bincount(index, minlength=size)
    divisor = np.where(counts > 0, counts, np.nan)
    low, high = _chance(sure, index, size, seed) / divisor
    return DiagramBins(
        edges=edges,
        counts=counts.astype(np.int32),
        confidence=np.bincount(index, sure, size) / divisor,
        accuracy=np.bincount(index, right, size) / divisor,
        low=low,
        high=high,
    )


def _chance(sure: Doubles, index: NDArray[np.intp], size: int, seed: int) -> Doubles:
    """Quantiles (2, B) of the number of correct samples of each bin of a calibrated model."""
    random = np.random.default_rng([seed])
    hits = np.empty((DRAWS, size))
    for draw in range(DRAWS):
        hits[draw] = np.bincount(index[random.random(len(sure)) < sure], minlength=size)
    return np.quantile(hits, [0.025, 0.975], axis=0)


def reliability_diagram(
    *paths: Path,
    confidence: ArrayLike,
    correct: ArrayLike,
    title: str,
    binning: Binning = "gpleiss",
    bins: int | None = None,
    seed: int = 0,
    axes: tuple[str, str] = ("confidence in the predicted class", "accuracy: share predicted right"),
) -> None:
    """Draws bins, smooth curve, consistency band and counts into files, PNG or SVG by their names.

    The same arguments give the same bytes.

    Args:
        paths: ending in `.png` or `.svg`; folders are made.
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, or bool.
        title: of the figure, e.g. the model and whether it is calibrated.
        binning: `gpleiss`, `torchmetrics`, `netcal` or `equal-mass`.
        bins: B; None takes the convention's own.
        seed: of the band's draws.
        axes: what the two axes show.

    Raises:
        InputError: another ending; outcomes, convention or number of bins that cannot be used.
        MissingDependencyError: matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "toy.svg"
        >>> reliability_diagram(path, confidence=[0.9, 0.8, 0.6], correct=[1, 0, 1], title="toy")
        >>> path.read_text(encoding="utf-8").count("<svg")
        1
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise InputError(f"expected a figure named .png or .svg, got {path.name!r}")
    result = diagram_bins(confidence, correct, binning, bins, seed)
    figure = new_figure(4.6, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    _accuracy_panel(above, result, smooth_accuracy(confidence, correct, sigma=_width(int(result.counts.sum()))))
    above.set_ylabel(axes[1])
    _counts_panel(below, result)
    errors = f"ECE {ece(confidence, correct, binning, bins):.3f}   smooth ECE {smooth_ece(confidence, correct):.3f}"
    figure.suptitle(title, fontsize=11)
    above.set_title(f"{int(result.counts.sum()):,} samples   {errors}", fontsize=9)
    below.set_xlabel(f"{axes[0]}\n{_convention(binning, result)}")
    for path in paths:
        _save(figure, path)


def _width(samples: int) -> float:
    """Of the curve's kernel. That of smooth ECE is as large as the error, and would blur just the worst models."""
    return float(np.clip(samples ** (-1 / 3) / 2, 0.02, 0.05))


def _convention(binning: str, bins: DiagramBins) -> str:
    return f"{len(bins.edges) - 1 - (binning == 'torchmetrics')} {CONVENTIONS[binning]}"


def _accuracy_panel(axes: Axes, bins: DiagramBins, curve: SmoothCurve) -> None:
    _band(axes, bins)
    axes.plot([0, 1], [0, 1], color=BLACK, linestyle="--", linewidth=1, label="perfectly calibrated")
    seen = curve.density * bins.counts.sum() * curve.sigma * np.sqrt(2 * np.pi) >= CURVE_SAMPLES
    smooth = np.where(seen, curve.accuracy, np.nan)
    axes.plot(curve.at, smooth, color=VERMILION, linewidth=1.8, label=f"smooth, kernel width {curve.sigma:.3f}")
    points = axes.plot(bins.confidence, bins.accuracy, "o", color=BLUE, label="bins", clip_on=False)
    points[0].set(markeredgecolor="white", markersize=6.5, zorder=4)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", edgecolor="none", framealpha=0.85, fontsize=8.5)


def _band(axes: Axes, bins: DiagramBins) -> None:
    """A box a bin, about the diagonal at the bin's mean confidence."""
    filled = bins.counts > 0
    axes.bar(
        bins.edges[:-1][filled],
        (bins.high - bins.low)[filled],
        width=np.diff(bins.edges)[filled],
        bottom=bins.low[filled],
        align="edge",
        color=GREY,
        alpha=0.35,
        linewidth=0,
        label="95 % of calibrated models",
    )


def _counts_panel(axes: Axes, bins: DiagramBins) -> None:
    """Bars as high as the counts, on a scale that shows few beside many."""
    shown = np.diff(bins.edges) > 0
    axes.bar(
        bins.edges[:-1][shown],
        bins.counts[shown],
        width=np.diff(bins.edges)[shown],
        align="edge",
        color=BLUE,
        edgecolor="white",
        linewidth=0.6,
    )
    uneven = bins.counts.max() > LINEAR_UP_TO * np.median(bins.counts[bins.counts > 0])
    if uneven:
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(bottom=0)
    axes.set_ylabel("samples, log" if uneven else "samples")
    axes.grid(alpha=0.25, axis="y")


def _save(figure: Figure, path: Path) -> None:
    import matplotlib as mpl

    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix[1:]
    # An SVG's ids and date are random otherwise, and no two runs would give the same file.
    metadata = {"Date": None} if kind == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "c2i-fast"}):
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=kind, metadata=metadata, dpi=200))
