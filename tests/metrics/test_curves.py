"""What the metrics make of their curves."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.metrics import METRICS, PRESETS
from c2i_fast.metrics.base import Asked, CurveMetric, Measured
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Curve


def curve(values, fractions=None) -> Curve:
    values = np.asarray(values, float)
    return Curve(
        fractions=np.linspace(0, 1, len(values)) if fractions is None else np.asarray(fractions), values=values
    )


CURVE_METRICS = [METRICS[name] for name in METRICS if isinstance(METRICS[name], CurveMetric)]


def measured(name: str, *curves: Curve, **fields) -> Measured:
    """What a metric makes of curves, each under a protocol with these fields; the clean read-out is 1."""
    metric = METRICS[name]
    protocols = [CurveProtocol(name="x", metric=n, **fields) for n in metric.protocols]
    extra = [] if fields.get("value", "readout") == "readout" else [1.0]
    x = np.concatenate([np.append(c.fractions, [np.nan] * len(extra)) for c in curves])
    values = np.concatenate([np.append(c.values, extra) for c in curves])
    lengths = tuple(len(c.values) + len(extra) for c in curves)
    return metric.measure(Asked(passes=np.arange(len(x), dtype=np.int32), x=x, lengths=lengths), values, protocols)


@pytest.mark.parametrize("name", ["deletion", "insertion", "deletion-lerf", "insertion-lerf"])
def test_a_single_curve_is_its_own_metric(name):
    only = curve([1, 0.25, 0])
    assert METRICS[name].protocols == (name,)
    found = measured(name, only)
    assert found.value == only.area() == 0.375
    assert found.curve.values.tolist() == only.values.tolist()


def test_gap_is_lerf_minus_morf_point_by_point_and_so_in_area():
    rng = np.random.default_rng(0)
    fractions = np.sort(rng.random(9))
    morf, lerf = curve(rng.random(9), fractions), curve(rng.random(9), fractions)
    assert METRICS["gap"].protocols == ("deletion", "deletion-lerf")
    found = measured("gap", morf, lerf)
    assert found.curve.values.tolist() == [b - a for a, b in zip(morf.values, lerf.values, strict=True)]
    assert found.curve.fractions.tolist() == fractions.tolist()
    assert found.value == pytest.approx(lerf.area() - morf.area(), abs=1e-15)


def test_better_maps_have_the_sign_of_the_metric():
    """A map that finds what matters: the class is lost at once by MoRF removal, and late by LeRF."""
    early, late = curve([1, 0.1, 0.05, 0]), curve([1, 0.95, 0.9, 0])
    signs = {name: METRICS[name].higher_is_better for name in METRICS}
    assert not signs["deletion"]
    assert signs["insertion"]
    assert signs["deletion-lerf"]
    assert not signs["insertion-lerf"]
    assert signs["gap"]
    assert measured("gap", early, late).value > 0 > measured("gap", late, early).value
    assert signs["aopc-morf"]
    assert not signs["aopc-lerf"]
    drops = {"value": "drop", "summary": "mean"}
    assert measured("aopc-morf", early, **drops).value > measured("aopc-morf", late, **drops).value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 0.5 * (1 + 0.4) / 2 + 0.5 * (0.4 + 0.1) / 2),
        ({"summary": "mean"}, 0.5),
        ({"summary": "above"}, 1 - (0.5 * 0.7 + 0.5 * 0.25)),
        ({"value": "drop", "summary": "mean"}, (0 + 0.6 + 0.9) / 3),
        ({"value": "ratio"}, 0.5 * 0.7 + 0.5 * 0.25),
    ],
)
def test_what_is_followed_and_how_it_is_summed_up_by_hand(fields, expected):
    assert measured("deletion", curve([1, 0.4, 0.1]), **fields).value == pytest.approx(expected, abs=1e-15)


def test_an_absolute_area_loses_its_sign():
    assert measured("deletion", curve([-1, -0.5, 0]), summary="abs-trapezoid").value == 0.5


def test_ratios_are_to_the_clean_read_out_and_not_to_the_first_point():
    metric, half = METRICS["deletion"], np.array([0.4, 0.2, 0.8])
    asked = Asked(passes=np.arange(3, dtype=np.int32), x=np.array([0.5, 1, np.nan]), lengths=(3,))
    found = metric.measure(asked, half, [CurveProtocol(name="x", metric="deletion", value="ratio")])
    assert found.curve.values.tolist() == [0.5, 0.25]


@pytest.mark.parametrize("metric", CURVE_METRICS, ids=lambda m: m.name)
def test_every_curve_metric_is_in_our_preset_and_keeps_its_bounds(metric):
    assert METRICS[metric.name] is metric
    assert set(metric.protocols) <= set(PRESETS["c2i"])
    lowest, highest = metric.bounds
    extremes = [curve(np.full(4, v)) for v in (0.0, 1.0)]
    fields = {"value": PRESETS["c2i"][metric.protocols[0]].value}
    for first in extremes:
        for second in extremes:
            found = measured(metric.name, *(first, second)[: len(metric.protocols)], **fields)
            assert lowest <= found.value <= highest
