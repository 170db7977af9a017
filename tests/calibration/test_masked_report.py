"""Measures of masked samples: weights are repetitions, an image is never its own neighbour, differences are paired."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.error import ece_equal_width, per_sample
from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.masked_report import _weighted_ece, judge_masked
from c2i_fast.calibration.masked_samples import MaskedSamples
from c2i_fast.calibration.measures.kernel_kl import (
    kernel_bandwidth,
    kernel_kl_top_label,
    kernel_kl_top_label_groups,
)
from c2i_fast.calibration.recalx import ReCalX, level_of
from c2i_fast.calibration.recalx_report import recalx_report
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError


def outcomes(samples=60, groups=12, seed=0):
    rng = np.random.default_rng(seed)
    sure = rng.uniform(0.3, 0.99, samples)
    return sure, rng.random(samples) < sure**2, rng.integers(0, groups, samples)


def by_loops(sure, right, groups, weights, bandwidth):
    """The weighted leave-one-group-out estimate of one weighting, a kernel at a time."""
    from scipy.stats import beta

    total = 0.0
    for i, (c, a) in enumerate(zip(sure, right, strict=True)):
        above = below = 0.0
        for j in range(len(sure)):
            if groups[j] != groups[i]:
                kernel = weights[groups[j]] * beta.pdf(c, sure[j] / bandwidth + 1, (1 - sure[j]) / bandwidth + 1)
                above, below = above + kernel * right[j], below + kernel
        q = above / below
        entropy = sum(p * np.log(p) for p in (q, 1 - q) if p > 0)
        total += weights[groups[i]] * (entropy - np.log(c if a else 1 - c))
    return total / weights[groups].sum()


def test_the_grouped_kernel_error_equals_loops():
    sure, right, groups = outcomes()
    weights = np.random.default_rng(1).exponential(size=(3, 12))
    found = kernel_kl_top_label_groups(sure, right, groups, weights)
    from c2i_fast.calibration.measures import kernel_kl

    p = kernel_kl._binary(sure)
    width = kernel_kl._best_bandwidth(p, groups)
    np.testing.assert_allclose(found, [by_loops(sure, right, groups, w, width) for w in weights], rtol=1e-9)


def test_with_a_group_a_sample_it_is_the_plain_kernel_error():
    sure, right, _ = outcomes(40)
    found = kernel_kl_top_label_groups(sure, right, np.arange(40), np.ones((1, 40)))
    width = kernel_bandwidth(np.stack([1 - sure, sure], axis=1))
    np.testing.assert_allclose(found, kernel_kl_top_label(sure, right, width), rtol=1e-12)


def test_versions_of_one_image_do_not_vouch_for_each_other():
    """Each of 40 images is right or wrong by chance, five times over at nearly one confidence of its own."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(40), 5)
    sure = np.clip(np.linspace(0.4, 0.6, 40)[image] + rng.normal(size=200) * 1e-4, 0, 1)
    right = (rng.random(40) < 0.5)[image]
    grouped = kernel_kl_top_label_groups(sure, right, image, np.ones((1, 40)))[0]
    blind = kernel_kl_top_label_groups(sure, right, np.arange(200), np.ones((1, 200)))[0]
    assert blind > 0.3, "each version is told by its siblings"
    assert grouped < 0.15


def test_one_image_has_no_kernel_error():
    with pytest.raises(InputError, match="at least 2 groups"):
        kernel_kl_top_label_groups(np.array([0.5, 0.6]), np.array([1, 0]), np.zeros(2, int), np.ones((1, 1)))


def test_weights_of_the_ece_are_repetitions():
    sure, right, groups = outcomes()
    weights = np.random.default_rng(2).integers(1, 4, (2, 12)).astype(float)
    found = _weighted_ece(sure, right, groups, weights)
    for value, weight in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(len(sure)), weight[groups].astype(int))
        assert value == pytest.approx(ece_equal_width(sure[rows], right[rows]))


def samples(images=30, masks=4, levels=5, classes=4, seed=0):
    """Masked samples whose temperature rises with λ, from 1 to 5."""
    rng = np.random.default_rng(seed)
    true = rng.normal(scale=2, size=(images, classes))
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    fraction = (np.tile(np.arange(levels), (images, masks)) + rng.random((images, masks * levels))) / levels
    logits = (1 + 4 * fraction[..., None]) * true[:, None]
    return MaskedSamples(
        clean=true.astype(np.float32),
        logits=logits.astype(np.float32),
        labels=labels,
        perturbed_fraction=fraction,
    )


def test_the_values_of_a_level_are_those_of_its_samples():
    test = samples()
    calibrator = ReCalX(5).fit(*samples(seed=1).flat())
    found = judge_masked(test, {"uncalibrated": None, "recalx": calibrator}, 5, draws=10)
    assert found.levels == (0, 1, 2, 3, 4)
    logits, labels, fractions = test.flat()
    for row, level in enumerate(found.levels):
        own = level_of(fractions, 5) == level
        assert found.samples[row] == own.sum()
        shown = {"uncalibrated": logits[own], "recalx": calibrator.transform(logits[own], fractions[own])}
        for name, z in shown.items():
            each = per_sample(z, labels[own])
            assert found.values[name]["nll"][row, 0] == pytest.approx(each.nll.mean())
            assert found.values[name]["ece"][row, 0] == pytest.approx(ece_equal_width(each.confidence, each.correct))


