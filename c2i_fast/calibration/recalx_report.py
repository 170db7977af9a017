"""Fit ReCalX on masked images, and say on others what it changed: the work of `calibrate --method recalx`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from c2i_fast.calibration.checks import data_notes
from c2i_fast.calibration.error import SampleMeasures, ece_equal_width, per_sample
from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.masked_report import MaskedReport, judge_masked
from c2i_fast.calibration.masked_samples import MaskedSamples
from c2i_fast.calibration.recalx import ReCalX, nearest
from c2i_fast.calibration.report import Measures, PairedChange, mean_change
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.types import Calibrator

OTHERS = ("uncalibrated", "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecalxReport:
    """What `calibrate --method recalx` says. `dataclasses.replace(report, path=…)` once the calibrator is saved.

    Attributes:
        calibrator: fitted on the masked fit images.
        temperature: fitted on the same images, unmasked; what ReCalX is held against.
        n_fit: images fitted on.
        n_test: images held out.
        before: of all masked versions of the held-out images, as the network says; None with nothing held out.
        after: the same under ReCalX.
        nll_change: the paired change, a mean over masks for each image; its interval is over images.
        judged: the held-out images level by level.
        notes: what a reader must know to believe the numbers.
    """

    calibrator: ReCalX
    temperature: Temperature
    n_fit: int
    n_test: int
    before: Measures | None
    after: Measures | None
    nll_change: PairedChange | None
    judged: MaskedReport | None
    notes: tuple[str, ...]
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary of `calibrate --json`: its usual keys, and `clean_temperature` and `masked`."""
        return {
            "method": self.calibrator.method,
            "parameters": self.calibrator.parameters(),
            "n_fit": self.n_fit,
            "n_test": self.n_test,
            "before": None if self.before is None else asdict(self.before),
            "after": None if self.after is None else asdict(self.after),
            "argmax_preserving": self.calibrator.preserves_order,
            "nll_change": None if self.nll_change is None else asdict(self.nll_change),
            "clean_temperature": self.temperature.temperature_,
            "masked": None if self.judged is None else self.judged.to_dict(OTHERS),
            "path": self.path,
            "notes": list(self.notes),
        }


def recalx_report(
    fit: MaskedSamples, test: MaskedSamples | None, law: MaskLaw, baseline: str, axes: int
) -> RecalxReport:
    """Returns ReCalX, fitted on the masked `fit` images, and what it does to the masked `test` images.

    Args:
        fit: masked images, drawn by `law`.
        test: others, no image in both; None holds nothing out.
        law: how masks were drawn; kept in the calibrator.
        baseline: what perturbed elements became.
        axes: how many the images have beside their channels.

    Raises:
        InputError: Logits or labels that cannot be used.
    """
    calibrator = ReCalX(law.levels, baseline, law.to_dict(axes)).fit(*fit.flat())
    report = RecalxReport(
        calibrator=calibrator,
        temperature=Temperature().fit(fit.clean, fit.labels),
        n_fit=len(fit.labels),
        n_test=0,
        before=None,
        after=None,
        nll_change=None,
        judged=None,
        notes=(*data_notes(fit.clean, fit.labels), *_notes(calibrator, test)),
    )
    return report if test is None else _judged(report, test, law)


def _judged(report: RecalxReport, test: MaskedSamples, law: MaskLaw) -> RecalxReport:
    before, after = (_per_sample(test, calibrator) for calibrator in (None, report.calibrator))
    others: dict[str, Calibrator | None] = {"uncalibrated": None, "temperature": report.temperature}
    judged = judge_masked(test, others | {"recalx": report.calibrator}, law.levels, seed=law.seed)
    change = (after.nll - before.nll).reshape(len(test.labels), -1).mean(axis=1)
    return replace(
        report,
        n_test=len(test.labels),
        before=_measures(before),
        after=_measures(after),
        nll_change=mean_change(change),
        judged=judged if judged.levels else None,
    )


def _per_sample(test: MaskedSamples, calibrator: ReCalX | None) -> SampleMeasures:
    """Returns the measures of every masked sample, made image by image: few float64 logits are held at once."""
    masks = test.logits.shape[1]
    parts = [
        per_sample(z if calibrator is None else calibrator.transform(z, fractions), np.full(masks, label))
        for z, label, fractions in zip(test.logits, test.labels, test.perturbed_fraction, strict=True)
    ]
    return SampleMeasures(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in SampleMeasures.__slots__}
    )


def _measures(samples: SampleMeasures) -> Measures:
    return Measures(
        nll=float(samples.nll.mean()),
        ece=ece_equal_width(np.minimum(samples.confidence, 1), samples.correct),
        brier=float(samples.brier.mean()),
        accuracy=float(samples.correct.mean()),
    )


def _notes(calibrator: ReCalX, test: MaskedSamples | None) -> list[str]:
    seen = np.array(calibrator.samples_) > 0
    notes = [
        f"recalx level {level} had no masks and takes the temperature of level {source}"
        for level, source in enumerate(nearest(seen))
        if not seen[level]
    ]
    for level, bound in enumerate(calibrator.at_bound_):
        if bound and seen[level]:
            beta = calibrator.inverse_temperatures_[level]
            notes.append(f"recalx level {level} stopped at its {bound} bound, 1/T = {beta:g}: at bound")
    if test is None:
        notes.append("fitted on every image: nothing was held out to judge by")
    return notes
