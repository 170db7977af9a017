from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2i_fast.bench.scoring import (
    PoolImages,
    PoolMaps,
    ScoringFigures,
    images_for,
    scoring_task,
    smooth_noise,
    synthetic_workload,
)
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.export.open import GraphOpener
from c2i_fast.perturb.order import pixel_order, tied_share
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.results.record import Totals
from c2i_fast.types import EngineConfig


def test_a_workload_scores_every_point_of_two_curves_for_three_metrics(tiny):
    passes = GraphPasses(GraphOpener(tiny, EngineConfig(engine="onnxruntime", threads=1)), tiny.contract, 16)
    work = synthetic_workload(tiny.contract, passes, 3, Temperature.from_parameters({"temperature": 2.0}))
    totals = work.score()
    assert (totals.images, totals.requested, totals.run) == (3, 3 * 99, 3 * 64)
    assert work.task.readouts == ("raw", "calibrated")
    assert [p.intervals for p in work.task.protocols] == [32, 32, 32]


def test_images_smaller_than_the_curve_get_fewer_intervals(tiny):
    task = scoring_task(replace(tiny.contract, space=(3, 4)), None)
    assert {protocol.intervals for protocol in task.protocols} == {12}


def test_figures_are_passes_over_median_seconds():
    totals = Totals(images=2, requested=198, run=128)
    found = ScoringFigures.of(
        np.array([2.0, 1.0, 9.0]), np.array([0.05, 0.1, 0.2]), totals=totals, batch=32, raw_batch=8
    )
    assert found.passes_per_s == pytest.approx(64)
    assert found.raw_images_per_s == pytest.approx(80)
    assert found.efficiency == pytest.approx(0.8)
    assert (found.images, found.passes, found.runs, found.batch, found.raw_batch) == (2, 128, 3, 32, 8)


def test_the_pool_goes_round():
    pool = smooth_noise(2, (1, 4, 4), seed=0)
    images = [image.pixels for image in PoolImages(pool, 5).stream()]
    assert len(images) == 5
    np.testing.assert_array_equal(images[4], pool[0])
    maps = PoolMaps(pool[:, 0], 5)
    np.testing.assert_array_equal(maps.load("3", (4, 4)), pool[1, 0])


@pytest.mark.parametrize("shape", [(3, 32, 40), (2, 100)])
def test_noise_has_structure_and_hardly_a_tie(shape):
    noise = smooth_noise(2, shape, seed=0)
    assert noise.shape == (2, *shape)
    assert noise.dtype == np.float32
    assert 0 <= noise.min() < noise.max() < 1
    assert tied_share(noise[0, 0], pixel_order(noise[0, 0])) < 0.05
    assert np.abs(np.diff(noise[0, 0], axis=-1)).mean() < 0.2  # white noise would have 1/3


@pytest.mark.parametrize(("seconds", "expected"), [(1.0, 10), (0.001, 1), (1e6, 1024)])
def test_as_many_images_as_fill_the_time(seconds, expected):
    assert images_for(seconds, 640.0, 64) == expected
