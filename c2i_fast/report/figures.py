"""Figures as PNG: curves, maps over images, reliability diagrams. matplotlib is loaded by what draws.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; a method has the same one in every figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution import CONTROLS, METHODS
from c2i_fast.calibration.error import ReliabilityBins
from c2i_fast.errors import MissingDependencyError
from c2i_fast.results.files import write_atomically
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import LineStyleType

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, BLACK = "#999999", "#000000"
METHOD_COLOURS = (
    *(BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY),  # Okabe and Ito's; then Tol's muted ones and as many darker
    *("#332288", "#117733", "#44AA99", "#88CCEE", "#DDCC77", "#CC6677", "#AA4499", "#882255", "#999933", "#661100"),
    *("#6699CC", "#004488", "#BB5566", "#8C564B", "#5D3A9B", "#994F00", "#40B0A6", "#4B0092", "#E1BE6A", "#006CD1"),
)
CONTROL_STYLES: Mapping[str, tuple[str, LineStyleType]] = {
    "random": (GREY, (0, (1, 1.5))),
    "smooth-random": (BLACK, (0, (5, 2))),
    "sobel": (PURPLE, (0, (5, 1.5, 1, 1.5))),
    "center": (ORANGE, (0, (3, 1.5))),
}
DPI = 150
SHOWN_QUANTILE = 0.99
PROBABILITIES = ("raw", "calibrated", "sigmoid")
STARTS = {"deletion": "image", "insertion": "baseline"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCurve:
    """The mean of a curve over images, with the 95 % interval of the mean at each point; all float64 (n+1,)."""

    fractions: Doubles
    mean: Doubles
    low: Doubles
    high: Doubles


CurveKey = tuple[str, str, str]
"""(method, metric, read-out)."""


def mean_curves(rows: Iterable[tuple[str, str, str, Sequence[float], Sequence[float]]]) -> dict[CurveKey, MeanCurve]:
    """Returns the mean curves of rows (method, metric, read-out, fractions, values), one row an image.

    The curves of one key must share their fractions, as curves of images of one size do.
    """
    from scipy.stats import t

    grouped: dict[CurveKey, list[tuple[Sequence[float], Sequence[float]]]] = {}
    for *key, fractions, values in rows:
        grouped.setdefault((key[0], key[1], key[2]), []).append((fractions, values))
    curves = {}
    for name, pairs in grouped.items():
        x, y = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        if (x != x[0]).any():
            raise ValueError(f"the curves {name} have different fractions and no mean")
        count, mean = len(y), y.mean(axis=0)
        half = t.ppf(0.975, count - 1) * y.std(axis=0, ddof=1) / count**0.5 if count > 1 else np.zeros_like(mean)
        curves[name] = MeanCurve(fractions=x[0], mean=mean, low=mean - half, high=mean + half)
    return curves


def curves_figure(path: Path, curves: Mapping[CurveKey, MeanCurve], *, title: str) -> None:
    """Draws one panel for each metric (columns) and read-out (rows), one line a method; controls are broken lines."""
    metrics = list(dict.fromkeys(metric for _, metric, _ in curves))
    readouts = list(dict.fromkeys(readout for _, _, readout in curves))
    methods = in_order(method for method, _, _ in curves)
    figure = new_figure(4.4 * len(metrics) + 2.2, 3.3 * len(readouts) + 0.7)
    panels = figure.subplots(len(readouts), len(metrics), squeeze=False, sharex=True, sharey="row")
    for row, readout in zip(panels, readouts, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            for method in methods:
                if (method, metric, readout) in curves:
                    _line(axes, method, curves[method, metric, readout])
            axes.set_title(f"{metric}, {_readout(readout)}")
            axes.set_xlim(0, 1)
            if readout in PROBABILITIES:  # one scale, so that raw and calibrated can be compared
                axes.set_ylim(0, 1)
            axes.grid(alpha=0.25)
        row[0].set_ylabel(f"{_readout(readout)}\nof the predicted class")
    for axes, metric in zip(panels[-1], metrics, strict=True):
        changed = "removed" if STARTS.get(metric.removesuffix("-lerf")) == "image" else "revealed"
        axes.set_xlabel(f"share of pixels {changed}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", title="ranked by", frameon=False)
    figure.suptitle(title)
    _save(figure, path)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One row of the overlays.

    Attributes:
        image: (H, W) grey or (H, W, 3), in [0, 1].
        maps: (H, W) by method.
        truth: bool (H, W), or None where it is not known.
        caption: of the row.
    """

    image: NDArray[Any]
    maps: Mapping[str, NDArray[Any]]
    truth: NDArray[np.bool_] | None = None
    caption: str = ""


