"""Scores that can be worked out by hand, through the whole path and a real engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast import Preprocessing, score
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.metrics import METRICS
from tests import nets

ENGINE = "onnxruntime"
pytest.importorskip(ENGINE, reason=f"{ENGINE} is not installed")

CURVES = ("deletion", "insertion", "deletion-lerf", "insertion-lerf")
ALL = (*CURVES, "gap")
PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
RULES = [
    {"intervals": "7"},
    {"intervals": "35"},
    {"counts": "floor", "intervals": "6"},
    {"counts": "ceil-block", "intervals": "8"},
    {"pixels_per_step": "4"},
]


def run(classifier, images, maps, **options):
    return score(classifier, images, maps, engine=ENGINE, threads=1, **{"batch_size": 16, **options})


def values_of(scores, metric: str, method: str = "map", readout: str = "raw") -> list[float]:
    return [r.value for r in scores.rows if (r.metric, r.method, r.readout) == (metric, method, readout)]


def curves_of(scores, metric: str, method: str = "map", readout: str = "raw") -> np.ndarray:
    return np.stack(
        [r.curve.values for r in scores.rows if (r.metric, r.method, r.readout) == (metric, method, readout)]
    )


# ------------------------------------------------------------------------------------------------ a constant model


@pytest.mark.parametrize("preset", ["c2i", "rise"])
@pytest.mark.parametrize("space", [(5, 7), (35,)])
def test_every_area_of_a_constant_model_is_the_constant(preset, space):
    """Whatever the map, metric, preset and read-out; and the gap is zero."""
    logits = np.array([0.3, 1.4, -0.2], np.float32)
    rng = np.random.default_rng(0)
    calibrator = Temperature.from_parameters({"temperature": 2.0})
    scores = run(
        nets.constant_net(logits, 3, space, preprocessing=PREPROCESSING),
        rng.random((2, 3, *space)).astype(np.float32),
        {"random": rng.normal(size=(2, *space)), "flat": np.zeros((2, *space))},
        preset=preset,
        overrides={"intervals": "9"},
        metrics=ALL,
        readouts=("raw", "calibrated", "logit", "sigmoid"),
        calibrator=calibrator,
    )
    z = logits.astype(np.float64)
    constants = {
        "raw": np.exp(z[1]) / np.exp(z).sum(),
        "calibrated": np.exp(z[1] / 2) / np.exp(z / 2).sum(),
        "logit": z[1],
        "sigmoid": 1 / (1 + np.exp(-z[1])),
    }
    assert len(scores.rows) == 2 * 2 * 5 * 4
    for row in scores.rows:
        assert row.target == 1
        expected = 0 if row.metric == "gap" else constants[row.readout]
        assert row.value == pytest.approx(expected, abs=1e-12)


# ------------------------------------------------------------------------------------------------ a linear model


def linear_case(seed: int = 0, space=(5, 7), images: int = 3):
    """Weights, bias, images, and each pixel's contribution to the logits above the baseline, (N, K, U) in float64."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(space))
    matrix = rng.normal(size=(4, 3 * size)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    pictures = rng.random((images, 3, *space)).astype(np.float32)
    mean, std = (v.reshape(3, *(1,) * len(space)).astype(np.float64) for v in PREPROCESSING.channel_stats(3))
    normal = (pictures - mean) / std
    shares = (matrix.reshape(1, 4, 3, size) * normal.reshape(images, 1, 3, size)).sum(axis=2)
    return matrix, bias, pictures, shares


def counts_by_rule(rule: dict, elements: int, start: str) -> list[int]:
    if "pixels_per_step" in rule:
        block = int(rule["pixels_per_step"])
        return [*range(0, elements, block), elements]
    n = int(rule["intervals"])
    if rule.get("counts") == "ceil-block":
        block = -(-elements // n)
        return [*range(0, elements, block), elements]
    if start == "baseline" and rule.get("counts", "equal") == "equal":
        return [-(-k * elements // n) for k in range(n + 1)]
    return [k * elements // n for k in range(n + 1)]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("space", [(5, 7), (35,)])
def test_curves_of_a_linear_model_are_sums_of_sorted_contributions(rule, space):
    """Zero baseline, logit read-out, saliency = contribution: each curve is known by sorting."""
    matrix, bias, pictures, shares = linear_case(space=space)
    classifier = nets.linear_net(matrix, bias, 3, space, preprocessing=PREPROCESSING)
    maps = shares[:, 2].reshape(len(pictures), *space).astype(np.float32)
    scores = run(classifier, pictures, maps, overrides=rule, metrics=CURVES, readouts=("logit",), target=2)
    for metric in CURVES:
        found = curves_of(scores, metric, readout="logit")
        rows = [r for r in scores.rows if r.metric == metric]
        for i, row in enumerate(rows):
            # the order is that of the float32 map; rounding cannot reorder these contributions
            falling = sorted(shares[i, 2], reverse=not metric.endswith("lerf"))
            start = "image" if metric.startswith("deletion") else "baseline"
            expected, counts = [], counts_by_rule(rule, len(falling), start)
            for c in counts:
                shown = falling[c:] if start == "image" else falling[:c]
                expected.append(float(bias[2]) + sum(shown))
            np.testing.assert_allclose(found[i], expected, atol=2e-4)
            x = [c / len(falling) for c in counts]
            np.testing.assert_array_equal(row.curve.fractions, x)
            area = sum((a + b) / 2 * (v - u) for a, b, u, v in zip(expected, expected[1:], x, x[1:], strict=False))
            assert row.value == pytest.approx(area, abs=2e-4)


def test_no_map_removes_a_linear_logit_faster_than_its_contributions():
    matrix, bias, pictures, shares = linear_case(1)
    maps = {f"random {i}": np.random.default_rng(i).normal(size=(3, 5, 7)) for i in range(8)}
    maps["best"] = shares[:, 0].reshape(3, 5, 7)
    classifier = nets.linear_net(matrix, bias, 3, (5, 7), preprocessing=PREPROCESSING)
    options = {"overrides": {"intervals": "35"}, "metrics": ALL, "readouts": ("logit",), "target": 0}
    scores = run(classifier, pictures, maps, **options)
    for metric in ALL:
        best = np.array(values_of(scores, metric, "best", "logit"))
        sign = 1 if METRICS[metric].higher_is_better else -1
        for name in maps:
            assert (sign * (best - values_of(scores, metric, name, "logit")) >= -1e-6).all()


# ------------------------------------------------------------------------------------------------ counting pixels


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("preset", ["c2i", "rise"])
def test_deletion_and_insertion_of_a_model_that_counts_pixels_are_one_half(preset, rule):
    """The logit is the share of white pixels, the picture white, the baseline black: a line, whatever the map."""
    if preset == "rise":
        rule = {**rule, "x": "fraction"}
    matrix = np.stack([np.full(35, 1 / 35), np.zeros(35)])
    scores = run(
        nets.linear_net(matrix, np.zeros(2), 1, (5, 7)),
        np.ones((2, 1, 5, 7), np.float32),
        np.random.default_rng(0).normal(size=(2, 5, 7)),
        preset=preset,
        overrides={**rule, "baseline": "black"},
        metrics=ALL,
        readouts=("logit",),
    )
    for metric in CURVES:
        assert values_of(scores, metric, readout="logit") == pytest.approx([0.5, 0.5], abs=1e-6)
    assert values_of(scores, "gap", readout="logit") == pytest.approx([0, 0], abs=1e-6)


# ------------------------------------------------------------------------------------------------ invariances

examples = settings(deadline=None, derandomize=True, max_examples=8)
CONV = nets.conv_net(3, (6, 5), preprocessing=PREPROCESSING)


def picture_and_map(seed: int):
    rng = np.random.default_rng(seed)
    saliency = rng.permutation(30).reshape(1, 6, 5).astype(np.float32) - 11
    return rng.random((1, 3, 6, 5)).astype(np.float32), saliency


@examples
@given(st.integers(0, 10**6))
def test_strictly_increasing_transforms_of_saliency_change_no_bit(seed):
    picture, saliency = picture_and_map(seed)
    maps = {"plain": saliency, "scaled": 0.5 * saliency + 100, "cubed": saliency**3, "bent": np.arctan(saliency)}
    scores = run(CONV, picture, maps, overrides={"intervals": "6"}, metrics=ALL)
    for metric in ALL:
        plain = curves_of(scores, metric, "plain")
        for name in maps:
            np.testing.assert_array_equal(curves_of(scores, metric, name), plain)
    assert scores.run == 12, "equal rankings share every pass"


@examples
@given(st.integers(0, 10**6))
def test_morf_on_the_negative_is_lerf_without_ties(seed):
    picture, saliency = picture_and_map(seed)
    scores = run(CONV, picture, {"map": saliency, "minus": -saliency}, overrides={"intervals": "6"}, metrics=CURVES)
    for metric in ("deletion", "insertion"):
        np.testing.assert_array_equal(curves_of(scores, metric, "minus"), curves_of(scores, f"{metric}-lerf"))
        np.testing.assert_array_equal(curves_of(scores, f"{metric}-lerf", "minus"), curves_of(scores, metric))


@examples
@given(st.integers(0, 10**6))
def test_with_one_baseline_and_equal_counts_gap_is_insertion_minus_deletion(seed):
    picture, saliency = picture_and_map(seed)
    scores = run(CONV, picture, saliency, overrides={"intervals": "7"}, metrics=ALL)
    (gap,), (insertion,), (deletion,) = (values_of(scores, m) for m in ("gap", "insertion", "deletion"))
    assert gap == pytest.approx(insertion - deletion, abs=1e-12)
    assert scores.run == 14


@examples
@given(st.integers(0, 10**6))
def test_insertion_of_one_end_into_the_other_is_deletion_of_the_other_to_it(seed):
    """White revealed over black is black removed to white, step for step."""
    _, saliency = picture_and_map(seed)
    white, black = np.ones((1, 3, 6, 5), np.float32), np.zeros((1, 3, 6, 5), np.float32)
    rule = {"counts": "floor", "intervals": "7"}
    options = {"target": 1, "metrics": ("deletion", "insertion")}
    revealed = run(CONV, white, saliency, overrides={**rule, "baseline": "black"}, **options)
    removed = run(CONV, black, saliency, overrides={**rule, "baseline": "white"}, **options)
    np.testing.assert_array_equal(curves_of(revealed, "insertion"), curves_of(removed, "deletion"))


def test_a_temperature_changes_values_and_never_the_target_or_the_order_of_pixels():
    picture, saliency = picture_and_map(5)
    plain = run(CONV, picture, saliency, overrides={"intervals": "6"})
    for temperature in (0.3, 4.0):
        calibrator = Temperature.from_parameters({"temperature": temperature})
        both = run(CONV, picture, saliency, overrides={"intervals": "6"}, calibrator=calibrator)
        assert both.run == plain.run, "a calibrator costs no pass"
        assert [r.target for r in both.rows] == 2 * [r.target for r in plain.rows]
        np.testing.assert_array_equal(curves_of(both, "deletion"), curves_of(plain, "deletion"))
        changed = curves_of(both, "deletion", readout="calibrated")
        assert np.abs(changed - curves_of(plain, "deletion")).max() > 1e-3
