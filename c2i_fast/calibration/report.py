"""Fit calibrators on one part of the samples and say on the other what they changed: the work of `calibrate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits, data_notes
from c2i_fast.calibration.choose import Choice, choose
from c2i_fast.calibration.error import SampleMeasures, ece_equal_width, per_sample
from c2i_fast.calibration.interface import CALIBRATORS, GraphCalibrator, check_activation
from c2i_fast.calibration.label_error import LabelMeasures
from c2i_fast.calibration.split import split_samples
from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Doubles

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Mean measures of a part: NLL, ECE (15 equal-width bins, `(lo,hi]`), Brier (0..2) and accuracy."""

    nll: float
    ece: float
    brier: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedChange:
    """A mean difference after − before over samples, with its 95 % interval (None for a single sample)."""

    mean: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResult:
    """One calibrator, fitted, and what it did to the held-out part (None where there is none).

    `cross_validated_nll` is that of `auto`, on the fit part; None for methods asked for by name.
    """

    calibrator: GraphCalibrator
    fit_nll: float
    after: Measures | LabelMeasures | None
    nll_change: PairedChange | None
    cross_validated_nll: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the keys that describe one method."""
        return {
            "method": self.calibrator.method,
            "parameters": self.calibrator.parameters(),
            "after": None if self.after is None else asdict(self.after),
            "argmax_preserving": self.calibrator.preserves_order,
            "nll_change": None if self.nll_change is None else asdict(self.nll_change),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """What `calibrate` says. `dataclasses.replace(report, path=…)` once the calibrator is saved.

    Attributes:
        results: every method asked for, in that order; of `auto` every one that could be fitted, best first.
        chosen: of `auto` the one of lowest cross-validated NLL, else of lowest held-out NLL; with nothing held out, of
            lowest NLL on the fit part.
        before: the uncalibrated measures of the held-out part; None with nothing held out.
        notes: what a reader must know to believe the numbers; empty if nothing.
    """

    results: tuple[MethodResult, ...]
    chosen: MethodResult
    n_fit: int
    n_test: int
    before: Measures | LabelMeasures | None
    notes: tuple[str, ...] = ()
    path: str | None = None

    @property
    def calibrator(self) -> GraphCalibrator:
        """The chosen calibrator, fitted on the fit part."""
        return self.chosen.calibrator

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary of `calibrate --json`; `methods` only if there were several."""
        chosen = self.chosen.to_dict()
        summary = {
            "method": chosen.pop("method"),
            "parameters": chosen.pop("parameters"),
            "n_fit": self.n_fit,
            "n_test": self.n_test,
            "before": None if self.before is None else asdict(self.before),
            **chosen,
            "path": self.path,
            "notes": list(self.notes),
        }
        if len(self.results) > 1:
            summary["methods"] = [_with_losses(result) for result in self.results]
        return summary


def _with_losses(result: MethodResult) -> dict[str, Any]:
    content = result.to_dict() | {"fit_nll": result.fit_nll}
    if result.cross_validated_nll is not None:
        content["cross_validated_nll"] = result.cross_validated_nll
    return content


def fit_report(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    methods: Sequence[str] = ("temperature",),
    fit_fraction: float = 0.5,
    seed: int = 0,
) -> CalibrationReport:
    """Returns calibrators fitted on a seeded, stratified part, judged on the rest, the best of them chosen.

    Args:
        logits: (N, K), raw.
        labels: int (N,), one class a sample.
        methods: names in `CALIBRATORS`; or `auto` alone, which takes the one of lowest cross-validated NLL on the part
            that is fitted on.
        fit_fraction: share of the samples to fit on; 1 holds out nothing, and there is no before and after.
        seed: of the split.

    Raises:
        InputError: an unknown method; logits, labels or a fraction that cannot be used (rows that are not finite are
            counted).

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 8), np.array([0, 0, 0, 1] * 2)
        >>> round(fit_report(logits, labels).calibrator.parameters()["temperature"], 4)
        1.8205
    """
    names = check_methods(methods)
    rows = check_logits(logits)
    classes = check_labels(labels, rows)
    split = split_samples(classes, fit_fraction, seed)
    fit_rows, fit_labels = rows[split.fit], classes[split.fit]
    choice = choose(fit_rows, fit_labels, seed) if names == (AUTO,) else None
    calibrators = [CALIBRATORS[name]() for name in (choice.names if choice else names)]
    fit_nll = _fit_all(calibrators, fit_rows, fit_labels)
    held_out, held_labels = rows[split.test], classes[split.test]
    before = per_sample(held_out, held_labels) if len(held_out) else None
    results = tuple(
        _judge(calibrator, fitted, held_out, held_labels, before, choice)
        for calibrator, fitted in zip(calibrators, fit_nll, strict=True)
    )
    return CalibrationReport(
        results=results,
        chosen=results[0] if choice else best_of(results),
        n_fit=len(split.fit),
        n_test=len(split.test),
        before=None if before is None else _measures(before),
        notes=(*data_notes(fit_rows, fit_labels), *result_notes(results, split.note, len(split.test), choice)),
    )


