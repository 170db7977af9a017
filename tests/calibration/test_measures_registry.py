"""Measures by name, and whether their intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.error import brier, nll, per_sample
from c2i_fast.calibration.measures import (
    MEASURES,
    Predictions,
    ece,
    ece_classwise,
    kernel_kl_top_label,
    ks_ascending,
    measure,
    redraw_interval,
)
from c2i_fast.calibration.measures.debiased import ece_debiased_l2, ece_l2
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError
from c2i_fast.reliability.intervals import mean_interval

FAST = [name for name in MEASURES if not name.startswith(("smooth", "kernel"))]


def test_every_measure_has_a_name_a_sentence_a_value_and_an_interval(overconfident):
    logits, labels = overconfident(60, 3)
    results = {result.measure: result for result in measure(logits, labels)}
    assert list(results) == list(MEASURES)
    for name, result in results.items():
        assert len(MEASURES.summary(name)) > 15
        assert result.n == 60
        assert np.isfinite(result.value)
        if name != "ece-classwise":
            assert result.ci95[0] <= result.ci95[1], name


def test_values_are_those_of_the_functions(overconfident):
    logits, labels = overconfident()
    samples = per_sample(logits, labels)
    values = {result.measure: result.value for result in measure(logits, labels, intervals=False)}
    assert values["nll"] == nll(logits, labels)
    assert values["brier"] == brier(logits, labels)
    assert values["ece-netcal"] == ece(samples.confidence, samples.correct, "netcal")
    assert values["ece-torchmetrics"] == ece(samples.confidence, samples.correct, "torchmetrics")
    assert values["ece-equal-mass"] == ece(samples.confidence, samples.correct, "equal-mass")
    assert values["ece-classwise"] == ece_classwise(logits, labels)
    assert values["ks-ascending"] == ks_ascending(samples.confidence, samples.correct)
    assert values["kernel-kl-top-label"] == kernel_kl_top_label(samples.confidence, samples.correct)


def test_a_calibrator_is_applied(overconfident):
    logits, labels = overconfident()
    calibrator = Temperature.from_parameters({"temperature": 2.5})
    after = measure(logits, labels, calibrator=calibrator, intervals=False)
    assert [r.value for r in after] == pytest.approx(
        [r.value for r in measure(logits.astype(np.float64) / 2.5, labels, intervals=False)], abs=1e-9
    )
    for before, result in zip(measure(logits, labels, intervals=False), after, strict=True):
        assert result.value < before.value, result.measure


def test_the_mean_measures_have_students_interval(overconfident):
    logits, labels = overconfident()
    samples = per_sample(logits, labels)
    results = measure(logits, labels, ["nll", "brier"])
    assert [r.ci95 for r in results] == [mean_interval(v).ci95 for v in (samples.nll, samples.brier)]


def test_the_seed_decides_and_nothing_else(overconfident):
    logits, labels = overconfident(100)
    names = ["ece-gpleiss", "mce", "kernel-kl-canonical"]
    assert measure(logits, labels, names, seed=1) == measure(logits, labels, names, seed=1)
    first, other = (measure(logits, labels, names, seed=seed) for seed in (1, 2))
    assert all(a.ci95 != b.ci95 for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("samples", [1, 2, 19])
def test_too_few_samples_have_values_without_intervals(overconfident, samples):
    logits, labels = overconfident(samples)
    errors = [name for name in FAST if name not in ("nll", "brier", "brier-top-label")]
    assert [result.ci95 for result in measure(logits, labels, errors)] == [None] * len(errors)
    assert (measure(logits, labels, ["nll"])[0].ci95 is None) == (samples == 1)


def test_many_classes_leave_out_the_canonical_kernel_unless_it_is_asked_for():
    logits, labels = np.random.default_rng(0).normal(size=(30, 21)), np.arange(30) % 21
    names = [result.measure for result in measure(logits, labels, intervals=False)]
    assert names == [name for name in MEASURES if name != "kernel-kl-canonical"]
    with pytest.raises(InputError, match="at most 20 classes"):
        measure(logits, labels, ["kernel-kl-canonical"])


def test_unknown_names_and_bad_labels_are_refused():
    with pytest.raises(InputError, match="did you mean 'ece-gpleiss'"):
        measure([[1.0, 0.0]], [0], ["ece-gplais"])
    with pytest.raises(InputError, match=r"labels in 0\.\.1"):
        Predictions([[1.0, 0.0]], [2])


def coverage(error, limit, gap, samples=400, repeats=60):
    """How often the interval holds the true error of a model that is right with the chance c − gap(c)."""
    rng = np.random.default_rng(8)
    held, seen, true = 0, [], []
    for number in range(repeats):
        c = 1 - rng.random(samples) ** 2 / 2
        chance = c - gap(c)
        a = rng.random(samples) < chance
        low, high = redraw_interval(error, c, a, limit=limit, draws=80, seed=number)
        true.append(limit(c, chance))
        seen.append(error(c, a))
        held += low <= true[-1] + 1e-12 and true[-1] <= high
    return held / repeats, np.mean(seen), np.mean(true)


# 95 % is what they are for; 60 repeats have a standard error of 3 %.
@pytest.mark.parametrize(("error", "limit"), [(ece, ece), (ece_debiased_l2, ece_l2), (ks_ascending, ks_ascending)])
def test_intervals_hold_the_truth_of_a_calibrated_model_though_the_plug_in_is_biased(error, limit):
    share, seen, true = coverage(error, limit, lambda c: 0 * c)
    assert true == 0 < seen
    assert share >= 0.87


@pytest.mark.parametrize(("error", "limit"), [(ece, ece), (ece_debiased_l2, ece_l2), (ks_ascending, ks_ascending)])
@pytest.mark.parametrize("slope", [0.1, 0.3])
def test_intervals_hold_the_truth_of_overconfident_models(error, limit, slope):
    share, _, true = coverage(error, limit, lambda c: slope * (c - 0.5))
    assert true == pytest.approx(slope / 3, rel=0.2)
    assert share >= 0.8


def test_a_bootstrap_would_not_hold_it():
    """Why labels are redrawn: percentiles of resamples with replacement miss a calibrated model's 0 every time."""
    rng = np.random.default_rng(9)
    c = 1 - rng.random(400) ** 2 / 2
    a = rng.random(400) < c
    rows = rng.integers(0, 400, (200, 400))
    assert np.quantile([ece(c[r], a[r]) for r in rows], 0.025) > 0.01
    assert redraw_interval(ece, c, a)[0] == 0


def test_certain_models_have_intervals_without_width():
    assert redraw_interval(ece, [1.0] * 30, [1] * 30) == (0, 0)


def test_the_kernel_interval_covers_a_calibrated_model(overconfident):
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(10):
        c = rng.uniform(0.5, 1, 150)
        labels = (rng.random(150) >= c).astype(int)
        logits = np.log(np.stack([c, 1 - c], axis=1))
        held += measure(logits, labels, ["kernel-kl-top-label"])[0].ci95[0] < 1e-3
    assert held >= 8
