"""Localisation: loops over pixels, scikit-learn, and what must hold for any map and region."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from c2i_fast.metrics import METRICS, protocol_for
from c2i_fast.metrics.localisation import (
    energy_pointing,
    iou,
    pointing_game,
    relevance_mass,
    relevance_rank,
    roc_auc,
    top_hits,
)
from c2i_fast.metrics.otsu import marked

FUNCTIONS = {
    "pointing-game": pointing_game,
    "energy-pointing": energy_pointing,
    "relevance-mass": relevance_mass,
    "relevance-rank": relevance_rank,
    "iou": iou,
    "roc-auc": roc_auc,
}
SHAPE = (4, 5)
LEVELS = st.sampled_from([-2.0, -1.0, 0.0, 0.25, 0.5, 1.0, 3.0])  # so that ties are common
MAPS = arrays(np.float64, SHAPE, elements=LEVELS)
REGIONS = arrays(np.bool_, SHAPE)


def value(metric, saliency, region, **overrides):
    protocol = protocol_for("c2i", metric, overrides)
    return FUNCTIONS[metric](np.asarray(saliency, float), np.asarray(region, bool), protocol)


# -------------------------------------------------------------------------------- golden cases


def test_a_case_by_hand():
    saliency = [[4, 2, -1], [2, 1, 0]]
    region = [[1, 1, 0], [0, 0, 1]]
    assert value("pointing-game", saliency, region) == 1
    assert value("energy-pointing", saliency, region) == value("relevance-mass", saliency, region) == 6 / 9
    assert value("relevance-mass", saliency, region, relevance="absolute") == 6 / 10
    assert value("relevance-rank", saliency, region) == 2 / 3  # 4, 2 and 2: two of them in the region
    assert value("iou", saliency, region, threshold="region-size") == 2 / 4
    assert value("iou", saliency, region, threshold="share", share="0.5") == 2 / 4  # 4, 2, 2 against 4, 2, 0
    assert value("iou", saliency, region, threshold="share", share="1") == 1 / 3
    # pairs (inside, outside): 4 beats 2, −1, 1; 2 ties 2 and beats −1, 1; 0 beats −1
    assert value("roc-auc", saliency, region) == (3 + 2.5 + 1) / 9


def test_pointing_shares_equal_maxima_and_tolerates_a_near_miss():
    saliency = np.zeros((9, 9))
    region = np.zeros((9, 9), bool)
    region[0, 0] = True
    saliency[3, 4] = 1  # 5 pixels from the region
    assert value("pointing-game", saliency, region) == 0
    assert value("pointing-game", saliency, region, tolerance="4") == 0
    assert value("pointing-game", saliency, region, tolerance="5") == 1
    saliency[0, 0] = saliency[8, 8] = saliency[8, 0] = 1
    assert value("pointing-game", saliency, region) == 0.25
    assert value("pointing-game", saliency, region, tolerance="5") == 0.5


def test_iou_under_otsu_is_that_of_what_is_marked():
    rng = np.random.default_rng(0)
    saliency = np.concatenate([rng.normal(0, 1, (10, 10)), rng.normal(9, 1, (10, 10))])
    region = np.arange(200).reshape(20, 10) >= 50
    chosen = marked(saliency)
    assert chosen[10:].all()
    assert not chosen[:10].any()
    assert value("iou", saliency, region) == 100 / 150
    assert value("iou", saliency, chosen) == 1


# -------------------------------------------------------------------------------- slow loops


def slow(metric, saliency, region):
    pixels = list(zip(saliency.ravel().tolist(), region.ravel().tolist(), strict=True))
    inside = [v for v, r in pixels if r]
    outside = [v for v, r in pixels if not r]
    if metric == "pointing-game":
        best = max(v for v, _ in pixels)
        return sum(v == best for v in inside) / sum(v == best for v, _ in pixels)
    if metric == "relevance-mass":
        total = sum(max(v, 0) for v, _ in pixels)
        return sum(max(v, 0) for v in inside) / total if total else len(inside) / len(pixels)
    assert metric == "roc-auc"
    wins = sum((a > b) + (a == b) / 2 for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


@settings(deadline=None)
@given(MAPS, REGIONS, st.sampled_from(["pointing-game", "relevance-mass", "roc-auc"]))
def test_equals_a_loop_over_pixels(saliency, region, metric):
    assume(region.any() and not region.all())
    assert value(metric, saliency, region) == pytest.approx(slow(metric, saliency, region), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(MAPS, REGIONS)
def test_roc_auc_is_scikit_learns(saliency, region):
    assume(region.any() and not region.all())
    expected = roc_auc_score(region.ravel(), saliency.ravel())
    assert value("roc-auc", saliency, region) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, 6, elements=LEVELS), arrays(np.bool_, 6), st.integers(1, 6))
def test_top_hits_are_expected_over_every_order_of_the_ties(saliency, region, count):
    falling = sorted(saliency, reverse=True)
    orders = [order for order in permutations(range(6)) if list(saliency[list(order)]) == falling]
    hits = [sum(region[i] for i in order[:count]) for order in orders]
    assert top_hits(saliency, region, count) == pytest.approx(np.mean(hits), abs=1e-12)


# -------------------------------------------------------------------------------- what must hold


@settings(deadline=None)
@given(MAPS, REGIONS, st.sampled_from(list(FUNCTIONS)), st.sampled_from([2.0**-40, 0.5, 4.0, 2.0**40]))
def test_positive_scaling_changes_nothing_and_values_keep_their_bounds(saliency, region, metric, factor):
    assume(region.any() and not region.all())
    made = value(metric, saliency, region)
    assert value(metric, factor * saliency, region) == pytest.approx(made, abs=1e-12)
    assert METRICS[metric].bounds[0] <= made <= METRICS[metric].bounds[1]
    assert METRICS[metric].higher_is_better


@settings(deadline=None)
@given(REGIONS, st.sampled_from(list(FUNCTIONS)))
def test_the_region_itself_as_a_map_is_perfect(region, metric):
    assume(region.any() and not region.all())
    assert value(metric, region, region) == 1
    if metric != "relevance-rank" or region.mean() <= 0.5:  # the K highest of a larger one must reach into it
        assert value(metric, ~region, region) == 0


@settings(deadline=None)
@given(REGIONS, st.sampled_from([-3.0, 0.0, 2.0]))
def test_a_constant_map_gets_what_chance_gets(region, level):
    assume(region.any() and not region.all())
    constant = np.full(SHAPE, level)
    for metric in ("pointing-game", "energy-pointing", "relevance-mass", "relevance-rank"):
        assert value(metric, constant, region) == pytest.approx(region.mean(), abs=1e-12)
    assert value("roc-auc", constant, region) == 0.5
    assert value("iou", constant, region) == 0


@settings(deadline=None)
@given(MAPS, REGIONS)
def test_iou_of_the_regions_size_is_a_function_of_the_rank(saliency, region):
    assume(region.any())
    rank = value("relevance-rank", saliency, region)
    assert value("iou", saliency, region, threshold="region-size") == pytest.approx(rank / (2 - rank), abs=1e-12)


def test_a_region_of_the_whole_image_has_no_roc_auc():
    saliency = np.arange(20.0).reshape(SHAPE)
    whole = np.ones(SHAPE, bool)
    assert value("roc-auc", saliency, whole) is None
    assert [value(metric, saliency, whole) for metric in ("pointing-game", "relevance-mass", "relevance-rank")] == [
        1
    ] * 3


def test_extreme_maps_neither_overflow_nor_vanish():
    region = np.array([True, False])
    for tiny in (1e-320, 1e308):
        assert value("relevance-mass", np.array([tiny, tiny]), region) == 0.5
        assert np.isfinite(value("iou", np.array([tiny, 0]), region))


def test_signals_have_regions_too():
    saliency, region = np.array([0.0, 3, 1, 0]), np.array([False, True, True, False])
    assert (
        value("pointing-game", saliency, region) == value("iou", saliency, region, threshold="share", share="0.2") == 1
    )


def test_what_every_field_does_is_told_by_the_hash():
    names = [
        protocol_for("c2i", "iou"),
        protocol_for("c2i", "iou", {"threshold": "region-size"}),
        protocol_for("c2i", "iou", {"threshold": "share", "share": "0.2"}),
        protocol_for("c2i", "iou", {"threshold": "share", "share": "0.3"}),
        protocol_for("c2i", "pointing-game"),
        protocol_for("c2i", "pointing-game", {"tolerance": "15"}),
        protocol_for("c2i", "relevance-mass"),
        protocol_for("c2i", "relevance-mass", {"relevance": "absolute"}),
    ]
    assert len({protocol.hash() for protocol in names}) == len(names)


@pytest.mark.parametrize(
    ("metric", "overrides", "said"),
    [
        ("iou", {"share": "0.2"}, "threshold=otsu and share=0.2 do not fit"),
        ("iou", {"threshold": "share"}, "threshold=share and share=None do not fit"),
        ("iou", {"threshold": "mean"}, "threshold must be one of otsu, region-size, share; got 'mean'"),
        ("iou", {"threshold": "share", "share": "1.5"}, "share must be a number above 0 and at most 1"),
        ("pointing-game", {"tolerance": "-1"}, "tolerance must be a whole number"),
        ("relevance-mass", {"relevance": "signed"}, "relevance must be one of positive, absolute"),
    ],
)
def test_protocols_that_cannot_be(metric, overrides, said):
    with pytest.raises(ValueError, match=said):
        protocol_for("c2i", metric, overrides)