def check_methods(methods: Sequence[str], activation: Activation | None = "softmax") -> tuple[str, ...]:
    """Returns the names without repeats; each must be known, and serve such a head unless that is not known yet."""
    names = tuple(dict.fromkeys(methods))
    if not names:
        raise InputError("expected at least one calibration method, got none; see: c2i-fast list calibrators")
    if AUTO in names and len(names) > 1:
        raise InputError(f"auto tries every method; give it alone, not with {', '.join(set(names) - {AUTO})}")
    for name in names:
        if name != AUTO:
            kind = CALIBRATORS[name]
            check_activation(kind, activation or kind.activations[0])
            if kind.needs_perturbed_fraction:
                raise InputError(
                    f"{name} is fitted and judged on masked images: give MODEL and --images, and no other method"
                )
    return names


def _fit_all(calibrators: Sequence[GraphCalibrator], logits: NDArray[Any], labels: NDArray[np.int64]) -> list[float]:
    """Fits each calibrator in place and returns its NLL on what it was fitted on."""
    return [float(per_sample(logits, labels, each.fit(logits, labels)).nll.mean()) for each in calibrators]


def _judge(
    calibrator: GraphCalibrator,
    fit_nll: float,
    logits: NDArray[Any],
    labels: NDArray[np.int64],
    before: SampleMeasures | None,
    choice: Choice | None,
) -> MethodResult:
    validated = None if choice is None else float(choice.losses[calibrator.method].mean())
    after = None if before is None else per_sample(logits, labels, calibrator)
    return MethodResult(
        calibrator=calibrator,
        fit_nll=fit_nll,
        after=None if after is None else _measures(after),
        nll_change=None if after is None or before is None else mean_change(after.nll - before.nll),
        cross_validated_nll=validated,
    )


def _measures(samples: SampleMeasures) -> Measures:
    return Measures(
        nll=float(samples.nll.mean()),
        ece=ece_equal_width(samples.confidence, samples.correct),
        brier=float(samples.brier.mean()),
        accuracy=float(samples.correct.mean()),
    )


def mean_change(differences: Doubles) -> PairedChange:
    """Returns the mean of paired differences (N,) and its 95 % Student t interval, mean ± t(N−1)·s/√N.

    Example:
        >>> [round(end, 3) for end in mean_change(np.array([-1.0, -2.0, -3.0])).ci95]
        [-4.484, 0.484]
    """
    from scipy.special import stdtrit

    count, mean = len(differences), float(differences.mean())
    if count == 1:
        return PairedChange(mean=mean, ci95=None)
    half = float(stdtrit(count - 1, 0.975) * differences.std(ddof=1) / np.sqrt(count))
    return PairedChange(mean=mean, ci95=(mean - half, mean + half))


def best_of(results: Sequence[MethodResult]) -> MethodResult:
    """Returns the method of lowest held-out NLL, or with nothing held out of lowest NLL on the fit part."""
    return min(results, key=lambda result: result.fit_nll if result.after is None else result.after.nll)


def result_notes(
    results: Sequence[MethodResult], split_note: str | None, held_out: int, choice: Choice | None
) -> list[str]:
    """Returns what a reader must know of fitted methods to believe the numbers."""
    notes = [] if split_note is None else [split_note]
    if held_out == 0:
        notes.append("fitted on every sample: nothing was held out to judge by")
    if held_out == 1:
        notes.append("one sample was held out: its NLL change has no interval")
    for result in results[:1] if choice else results:  # what auto did not take needs no warning
        method, bound = result.calibrator.method, result.calibrator.parameters().get("at_bound")
        if bound:
            notes.append(f"{method} stopped at its {bound} bound: the optimum lies there or beyond")
        if not result.calibrator.preserves_order:
            notes.append(f"{method} may change the predicted class, and with it what is explained")
    if choice is not None:
        return notes + _choice_notes(choice)
    if len(results) > 1:
        judged = "held-out NLL, so its figures flatter it a little" if held_out else "NLL on the fit samples themselves"
        notes.append(f"chosen from {len(results)} methods by the lowest {judged}")
    return notes


def _choice_notes(choice: Choice) -> list[str]:
    """Says what `auto` took, by how much over the next best, and what it could not try."""
    best, *others = choice.names
    notes = [f"auto left out {name}: {reason}" for name, reason in choice.refused.items()]
    text = f"auto chose {best} by {choice.folds}-fold cross-validated NLL on the fit samples"
    text += f": {choice.losses[best].mean():.4f}"
    if others:
        change = mean_change(choice.losses[best] - choice.losses[others[0]])
        between = "" if change.ci95 is None else f" (95 % interval {-change.ci95[1]:.4f} to {-change.ci95[0]:.4f})"
        text += f", {-change.mean:.4f} below {others[0]}{between}"
    return [*notes, text]
