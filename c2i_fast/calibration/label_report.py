"""What `report.py` is for softmax heads, for sigmoid heads: fitted on one part, judged label by label on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_applies, check_logits, label_notes
from c2i_fast.calibration.choose import choose
from c2i_fast.calibration.interface import GraphCalibrator, new_calibrator
from c2i_fast.calibration.label_error import LabelOutcomes, label_measures, label_outcomes
from c2i_fast.calibration.label_split import split_labels
from c2i_fast.calibration.report import (
    AUTO,
    CalibrationReport,
    MethodResult,
    best_of,
    check_methods,
    mean_change,
    result_notes,
)


def fit_label_report(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    methods: Sequence[str] = ("temperature",),
    fit_fraction: float = 0.5,
    seed: int = 0,
) -> CalibrationReport:
    """Returns calibrators of a sigmoid head fitted on a seeded part, judged on the rest, the best of them chosen.

    Args:
        logits: (N, K), raw, K ≥ 1.
        labels: (N, K) of 0 and 1.
        methods: names of calibrators that serve sigmoid heads; or `auto` alone.
        fit_fraction: share of the samples to fit on, every label in proportion (`split_labels`).
        seed: of the split.

    Raises:
        InputError: an unknown method or one for softmax heads; logits, labels or a fraction that cannot be used.

    Example:
        >>> logits, labels = np.array([[2.0]] * 8), np.array([[1], [1], [1], [0]] * 2)
        >>> round(fit_label_report(logits, labels).calibrator.parameters()["temperature"], 4)  # 2 / log 3
        1.8205
    """
    names = check_methods(methods, "sigmoid")
    rows = check_logits(logits, least=1)
    applies = check_applies(labels, rows)
    split = split_labels(applies, fit_fraction, seed)
    fit_rows, fit_labels = rows[split.fit], applies[split.fit]
    choice = choose(fit_rows, fit_labels, seed, "sigmoid") if names == (AUTO,) else None
    calibrators = [new_calibrator(name, "sigmoid") for name in (choice.names if choice else names)]
    fit_nll = [_mean_nll(each.fit(fit_rows, fit_labels), fit_rows, fit_labels) for each in calibrators]
    held_out, held_labels = rows[split.test], applies[split.test]
    before = label_outcomes(held_out, held_labels) if len(held_out) else None
    validated = {name: float(losses.mean()) for name, losses in choice.losses.items()} if choice else {}
    results = tuple(
        _judged(calibrator, fitted, held_out, held_labels, before, validated.get(calibrator.method))
        for calibrator, fitted in zip(calibrators, fit_nll, strict=True)
    )
    notes = (*label_notes(fit_rows, fit_labels), *result_notes(results, split.note, len(split.test), choice))
    return CalibrationReport(
        results=results,
        chosen=results[0] if choice else best_of(results),
        n_fit=len(split.fit),
        n_test=len(split.test),
        before=None if before is None else label_measures(before),
        notes=notes,
    )


def _mean_nll(calibrator: GraphCalibrator, logits: NDArray[np.floating], applies: NDArray[np.bool_]) -> float:
    return float(label_outcomes(logits, applies, calibrator).nll.mean())


def _judged(
    calibrator: GraphCalibrator,
    fit_nll: float,
    logits: NDArray[np.floating],
    applies: NDArray[np.bool_],
    before: LabelOutcomes | None,
    validated: float | None,
) -> MethodResult:
    after = None if before is None else label_outcomes(logits, applies, calibrator)
    change = None if after is None or before is None else mean_change((after.nll - before.nll).mean(axis=1))
    return MethodResult(
        calibrator=calibrator,
        fit_nll=fit_nll,
        after=None if after is None else label_measures(after),
        nll_change=change,
        cross_validated_nll=validated,
    )
