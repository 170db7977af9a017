"""Fewer passes, honestly: what a tolerance promises, replayed on recorded curves.

Reads the files of `record_curves.py`. The first 200 images of each file test, those after them tune (the law from
tolerance to spacing, one phase against two). A replay draws N images with replacement, each draw with residual points
of its own; the truth is the mean of the full curves drawn. Cells are network × method × curve × read-out.

    python benchmarks/record_curves.py --out curves/ && python benchmarks/tolerance.py --curves curves/
    python benchmarks/tolerance.py --curves curves/ --fit        the law, from the tuning images
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import common
import numpy as np

from c2i_fast.perturb.bisection import bisect
from c2i_fast.perturb.sampled import IMAGES, SampledDesign, design, inclusion, sample_at
from c2i_fast.reliability.numeric import numeric_half_width
from c2i_fast.types import Doubles

SIZES = (1, 2, 5, 10, 30, 100, 300, 1000)
STARTS = 64  # draws made of each curve, one in each 64th of the range of starts
TEST_IMAGES = 200
SPACINGS = (0.0075, 0.01, 0.015, 0.02, 0.03, 0.045)
Z95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One network × method × curve × read-out: truths (I,) and STARTS estimates of each image.

    Attributes:
        errors, halves, passes: (I, STARTS); passes are points evaluated, both ends included.
    """

    name: tuple[str, str, str, str]
    truth: Doubles
    errors: Doubles
    halves: Doubles
    passes: Doubles

    @property
    def rms(self) -> float:
        """The error of one image."""
        return float(np.sqrt((self.errors**2).mean()))


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A file's curves of some images, (methods, read-outs, curves, images, points)."""

    net: str
    curves: Doubles
    x: Doubles
    methods: list[str]
    readouts: list[str]
    metrics: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, required=True, help="the folder that record_curves.py wrote")
    parser.add_argument("--net", action="append", help="only these files (repeatable)")
    parser.add_argument("--tolerance", type=float, action="append", help="repeatable; default 0.001, 0.002 and 0.005")
    parser.add_argument("--replays", type=int, default=2000, help="%(default)s")
    parser.add_argument("--fit", action="store_true", help="fit the law on the tuning images instead")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the numbers mean nothing")
    options = parser.parse_args()
    options.threads = 1
    files = [p for p in sorted(options.curves.glob("*.npz")) if not options.net or p.stem in options.net]
    if options.fit:
        tuning = [data for data in (_read(path, tuning=True) for path in files) if data.curves.shape[3]]
        common.emit("tolerance", _plain(options), {"fit": _fit(tuning), "phases": _phases(tuning)})
        return
    test = [_read(path, tuning=False) for path in files]
    replays = 50 if options.quick else options.replays
    found = [_at(test, tolerance, replays) for tolerance in options.tolerance or (0.001, 0.002, 0.005)]
    content = {"includes": __doc__, "tolerances": found, "grid29": _grid(test), "bisection": _bisection(test)}
    common.emit("tolerance", _plain(options), content)


def _plain(options: argparse.Namespace) -> argparse.Namespace:
    options.curves = str(options.curves)
    return options


def _read(path: Path, *, tuning: bool) -> Recorded:
    with np.load(path) as data:
        curves = data["curves"]
        curves = curves[:, :, :, TEST_IMAGES:] if tuning else curves[:, :, :, :TEST_IMAGES]
        names = {name: data[name].tolist() for name in ("methods", "readouts", "metrics")}
        return Recorded(net=path.stem, curves=curves, x=np.asarray(data["fractions"]), **names)


# ------------------------------------------------------------------------------------------------ sampling


def _cells(data: Recorded, plan: SampledDesign, *, blind: bool = False) -> Iterator[Cell]:
    """Yields the cells of a file; `blind` samples by a constant instead of the coarse values: the one-phase design."""
    for m, method in enumerate(data.methods):
        made = [_family(data.curves[m, :, c], plan, seed=(m, c), blind=blind) for c in range(len(data.metrics))]
        gap = _gap(made)
        for r, readout in enumerate(data.readouts):
            for curve, (truth, first, second, passes) in zip([*data.metrics, "gap"], [*made, gap], strict=True):
                errors = (first[r] + second[r]) / 2 - truth[r][:, None]
                halves = (first[r] - second[r]) / 2
                name = (data.net, method, curve, readout)
                yield Cell(name=name, truth=truth[r], errors=errors, halves=halves, passes=passes)


