"""Binned errors, KS, ECE-AC and class-wise error against their definitions in loops, and against other packages."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.error import log_probabilities, per_sample
from c2i_fast.calibration.measures import (
    bin_outcomes,
    brier_top_label,
    ece,
    ece_ac_farther_centre,
    ece_ac_linear,
    ece_classwise,
    ece_debiased_l1,
    ece_debiased_l2,
    ece_l2,
    ks_ascending,
    mce,
)
from c2i_fast.calibration.measures.binning import bin_index, equal_mass_edges
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError

quick = settings(deadline=None, max_examples=60)
BINNINGS = ["gpleiss", "torchmetrics", "netcal", "equal-mass"]
GOLDEN = ([0.95, 0.85, 0.75, 0.65], [1, 1, 0, 1])
BINNED = [ece, mce, ece_l2, ece_debiased_l1, ece_debiased_l2]
OTHERS = [ks_ascending, ece_ac_farther_centre, ece_ac_linear, brier_top_label]
POSITIVE = [ece, mce, ece_l2, ece_debiased_l2, *OTHERS]


@st.composite
def outcomes(draw, smallest=1):
    """Confidences, many of them equal or on an edge, and whether each was right."""
    size = draw(st.integers(smallest, 30))
    special = st.sampled_from([k / 8 for k in range(9)] + [k / 10 for k in range(11)] + [k / 15 for k in range(16)])
    confidence = draw(st.lists(st.one_of(special, st.floats(0, 1)), min_size=size, max_size=size))
    return np.array(confidence), np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))


def slow_members(confidence, binning, bins):
    """Lists of sample numbers, each bin asking every sample in turn."""
    limits = [float(x) for x in np.linspace(0, 1, bins + 1)]
    if binning == "equal-mass":
        parts = np.array_split(np.sort(confidence), bins)
        parts = [part for part in parts if len(part)]
        limits = sorted({-1.0, 1.0} | {(a[-1] + b[0]) / 2 for a, b in itertools.pairwise(parts)})
    pairs = list(itertools.pairwise(limits))
    if binning in ("gpleiss", "equal-mass"):
        rule = [
            lambda c, lo=lo, hi=hi: lo < c <= hi or (lo == 0 and c == 0 and binning == "gpleiss") for lo, hi in pairs
        ]
    else:
        rule = [lambda c, lo=lo, hi=hi: lo <= c < hi or (binning == "netcal" and hi == 1 == c) for lo, hi in pairs]
    if binning == "torchmetrics":
        rule.append(lambda c: c == 1)
    return [members for r in rule if (members := [i for i, c in enumerate(confidence) if r(float(c))])]


def slow_binned(confidence, correct, binning, bins):
    """(n_b, mean confidence, accuracy) of bins with samples."""
    result = []
    for members in slow_members(confidence, binning, bins):
        n = len(members)
        mean = math.fsum(confidence[i] for i in members) / n
        result.append((n, mean, math.fsum(float(correct[i]) for i in members) / n))
    return result


@quick
@given(outcomes(), st.sampled_from(BINNINGS), st.sampled_from([1, 2, 8, 10, 15, 40]))
def test_binned_errors_are_their_definitions(outcome, binning, bins):
    table = slow_binned(*outcome, binning, bins)
    total = len(outcome[0])
    assert ece(*outcome, binning, bins) == pytest.approx(sum(n / total * abs(a - c) for n, c, a in table), abs=1e-12)
    assert mce(*outcome, binning, bins) == pytest.approx(max(abs(a - c) for n, c, a in table), abs=1e-12)
    root = math.sqrt(sum(n / total * (a - c) ** 2 for n, c, a in table))
    assert ece_l2(*outcome, binning, bins) == pytest.approx(root, abs=1e-12)
    square = sum(n / total * ((a - c) ** 2 - a * (1 - a) / (n - 1)) for n, c, a in table if n > 1)
    assert ece_debiased_l2(*outcome, binning, bins) ** 2 == pytest.approx(max(0, square), abs=1e-12)


def test_debiased_l1_is_the_limit_of_redrawn_accuracies():
    rng = np.random.default_rng(0)
    c = rng.random(300)
    a = rng.random(300) < 0.9 * c
    redrawn = np.zeros(20000)
    for n, mean, accuracy in slow_binned(c, a, "equal-mass", 15):
        draws = rng.normal(accuracy, math.sqrt(accuracy * (1 - accuracy) / n), 20000)
        redrawn += n / 300 * np.abs(draws - mean)
    expected = 2 * ece(c, a, "equal-mass") - redrawn.mean()
    assert ece_debiased_l1(c, a) == pytest.approx(expected, abs=5 * redrawn.std() / math.sqrt(20000))


def test_golden_vectors():
    assert ece(*GOLDEN, "netcal") == pytest.approx(0.325, abs=1e-12)
    assert ece(*GOLDEN, "gpleiss", 10) == pytest.approx(0.325, abs=1e-12)
    assert ks_ascending(*GOLDEN) == pytest.approx(0.1, abs=1e-12)
    assert brier_top_label(*GOLDEN) == pytest.approx(0.1775, abs=1e-12)


def test_ks_of_descending_confidence_would_be_another():
    descending = np.cumsum(np.array(GOLDEN[0]) - GOLDEN[1])  # they come in descending order
    assert np.abs(descending).max() / 4 == pytest.approx(0.1375)
    assert ks_ascending(*GOLDEN) != pytest.approx(0.1375)


@quick
@given(outcomes())
def test_ks_is_its_definition(outcome):
    confidence, correct = outcome
    gaps = [
        abs(math.fsum(c - a for c, a in zip(confidence, correct, strict=True) if c <= t)) / len(confidence)
        for t in set(confidence.tolist())
    ]
    assert ks_ascending(*outcome) == pytest.approx(max(gaps), abs=1e-12)


def slow_ece_ac(confidence, correct, bins, farther):
    parts = [part for part in np.array_split(np.sort(confidence), bins) if len(part)]
    limits = [0.0, *sorted({(a[-1] + b[0]) / 2 for a, b in itertools.pairwise(parts)}), 1.0]
    centres = [(lo + hi) / 2 for lo, hi in itertools.pairwise(limits)]
    totals = [0.0] * len(centres)
    for c, a in zip(confidence.tolist(), correct.tolist(), strict=True):
        if c <= centres[0] or c > centres[-1]:
            totals[0 if c <= centres[0] else -1] += a - c
            continue
        b = next(b for b in range(1, len(centres)) if c <= centres[b])
        below, above = c - centres[b - 1], centres[b] - c
        share = (above if farther else below) / (below + above)  # of bin b
        totals[b] += share * (a - c)
        totals[b - 1] += (1 - share) * (a - c)
    return sum(map(abs, totals)) / len(confidence)


@quick
@given(outcomes(), st.sampled_from([1, 2, 10, 40]))
def test_ece_ac_is_its_definition_both_ways(outcome, bins):
    assert ece_ac_farther_centre(*outcome, bins) == pytest.approx(slow_ece_ac(*outcome, bins, True), abs=1e-12)
    assert ece_ac_linear(*outcome, bins) == pytest.approx(slow_ece_ac(*outcome, bins, False), abs=1e-12)


def test_the_two_allocations_differ():
    # Edges 0, 0.6, 1 and centres 0.3, 0.8; 0.4 lies a fifth of the way up.
    sure, right = [0.2, 0.4, 0.75, 0.9], [0, 1, 1, 0]
    assert equal_mass_edges(np.array(sure), 2) == pytest.approx([0.575])
    assert ece_ac_linear(sure, right, 2) != pytest.approx(ece_ac_farther_centre(sure, right, 2), abs=0.01)


@quick
@given(outcomes(), st.randoms(use_true_random=False))
def test_no_measure_depends_on_the_order_of_samples(outcome, random):
    confidence, correct = outcome
    order = list(range(len(confidence)))
    random.shuffle(order)
    shuffled = confidence[order], correct[order]
    for measure in OTHERS:
        assert measure(*shuffled) == pytest.approx(measure(*outcome), abs=1e-12)
    for measure in BINNED:
        for binning in BINNINGS:
            # abs=1e-7: a root near zero amplifies the rounding of sums in another order
            assert measure(*shuffled, binning) == pytest.approx(measure(*outcome, binning), abs=1e-7)


@quick
@given(outcomes())
def test_bounds(outcome):
    for measure in POSITIVE:
        assert 0 <= measure(*outcome) <= 1 + 1e-12
    assert -1 <= ece_debiased_l1(*outcome) <= 1
    assert ks_ascending(*outcome) <= np.abs(outcome[0] - outcome[1]).mean() + 1e-12
    for binning in BINNINGS:
        assert ece(*outcome, binning) <= mce(*outcome, binning) + 1e-12
        assert ece(*outcome, binning) <= ece_l2(*outcome, binning) + 1e-12
        assert ece_debiased_l2(*outcome, binning) <= ece_l2(*outcome, binning) + 1e-12
        assert ece_debiased_l1(*outcome, binning) <= ece(*outcome, binning) + 1e-12


@quick
@given(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=20))
def test_constant_confidence_is_one_gap(confidence, correct):
    gap = abs(confidence - np.mean(correct))
    sure = [confidence] * len(correct)
    for measure in (ece, mce, ece_l2, ks_ascending, ece_ac_farther_centre, ece_ac_linear):
        assert measure(sure, correct) == pytest.approx(gap, abs=1e-9)


@quick
@given(st.floats(0, 1), st.booleans())
def test_one_sample(confidence, correct):
    for measure in (ece, mce, ece_l2, ks_ascending, ece_ac_farther_centre, ece_ac_linear, ece_debiased_l1):
        assert measure([confidence], [correct]) == pytest.approx(abs(confidence - correct), abs=1e-12)
    assert ece_debiased_l2([confidence], [correct]) == 0  # one sample tells no noise from error


@pytest.mark.parametrize("measure", [*POSITIVE, ece_debiased_l1])
def test_certainties_that_come_true_have_no_error_and_false_ones_all_of_it(measure):
    certain = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert measure(certain, certain) == 0
    # −1 twice, then +1 three times: over- and under-confidence cancel in a cumulative sum.
    assert measure(certain, 1 - certain) == pytest.approx(0.4 if measure is ks_ascending else 1)


@pytest.mark.parametrize("binning", BINNINGS)
def test_a_known_truth_is_measured_without_noise(binning):
    sure = np.linspace(0.01, 0.99, 99)
    assert ece(sure, sure, binning) == pytest.approx(0, abs=1e-12)
    assert ece(sure, 0.9 * sure, binning) == pytest.approx(0.1 * sure.mean(), abs=1e-12)


def test_of_a_calibrated_model_the_plug_in_sees_error_and_the_debiased_little():
    rng = np.random.default_rng(3)
    values = {measure: [] for measure in (ece_l2, ece_debiased_l2, ece, ece_debiased_l1)}
    squares = []
    for _ in range(300):
        c = 0.5 + rng.random(500) / 2
        a = rng.random(500) < c
        for measure, seen in values.items():
            seen.append(measure(c, a, "equal-mass"))
        table = bin_outcomes(c, a, "equal-mass")
        noise = table.accuracy * (1 - table.accuracy) / (table.counts - 1)
        squares.append((table.weights * (table.gaps**2 - noise)).sum())
    mean = {measure: np.mean(seen) for measure, seen in values.items()}
    assert mean[ece] > 0.03
    assert mean[ece_l2] > 0.05
    assert mean[ece_debiased_l1] < 0.7 * mean[ece]  # 2 − √2 of it is left
    assert mean[ece_debiased_l2] < 0.4 * mean[ece_l2]
    # Before the root is taken and cut at 0 there is no bias at all.
    assert abs(np.mean(squares)) < 4 * np.std(squares) / math.sqrt(300)


def test_errors_of_a_calibrated_model_vanish_with_many_samples():
    rng = np.random.default_rng(4)
    c = 0.5 + rng.random(400_000) / 2
    a = rng.random(400_000) < c
    for measure in (ece, mce, ece_debiased_l1, ece_debiased_l2, ks_ascending, ece_ac_farther_centre, ece_ac_linear):
        assert abs(measure(c, a)) < (0.01 if measure is mce else 0.003)


def test_the_hidden_bin_of_torchmetrics():
    sure, right = [1.0, 0.95, 0.95], [0, 1, 1]
    assert ece(sure, right, "torchmetrics", 10) == pytest.approx(1.1 / 3)
    assert ece(sure, right, "netcal", 10) == pytest.approx(0.9 / 3)
    assert bin_index(np.array([1.0]), "torchmetrics", 10).tolist() == [10]


def test_defaults_are_those_of_the_packages():
    rng = np.random.default_rng(5)
    sure, right = rng.random(400), rng.random(400) < 0.5
    for binning, bins in (("gpleiss", 15), ("torchmetrics", 15), ("netcal", 10), ("equal-mass", 15)):
        assert ece(sure, right, binning) == ece(sure, right, binning, bins) != ece(sure, right, binning, bins + 1)


def slow_classwise(p, labels, binning, bins):
    total = 0.0
    for k in range(p.shape[1]):
        table = slow_binned(p[:, k], labels == k, binning, bins)
        total += sum(n / len(p) * abs(a - c) for n, c, a in table)
    return total / p.shape[1]


@pytest.mark.parametrize("binning", ["gpleiss", "torchmetrics", "netcal"])
def test_classwise_error_is_its_definition(overconfident, binning, monkeypatch):
    logits, labels = overconfident(60, 4)
    logits[:5] *= 400  # some probabilities of exactly 0 and 1
    p = np.minimum(np.exp(log_probabilities(logits)), 1)
    expected = slow_classwise(p, labels, binning, 7)
    assert (p == 1).any()
    assert ece_classwise(logits, labels, binning, 7) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr("c2i_fast.calibration.checks.BLOCK_ELEMENTS", 12)
    assert ece_classwise(logits, labels, binning, 7) == pytest.approx(expected, abs=1e-12)


def test_classwise_error_of_calibrated_logits(overconfident):
    logits, labels = overconfident()
    calibrator = Temperature.from_parameters({"temperature": 2.5})
    after = ece_classwise(logits, labels, calibrator=calibrator)
    assert after == pytest.approx(ece_classwise(logits / 2.5, labels), abs=1e-6)
    assert after < ece_classwise(logits, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), r"got \(0,\)"),
        (([0.5, 0.6], [1]), r"got \(2,\) and \(1,\)"),
        (([1.5], [1]), r"in \[0, 1\], got 1\.5"),
        (([np.nan], [1]), r"in \[0, 1\]"),
        (([0.5], [2]), r"correct in \[0, 1\], got 2\.\.2"),
        (([0.5], [np.nan]), r"correct in \[0, 1\]"),
        (([0.5], [1], "equal"), "no binning 'equal'; known: gpleiss"),
        (([0.5], [1], "netcal", 0), "at least 1 bin, got 0"),
    ],
)
def test_what_cannot_be_binned_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        ece(*arguments)


def test_other_refusals():
    with pytest.raises(InputError, match="at least 1 bin"):
        ece_ac_linear([0.5], [1], 0)
    with pytest.raises(InputError, match="bins of equal width"):
        ece_classwise([[1.0, 0.0]], [0], "equal-mass")
    with pytest.raises(InputError, match="only 0 and 1"):
        brier_top_label([0.5], [0.5])


def stored(oracles, name):
    data = np.load(oracles / f"calibration_{name}.npz")
    file = json.loads((oracles / f"calibration_{name}.json").read_text(encoding="utf-8"))
    metrics, labels = file["metrics_on_test_split"], data["labels_test"]
    logits = data["logits_test"].astype(np.float64)
    temperature = file["parameters"]["temperature_exact"]["T"]
    cases = {"uncalibrated": logits, "temperature_exact": logits / temperature}
    if name == "cifar":
        with np.errstate(divide="ignore"):
            names = ("vector_exact", "isotonic_sklearn_ovr", "histogram_own_B10")
            cases |= {case: np.log(data[f"prob_{case}"]) for case in names}
    for case, mapped in cases.items():
        samples = per_sample(mapped, labels)
        yield case, mapped, labels, np.minimum(samples.confidence, 1), samples.correct, metrics[case]


@pytest.mark.parametrize("name", ["cifar", "imagenet"])
def test_measures_equal_those_of_other_packages(oracles, name):
    peer = "uncertainty_calibration_lower_bound_top_ce"
    for case, logits, labels, c, a, expected in stored(oracles, name):
        tied = case == "histogram_own_B10"
        assert brier_top_label(c, a) == pytest.approx(expected["brier_top1_own"], abs=1e-12)
        if not tied:  # among equal confidences the stored value depends on the order of the samples
            assert ks_ascending(c, a) == pytest.approx(expected["ks_own_max_abs_cum_diff"], abs=1e-12)
        for bins in (10, 15):
            pairs = {
                f"ece_own_equal_width_lo_open_B{bins}": ece(c, a, "gpleiss", bins),
                f"mce_own_equal_width_lo_open_B{bins}": mce(c, a, "gpleiss", bins),
                f"netcal_ECE_B{bins}": ece(c, a, "netcal", bins),
                f"uncertainty_calibration_get_ece_em_B{bins}": ece(c, a, "equal-mass", bins),
                f"{peer}_p2_debiasTrue_equal_mass_B{bins}": ece_debiased_l2(c, a, "equal-mass", bins),
                f"{peer}_p2_debiasTrue_equal_width_B{bins}": ece_debiased_l2(c, a, "gpleiss", bins),
                f"{peer}_p2_debiasFalse_equal_mass_B{bins}": ece_l2(c, a, "equal-mass", bins),
                f"classwise_ece_own_equal_width_lo_open_mean_over_classes_B{bins}": ece_classwise(
                    logits, labels, "gpleiss", bins
                ),
            }
            for key, value in pairs.items():
                assert value == pytest.approx(expected[key], abs=1e-12), (case, key)
            drawn = expected[f"uncertainty_calibration_l1_debiased_equal_mass_B{bins}_npseed0"]
            assert ece_debiased_l1(c, a, "equal-mass", bins) == pytest.approx(drawn, abs=5e-3)
            # float32 there
            assert ece(c, a, "torchmetrics", bins) == pytest.approx(expected[f"torchmetrics_l1_B{bins}"], abs=1e-5)
            assert mce(c, a, "torchmetrics", bins) == pytest.approx(expected[f"torchmetrics_max_B{bins}"], abs=1e-5)


def test_confidences_on_edges_are_where_each_package_puts_them(oracles):
    cases = json.loads((oracles / "calibration_binning_edges.json").read_text(encoding="utf-8"))
    assert len(cases) == 11
    for name, case in cases.items():
        p, y, bins, expected = np.array(case["p"]), np.array(case["y"]), case["bins"], case["values"]
        c, a = p.max(axis=1), p.argmax(axis=1) == y
        if name != "edges_B10":  # its tenths are on an edge only where edges are rounded to float32
            assert ece(c, a, "torchmetrics", bins) == pytest.approx(expected["torchmetrics_l1"], abs=1e-6), name
            assert mce(c, a, "torchmetrics", bins) == pytest.approx(expected["torchmetrics_max"], abs=1e-6), name
            assert ece(c, a, "gpleiss", bins) == pytest.approx(expected["gpleiss_ECELoss"], abs=1e-6), name
        # Of two classes it takes the second, not the top one; of labels that are only two it raised an error.
        if p.shape[1] > 2 and not isinstance(expected["netcal_ECE"], str):
            assert ece(c, a, "netcal", bins) == pytest.approx(expected["netcal_ECE"], abs=1e-9), name


@pytest.mark.parametrize("measure", [ece_ac_farther_centre, ece_ac_linear])
def test_centres_that_round_to_one_next_to_zero_leave_a_number(measure):
    assert measure([0.0, 5e-324, 5e-324], [False] * 3) == pytest.approx(0, abs=1e-12)