def test_mean_worst_and_paired_differences_are_of_these_values():
    found = judge_masked(samples(), {"uncalibrated": None, "recalx": ReCalX(5).fit(*samples(seed=1).flat())}, 5)
    content = found.to_dict(("uncalibrated",))
    for measure in ("kl", "ece", "nll"):
        ours, theirs = (found.values[name][measure] for name in ("recalx", "uncalibrated"))
        for kind, summed in (("mean", np.mean), ("worst", np.max)):
            change = summed(ours, axis=0) - summed(theirs, axis=0)
            told = content["differences"][kind]["uncalibrated"][measure]
            assert told["value"] == pytest.approx(change[0])
            assert told["value"] == pytest.approx(
                content[kind]["recalx"][measure]["value"] - content[kind]["uncalibrated"][measure]["value"]
            )
            half = 1.96 * change[1:].std(ddof=1)
            np.testing.assert_allclose(told["ci95"], [change[0] - half, change[0] + half])


def test_intervals_are_over_images_and_not_over_masks():
    """Ten times the masks of the same images, each a copy, are no more knowledge."""
    few = samples(masks=1)
    copies = MaskedSamples(
        clean=few.clean,
        labels=few.labels,
        logits=np.tile(few.logits, (1, 10, 1)),
        perturbed_fraction=np.tile(few.perturbed_fraction, (1, 10)),
    )
    once, tenfold = (judge_masked(s, {"uncalibrated": None}, 5).to_dict(()) for s in (few, copies))
    for a, b in zip(once["levels"], tenfold["levels"], strict=True):
        np.testing.assert_allclose(a["uncalibrated"]["nll"]["ci95"], b["uncalibrated"]["nll"]["ci95"], rtol=1e-9)
        np.testing.assert_allclose(a["uncalibrated"]["ece"]["ci95"], b["uncalibrated"]["ece"]["ci95"], rtol=1e-9)


def test_the_interval_of_a_mean_is_nearly_students():
    test = samples(images=200, masks=1, levels=2)
    logits, labels, _ = test.flat()
    per_image = per_sample(logits, labels).nll.reshape(200, -1).mean(axis=1)
    found = judge_masked(test, {"uncalibrated": None}, 1).to_dict(())["mean"]["uncalibrated"]["nll"]
    expected = 1.96 * per_image.std(ddof=1) / np.sqrt(200)
    assert found["ci95"][1] - found["value"] == pytest.approx(expected, rel=0.15)


def test_the_report_holds_recalx_against_the_network_and_the_clean_temperature():
    fit, test = samples(images=200, masks=1, seed=1), samples(images=200, masks=1, seed=2)
    report = recalx_report(fit, test, MaskLaw(levels=5, masks=1, grid=3), "mean", 2)
    assert report.temperature.temperature_ == Temperature().fit(fit.clean, fit.labels).temperature_
    assert report.calibrator.mask_law["grid"] == [3, 3]
    content = report.to_dict()
    assert (content["n_fit"], content["n_test"], content["argmax_preserving"]) == (200, 200, True)
    assert content["after"]["accuracy"] == content["before"]["accuracy"]
    assert content["nll_change"]["mean"] == pytest.approx(content["after"]["nll"] - content["before"]["nll"])
    assert content["nll_change"]["ci95"][1] < 0
    for other in ("uncalibrated", "temperature"):
        for kind in ("mean", "worst"):
            assert content["masked"]["differences"][kind][other]["kl"]["ci95"][1] < 0


def test_nothing_held_out_and_empty_levels_and_bounds_are_told():
    fit = samples(images=20, seed=1)
    alone = recalx_report(fit, None, MaskLaw(levels=5), "mean", 2)
    assert (alone.before, alone.after, alone.to_dict()["masked"], alone.n_test) == (None, None, None, 0)
    assert any("nothing was held out" in note for note in alone.notes)
    lower = fit.perturbed_fraction / 2
    halved = MaskedSamples(clean=fit.clean, logits=fit.logits, labels=fit.labels, perturbed_fraction=lower)
    notes = recalx_report(halved, None, MaskLaw(levels=4), "mean", 2).notes
    assert "recalx level 3 had no masks and takes the temperature of level 1" in notes
    wrong = MaskedSamples(
        clean=fit.clean, logits=fit.logits, labels=fit.clean.argmin(axis=1), perturbed_fraction=fit.perturbed_fraction
    )
    notes = recalx_report(wrong, None, MaskLaw(levels=1), "mean", 2).notes
    assert any("level 0 stopped at its lower bound, 1/T = 0.001" in note for note in notes)


def test_a_level_seen_in_a_single_image_is_left_out():
    test = samples(images=3, masks=1, levels=2)
    fractions = np.array([[0.1, 0.9], [0.1, 0.2], [0.1, 0.2]])
    odd = MaskedSamples(clean=test.clean, logits=test.logits, labels=test.labels, perturbed_fraction=fractions)
    assert judge_masked(odd, {"uncalibrated": None}, 2, draws=5).levels == (0,)