def _family(curves: Doubles, plan: SampledDesign, *, seed: tuple[int, ...], blind: bool) -> tuple[Doubles, ...]:
    """Returns truths (R, I), both estimates (R, I, STARTS) and points (I, STARTS) of curves (R, I, n+1).

    The first read-out is the raw probability, which decides where is sampled for all.
    """
    random = np.random.default_rng(seed)
    readouts, images, _ = curves.shape
    found, passes = np.empty((2, readouts, images, STARTS)), np.empty((images, STARTS))
    for i in range(images):
        values = curves[:, i]
        coarse = np.full(len(plan.coarse), 0.5) if blind else values[0, plan.coarse]
        starts = (random.permutation(STARTS) + random.random(STARTS)) / STARTS
        for t, start in enumerate(starts):
            sample = sample_at(plan, coarse, start)
            found[:, :, i, t] = sample.coefficients @ values[:, sample.points].T
            passes[i, t] = len(sample.points)
    return curves @ plan.weights, found[0], found[1], passes


def _gap(made: list[tuple[Doubles, ...]]) -> tuple[Doubles, ...]:
    (truth, first, second, passes), (truth_l, first_l, second_l, passes_l) = made
    return truth_l - truth, first_l - first, second_l - second, passes_l + passes


def _rms_and_points(data: list[Recorded], plan: SampledDesign, *, blind: bool = False) -> tuple[Doubles, Doubles]:
    cells = [c for d in data for c in _cells(d, plan, blind=blind) if c.name[2] != "gap"]
    return np.array([c.rms for c in cells]), np.array([c.passes.mean() for c in cells])


# ------------------------------------------------------------------------------------------------ tuning


def _fit(data: list[Recorded]) -> dict[str, Any]:
    """Returns spacing = scale · tolerance^power from the worst cell's error at several spacings."""
    rows = []
    for spacing in SPACINGS:
        errors, points = _rms_and_points(data, replace(design(data[0].x, 0.001), spacing=spacing))
        tolerance = Z95 * errors.max() / np.sqrt(IMAGES)
        rows.append({"spacing": spacing, "tolerance": tolerance, "points": points.mean(), "worst_rms": errors.max()})
        common.say(f"spacing {spacing}: worst error {errors.max():.4f}, {points.mean():.1f} points")
    power, log_scale = np.polyfit(np.log([r["tolerance"] for r in rows]), np.log(SPACINGS), 1)
    common.say(f"spacing = {np.exp(log_scale):.4g} · tolerance^{power:.4g}")
    return {"scale": float(np.exp(log_scale)), "power": float(power), "rows": rows}


def _phases(data: list[Recorded]) -> list[dict[str, Any]]:
    """Returns the errors of one phase (the same density for every curve) and of two at as many points in the mean."""
    rows = []
    plan = design(data[0].x, 0.001)
    errors, points = _rms_and_points(data, plan)
    half = np.full(len(plan.coarse), 0.5)
    expected = inclusion(replace(plan, spacing=1.0), half).sum() - len(plan.coarse)  # Σ size / 2
    blind = replace(plan, spacing=2 * expected / (points.mean() - len(plan.coarse)))
    for name, found in (("two", (errors, points)), ("one", _rms_and_points(data, blind, blind=True))):
        errors, points = found
        rows.append({"phases": name, "points": float(points.mean()), "most_points": float(points.max())})
        rows[-1] |= {"worst_rms": float(errors.max()), "median_rms": float(np.median(errors))}
        rows[-1] |= {"pooled_rms": float(np.sqrt((errors**2).mean()))}
        common.say(str(rows[-1]))
    return rows


# ------------------------------------------------------------------------------------------------ testing


def _at(test: list[Recorded], tolerance: float, replays: int) -> dict[str, Any]:
    """Returns everything asked of one tolerance: a row a cell, the worst of each number, the honest total."""
    plan = design(test[0].x, tolerance)
    cells = [cell for data in test for cell in _cells(data, plan)]
    rows = [_replayed(cell, replays, tolerance) for cell in cells]
    singles = [row for row in rows if row["cell"][2] != "gap"]
    points = len(plan.x)
    summary = {
        "tolerance": tolerance,
        "points": float(np.mean([row["points"] for row in singles])),
        "most_points": max(row["points"] for row in singles),
        "share": float(np.mean([row["points"] for row in singles])) / points,
        "within": min((row["within"], row["cell"]) for row in singles),
        "within_median": float(np.median([row["within"] for row in singles])),
        "coverage": {n: min((row["coverage"][n], row["cell"]) for row in rows) for n in SIZES},
        "total": _honest_total(cells, points),
    }
    _show(summary, rows)
    return summary | {"cells": rows}


