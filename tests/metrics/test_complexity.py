"""Complexity: loops, closed forms, and what must hold for any map."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from c2i_fast.errors import MissingDependencyError
from c2i_fast.metrics import METRICS, protocol_for
from c2i_fast.metrics.complexity import entropy, gini, total_variation
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.otsu import marked

FUNCTIONS = {"entropy": entropy, "gini": gini, "total-variation": total_variation}
MAPS = arrays(
    np.float64,
    array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=6),
    elements=st.sampled_from([-2.0, 0.0, 0.25, 1.0, 3.0]),
)


def value(metric, saliency, preset="c2i", **overrides):
    return FUNCTIONS[metric](np.asarray(saliency, float), protocol_for(preset, metric, overrides))


def slow_gini(saliency):
    """Half the mean difference of pairs over the mean."""
    values = [abs(v) for v in np.ravel(saliency).tolist()]
    total = sum(abs(a - b) for a in values for b in values)
    return total / (2 * len(values) * sum(values)) if any(values) else 0.0


def slow_entropy(saliency):
    values = [abs(v) for v in np.ravel(saliency).tolist()]
    if not any(values):
        return math.log(len(values))
    return -sum(v / sum(values) * math.log(v / sum(values)) for v in values if v)


def slow_variation(binary, power):
    total = 0.0
    for axis in range(binary.ndim):
        lines = np.moveaxis(binary, axis, 0).reshape(binary.shape[axis], -1).tolist()
        steps = [a != b for low, high in pairwise(lines) for a, b in zip(low, high, strict=True)]
        total += (sum(steps) / len(steps)) ** power if steps else 0
    return total


def slow_otsu(saliency):
    """Every cut between the 256 bins, by the variance between its sides."""
    values = np.ravel(saliency).astype(float)
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(np.shape(saliency), bool)
    scaled = (values - low) / (high - low)
    bins = np.minimum((scaled * 256).astype(int), 255)
    centres = (np.arange(256) + 0.5) / 256
    best, threshold = -1.0, 0.0
    for cut in range(255):
        below, above = centres[bins[bins <= cut]], centres[bins[bins > cut]]
        between = len(below) * len(above) * (below.mean() - above.mean()) ** 2
        if between > best * (1 + 1e-9):
            best, threshold = between, centres[cut]
    return (scaled > threshold).reshape(np.shape(saliency))


@settings(deadline=None)
@given(MAPS)
def test_entropy_and_gini_equal_their_loops(saliency):
    assert value("entropy", saliency) == pytest.approx(slow_entropy(saliency), abs=1e-12)
    assert value("gini", saliency) == pytest.approx(slow_gini(saliency), abs=1e-12)


@settings(deadline=None)
@given(MAPS, st.sampled_from(["1", "3"]))
def test_total_variation_equals_its_loop(saliency, power):
    expected = slow_variation(marked(saliency), int(power))
    assert value("total-variation", saliency, power=power) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_marked_is_above_the_cut_of_largest_variance(seed):
    rng = np.random.default_rng(seed)
    saliency = np.concatenate([rng.normal(size=300), rng.normal(3 + seed, 2, 100)]).reshape(20, 20)
    np.testing.assert_array_equal(marked(saliency), slow_otsu(saliency))
    np.testing.assert_array_equal(marked(1e-30 * saliency - 7e-30), marked(saliency))


@pytest.mark.parametrize("n", [1, 2, 9, 1000])
def test_closed_forms(n):
    one_hot = np.eye(1, n)[0]
    assert value("gini", one_hot) == pytest.approx(1 - 1 / n, abs=1e-12)
    assert value("entropy", one_hot) == 0
    for level in (-3.0, 0.0, 1e-320, 1e308):  # a map of zeros is constant too
        assert value("entropy", np.full(n, level)) == pytest.approx(math.log(n), abs=1e-12)
        assert value("gini", np.full(n, level)) == pytest.approx(0, abs=1e-12)
        assert value("total-variation", np.full(n, level)) == 0


def test_total_variation_by_hand_and_the_papers_power():
    board = np.indices((6, 8)).sum(0) % 2
    half = np.arange(8)[None].repeat(6, 0) >= 4
    assert value("total-variation", board) == value("total-variation", board, "c2i-paper") == 2
    assert value("total-variation", half) == pytest.approx(1 / 7)
    assert value("total-variation", half, "c2i-paper") == pytest.approx(1 / 343)
    assert protocol_for("c2i-paper", "total-variation").hash() != protocol_for("c2i", "total-variation").hash()


@settings(deadline=None)
@given(MAPS, st.sampled_from(list(FUNCTIONS)), st.sampled_from([2.0**-40, 0.5, 4.0]))
def test_positive_scaling_changes_nothing_and_values_keep_their_bounds(saliency, metric, factor):
    made = value(metric, saliency)
    assert value(metric, factor * saliency) == pytest.approx(made, abs=1e-12)
    assert METRICS[metric].bounds[0] <= made <= METRICS[metric].bounds[1]


@settings(deadline=None)
@given(MAPS)
def test_the_sign_of_relevance_does_not_matter_but_to_what_is_marked(saliency):
    for metric in ("entropy", "gini"):
        assert value(metric, -saliency) == pytest.approx(value(metric, saliency), abs=1e-12)


@settings(deadline=None)
@given(arrays(np.float64, 9, elements=st.integers(0, 4).map(float)))
def test_moving_relevance_to_the_largest_pixel_is_simpler(saliency):
    assume(np.count_nonzero(saliency) > 1)
    smallest = np.where(saliency > 0, saliency, np.inf).argmin()
    others = np.delete(np.arange(9), smallest)
    largest = others[saliency[others].argmax()]
    sparser = saliency.copy()
    sparser[largest] += sparser[smallest]
    sparser[smallest] = 0
    assert value("entropy", sparser) < value("entropy", saliency)
    assert value("gini", sparser) > value("gini", saliency)
    assert not METRICS["entropy"].higher_is_better
    assert METRICS["gini"].higher_is_better
    assert not METRICS["total-variation"].higher_is_better


@pytest.mark.parametrize(
    ("metric", "overrides"), [("total-variation", {}), ("iou", {}), ("iou", {"threshold": "otsu"})]
)
def test_a_missing_package_is_named_before_anything_runs(monkeypatch, metric, overrides):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr("c2i_fast.metrics.otsu.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="scikit-image is not installed"):
        make_measures((metric,), ("c2i",), overrides)
    make_measures(("iou", "entropy", "roc-auc"), ("c2i",), {"threshold": "region-size"})