def overlays_figure(path: Path, examples: Sequence[Example], *, title: str) -> None:
    """Draws a row for each example: the image, its maps over it, the truth; the truth's outline is in every panel.

    Each map has its own scale, from its least value (transparent) to its 99th percentile.
    """
    methods = in_order(method for example in examples for method in example.maps)
    with_truth = any(example.truth is not None for example in examples)
    columns = ["image", *methods, *(["ground truth"] if with_truth else [])]
    figure = new_figure(1.45 * len(columns) + 0.5, 1.5 * len(examples) + 1.2)
    panels = figure.subplots(len(examples), len(columns), squeeze=False)
    for row, example in zip(panels, examples, strict=True):
        for axes, column in zip(row, columns, strict=True):
            _panel(axes, example, column)
        row[0].set_ylabel(example.caption)
    for axes, column in zip(panels[0], columns, strict=True):
        axes.set_title(f"{column}\n(control)" if column in CONTROLS else column)
    figure.suptitle(title)
    _save(figure, path)


def reliability_figure(
    path: Path, before: ReliabilityBins, after: ReliabilityBins, *, labels: tuple[str, str], title: str
) -> None:
    """Draws accuracy against confidence before and after calibration, and how many predictions each bin holds."""
    figure = new_figure(8.4, 5.2)
    panels = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(3, 1))
    for column, (bins, label) in enumerate(zip((before, after), labels, strict=True)):
        _diagram(panels[0, column], bins)
        panels[0, column].set_title(label)
        panels[1, column].bar(**_bars(bins), height=bins.counts, color=GREY, edgecolor="white")
        panels[1, column].set_xlabel("confidence: probability of the predicted class")
        panels[1, column].grid(alpha=0.25, axis="y")
    panels[0, 0].set_ylabel("accuracy: share predicted right")
    panels[1, 0].set_ylabel("images")
    panels[0, 0].legend(loc="upper left", frameon=False)
    figure.suptitle(title)
    _save(figure, path)


def in_order(methods: Iterable[str]) -> list[str]:
    """Returns each method once: those of ours as `list methods` has them, then the others as they came.

    Example:
        >>> in_order(["center", "mine", "rise"])
        ['rise', 'center', 'mine']
    """
    seen = dict.fromkeys(methods)
    return [name for name in METHODS if name in seen] + [name for name in seen if name not in METHODS]


def style_of(method: str) -> tuple[str, LineStyleType]:
    """Returns the colour and line of a method, the same in every figure; unknown names take a colour by their hash."""
    if method in CONTROL_STYLES:
        return CONTROL_STYLES[method]
    ours = [name for name in METHODS if name not in CONTROLS]
    number = ours.index(method) if method in ours else len(ours) + sum(method.encode())
    return METHOD_COLOURS[number % len(METHOD_COLOURS)], "-"


def _line(axes: Axes, method: str, curve: MeanCurve) -> None:
    colour, line = style_of(method)
    control = method in CONTROLS
    label = f"{method} (control)" if control else method
    axes.plot(curve.fractions, curve.mean, color=colour, linestyle=line, linewidth=1.5 if control else 2.2, label=label)
    if not control:  # seven bands would hide the lines
        axes.fill_between(curve.fractions, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)


def _readout(name: str) -> str:
    return {"raw": "raw probability", "calibrated": "calibrated probability"}.get(name, name)


def _panel(axes: Axes, example: Example, column: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(example.image, cmap="gray", vmin=0, vmax=1)
    if column in example.maps:
        values = np.asarray(example.maps[column], np.float64)
        top = np.quantile(values, SHOWN_QUANTILE)  # a few spikes must not hide the rest
        spread = max(float((top if top > values.min() else values.max()) - values.min()), 1e-12)
        shown = np.clip((values - values.min()) / spread, 0, 1)
        axes.imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=0.25 + 0.6 * shown)
    if example.truth is None:
        return
    if column == "ground truth":
        axes.imshow(example.truth, cmap="gray", vmin=0, vmax=1)
    elif column != "image":
        axes.contour(example.truth, levels=[0.5], colors=SKY, linewidths=1.2)


def _diagram(axes: Axes, bins: ReliabilityBins) -> None:
    axes.plot([0, 1], [0, 1], color=BLACK, linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.bar(**_bars(bins), height=np.nan_to_num(bins.accuracy), color=BLUE, edgecolor="white", label="accuracy")
    filled = bins.counts > 0
    gap = bins.confidence - bins.accuracy
    axes.bar(
        bins.edges[:-1][filled],
        gap[filled],
        bottom=bins.accuracy[filled],
        width=np.diff(bins.edges)[filled],
        align="edge",
        facecolor="none",
        edgecolor=VERMILION,
        hatch="///",
        label="gap to the confidence",
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.25)


def _bars(bins: ReliabilityBins) -> dict[str, Any]:
    return {"x": bins.edges[:-1], "width": np.diff(bins.edges), "align": "edge"}


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of that many inches; no window system and no global state is touched."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib", "report") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