def _replayed(cell: Cell, replays: int, tolerance: float) -> dict[str, Any]:
    random = np.random.default_rng(0)
    images, draws = cell.errors.shape
    coverage, width, within = {}, {}, 0.0
    for size in SIZES:
        rows, columns = random.integers(images, size=(replays, size)), random.integers(draws, size=(replays, size))
        errors = np.abs(cell.errors[rows, columns].mean(1))
        widths = numeric_half_width(cell.halves[rows, columns])
        coverage[size] = float((errors <= widths + 1e-12).mean())
        width[size] = float(np.median(widths))
        if size == IMAGES:
            within = float((errors <= tolerance).mean())
    return {
        "cell": cell.name,
        "points": float(cell.passes.mean()),
        "rms": cell.rms,
        "bias": float(cell.errors.mean()),
        "variance_ratio": float((cell.halves**2).mean() / (cell.errors**2).mean()),
        "within": within,
        "coverage": coverage,
        "half_width": width,
    }


def _honest_total(cells: list[Cell], points: int) -> dict[str, Any]:
    """Returns passes for one standard error of a paired difference, full protocol ÷ ours, over all pairs of methods.

    Full: points · s². Ours: points evaluated · (s² + numeric variance), s² the variance of the difference over images.
    """
    found = []
    for a, b in combinations(cells, 2):
        if (a.name[0], *a.name[2:]) != (b.name[0], *b.name[2:]):
            continue
        curves = 2 if a.name[2] == "gap" else 1
        spread = float(np.var(a.truth - b.truth, ddof=1))
        numeric = a.rms**2 + b.rms**2
        ours = (a.passes.mean() + b.passes.mean()) * (spread + numeric)
        found.append((2 * curves * points * spread / ours, [*a.name, b.name[1]]))
    ratios = [ratio for ratio, _ in found]
    return {"worst": min(found), "median": float(np.median(ratios)), "best": max(ratios), "pairs": len(ratios)}


def _grid(test: list[Recorded], points: int = 29) -> dict[str, Any]:
    """Returns the bias of the mean over the test images that a uniform grid of 29 points has, for orientation."""
    found = []
    for data in test:
        grid = np.unique(np.rint(np.linspace(0, len(data.x) - 1, points)).astype(int))
        errors = np.trapezoid(data.curves[..., grid], data.x[grid]) - np.trapezoid(data.curves, data.x)
        found.append((float(np.abs(errors.mean(-1)).max()), float(np.sqrt((errors**2).mean(-1)).max()), data.net))
    return {"points": points, "worst_bias": max(found)[0], "worst_rms": max(rms for _, rms, _ in found)}


def _bisection(test: list[Recorded], points: int = 31) -> dict[str, Any]:
    """Returns bias and error of the heuristic on every raw curve."""
    found = []
    for data in test:
        for curve in data.curves[:, 0].reshape(-1, data.curves.shape[3], len(data.x)):
            areas = np.array([bisect(data.x, values.__getitem__, points).area() for values in curve])
            errors = areas - np.trapezoid(curve, data.x)
            found.append((abs(float(errors.mean())), float(np.sqrt((errors**2).mean()))))
    return {"points": points, "worst_bias": max(f[0] for f in found), "worst_rms": max(f[1] for f in found)}


def _show(summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    columns = ("cell", "points", "error of an image", f"within at {IMAGES}", "coverage at 1", "10", "100", "1000")
    lines = [
        [" ".join(row["cell"]), f"{row['points']:.1f}", f"{row['rms']:.4f}", f"{row['within']:.3f}"]
        + [f"{row['coverage'][n]:.3f}" for n in (1, 10, 100, 1000)]
        for row in rows
    ]
    total = summary["total"]
    common.show(f"tolerance {summary['tolerance']}", columns, lines)
    common.say(f"{summary['points']:.1f} points ({summary['share']:.3f}), at most {summary['most_points']:.1f}")
    common.say(f"worst: within {summary['within']}, coverage {min(summary['coverage'].values())}")
    common.say(f"honest total: worst {total['worst'][0]:.1f}, median {total['median']:.1f}, best {total['best']:.1f}")


if __name__ == "__main__":
    main()
