"""What the metrics make of their curves."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.metrics import DELETION, DELETION_LERF, GAP, INSERTION, INSERTION_LERF, METRICS, PRESETS
from c2i_fast.types import Curve


def curve(values, fractions=None) -> Curve:
    values = np.asarray(values, float)
    return Curve(
        fractions=np.linspace(0, 1, len(values)) if fractions is None else np.asarray(fractions), values=values
    )


@pytest.mark.parametrize("metric", [DELETION, INSERTION, DELETION_LERF, INSERTION_LERF], ids=lambda m: m.name)
def test_a_single_curve_is_its_own_metric(metric):
    only = curve([1, 0.25, 0])
    assert metric.curves == (metric.name,)
    assert metric.combine((only,)) is only


def test_gap_is_lerf_minus_morf_point_by_point_and_so_in_area():
    rng = np.random.default_rng(0)
    fractions = np.sort(rng.random(9))
    morf, lerf = curve(rng.random(9), fractions), curve(rng.random(9), fractions)
    assert GAP.curves == ("deletion", "deletion-lerf")
    made = GAP.combine((morf, lerf))
    assert made.values.tolist() == [b - a for a, b in zip(morf.values, lerf.values, strict=True)]
    assert made.fractions.tolist() == fractions.tolist()
    assert made.area() == pytest.approx(lerf.area() - morf.area(), abs=1e-15)


def test_better_maps_have_the_sign_of_the_metric():
    """A map that finds what matters: the class is lost at once by MoRF removal, and late by LeRF."""
    early, late = curve([1, 0.1, 0.05, 0]), curve([1, 0.95, 0.9, 0])
    assert not DELETION.higher_is_better
    assert DELETION_LERF.higher_is_better
    assert INSERTION.higher_is_better
    assert not INSERTION_LERF.higher_is_better
    assert GAP.higher_is_better
    assert GAP.combine((early, late)).area() > 0 > GAP.combine((late, early)).area()


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_finds_its_curves_in_every_preset_and_keeps_its_bounds(name):
    metric = METRICS[name]
    assert metric.name == name
    for preset in PRESETS:
        assert set(metric.curves) <= set(PRESETS[preset])
    lowest, highest = metric.bounds
    extremes = [curve(np.full(4, v)) for v in (0.0, 1.0)]
    for first in extremes:
        for second in extremes:
            assert lowest <= metric.combine((first, second)[: len(metric.curves)]).area() <= highest
