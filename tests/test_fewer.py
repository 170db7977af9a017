"""`tolerance`: fewer passes, areas unbiased for the full protocol's, and all passes where nothing can be saved."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.errors import UsageError
from c2i_fast.fewer import Fewer, can_be_sampled, check_tolerance, stretches
from c2i_fast.metrics.measures import make_measures
from c2i_fast.perturb.sampled import sample_at
from c2i_fast.score import plan_measures, score_stream
from tests import nets
from tests.test_score import make_task

SPACE = (12, 12)
FULL = {"intervals": "72"}


def images_and_maps(count=6, seed=0):
    rng = np.random.default_rng(seed)
    source = MemoryImages(rng.random((count, 3, *SPACE)).astype(np.float32))
    return source, memory_maps({"m": rng.random((count, *SPACE)), "n": rng.random((count, *SPACE))}, source.ids)


def scored(task, count=6, passes=None):
    source, maps = images_and_maps(count)
    passes = passes or nets.NumpyPasses(nets.smooth_function((3, *SPACE), seed=4))
    parts = score_stream(source.stream(), maps, passes, task, keep_logits=False)
    return [image for part in parts for image in part.images]


def rows(images):
    return {(r.image, r.method, r.metric, r.readout): r for image in images for r in image.scores}


METRICS = ("deletion", "insertion", "deletion-lerf", "insertion-lerf", "gap")


def test_values_are_the_estimates_of_the_sampled_points_of_the_full_curves():
    """Each estimate again, from the full protocol's own curves at the points that were run."""
    full = rows(scored(make_task(METRICS, overrides=FULL)))
    few = rows(scored(make_task(METRICS, overrides=FULL, tolerance=0.02)))
    assert few.keys() == full.keys()
    for key, row in few.items():
        if key[2] == "gap":
            lerf, morf = (few[(*key[:2], name, key[3])] for name in ("deletion-lerf", "deletion"))
            assert row.value == pytest.approx(lerf.value - morf.value, abs=1e-12)
            assert row.half_difference == pytest.approx(lerf.half_difference - morf.half_difference, abs=1e-12)
            assert row.curve is None
            continue
        curve = full[key].curve
        assert set(row.curve.fractions.round(9)) <= set(curve.fractions.round(9))
        at = np.searchsorted(curve.fractions.round(9), row.curve.fractions.round(9))
        np.testing.assert_allclose(row.curve.values, curve.values[at], rtol=0, atol=1e-12)
        assert len(row.curve.values) == row.passes < 73


def test_deletion_and_its_mirror_share_one_sample():
    few = rows(scored(make_task(METRICS, overrides=FULL, tolerance=0.02)))
    for (image, method, metric, readout), row in few.items():
        if metric == "deletion":
            mirror = few[image, method, "insertion-lerf", readout]
            assert row.value == pytest.approx(mirror.value, abs=1e-12)
            np.testing.assert_allclose(mirror.curve.fractions, 1 - row.curve.fractions[::-1], atol=1e-12)


def test_passes_run_are_the_points_drawn_and_nothing_is_run_twice():
    passes = nets.NumpyPasses(nets.smooth_function((3, *SPACE), seed=4))
    images = scored(make_task(METRICS, overrides=FULL, tolerance=0.02), passes=passes)
    forwarded = sum(len(work) for work in passes.calls)
    assert forwarded == sum(image.run + image.plan.extra for image in images)
    for image in images:
        assert image.run < 0.5 * image.plan.passes


def test_estimates_are_unbiased_over_every_start_of_the_draw():
    """By integration over the start, for each family of one image: the mean estimate is the full area."""
    task = make_task(("deletion", "gap"), overrides=FULL, tolerance=0.02)
    source, maps = images_and_maps(1)
    image = next(iter(source.stream()))
    plan = plan_measures(image, {"m": maps["m"].load("0", SPACE)}, task)
    passes = nets.NumpyPasses(nets.smooth_function((3, *SPACE), seed=4))
    logits = passes.select(plan.plans, plan.work).astype(np.float64)
    target = int(logits[plan.clean].argmax())
    values = np.exp(logits[:, target]) / np.exp(logits).sum(axis=1)
    own = Fewer.of(plan, task.measures, 0.02)
    starts = (np.arange(4096) + 0.5) / 4096
    for number, measure in enumerate(task.measures):
        found = []
        for start in starts:
            for stretch in own._stretches():
                own.samples[stretch.family] = sample_at(stretch.design, values[stretch.coarse], start)
            found.append(own.measure(number, measure, values).value)
        request = plan.requests[number]
        areas = [
            np.trapezoid(values[p], x)
            for p, x in zip(
                np.split(request.passes, np.cumsum(request.lengths)[:-1]),
                np.split(request.x, np.cumsum(request.lengths)[:-1]),
                strict=True,
            )
        ]
        assert np.mean(found) == pytest.approx(areas[-1] - (areas[0] if len(areas) > 1 else 0), abs=2e-4)


def test_the_draw_is_the_images_own_whatever_is_scored_beside_it():
    task = make_task(("deletion",), overrides=FULL, tolerance=0.02)
    many, few = rows(scored(task, 6)), rows(scored(make_task(METRICS, overrides=FULL, tolerance=0.02), 6))
    again = rows(scored(make_task(("deletion",), overrides=FULL, tolerance=0.02, passes_per_part=7), 6))
    for key, row in many.items():
        assert row.value == few[key].value == again[key].value
        assert row.curve.fractions.tolist() == again[key].curve.fractions.tolist()
    other = rows(scored(make_task(("deletion",), overrides=FULL, tolerance=0.02, seed=5), 6))
    assert any(other[key].value != row.value for key, row in many.items())


def test_what_cannot_be_sampled_is_run_in_full_beside_it():
    few = rows(scored(make_task(("deletion", "aopc-morf"), overrides=FULL, tolerance=0.05), 2))
    full = rows(scored(make_task(("deletion", "aopc-morf"), overrides=FULL), 2))
    for key, row in few.items():
        if key[2] == "aopc-morf":
            assert (row.value, row.passes, row.half_difference) == (full[key].value, full[key].passes, 0.0)


def test_a_tolerance_smaller_than_any_saving_is_the_full_protocol():
    few = rows(scored(make_task(METRICS, overrides=FULL, tolerance=1e-9), 2))
    for key, row in rows(scored(make_task(METRICS, overrides=FULL), 2)).items():
        assert few[key].value == pytest.approx(row.value, abs=1e-12)
        assert few[key].half_difference == 0


def test_only_linear_sums_of_plain_areas_can_be_sampled():
    able = {m.metric.name for m in make_measures((*METRICS, "aopc-morf", "irof"), ("c2i",)) if can_be_sampled(m)}
    assert able == set(METRICS)
    assert not any(can_be_sampled(m) for m in make_measures(("deletion",), ("pnpxai-morf",)))
    assert all(can_be_sampled(m) for m in make_measures(("deletion", "insertion"), ("rise",)))


@pytest.mark.parametrize("tolerance", [0, -1, 1, float("nan"), float("inf")])
def test_a_tolerance_is_a_small_number(tolerance):
    with pytest.raises(UsageError, match="--tolerance is an error of a mean area"):
        check_tolerance(tolerance, make_measures(("deletion",), ("c2i",)))


def test_a_tolerance_without_an_area_is_refused():
    with pytest.raises(UsageError, match="aopc-morf have none; leave it out"):
        check_tolerance(0.001, make_measures(("aopc-morf",), ("c2i",)))


def test_curves_are_laid_out_by_the_share_at_the_baseline():
    task = make_task(("deletion", "insertion-lerf"), overrides=FULL, tolerance=0.02)
    source, maps = images_and_maps(1)
    plan = plan_measures(next(iter(source.stream())), {"m": maps["m"].load("0", SPACE)}, task)
    (one,), (two,) = (stretches(request, 0.02) for request in plan.requests)
    assert one.family == two.family
    assert one.passes.tolist() == two.passes.tolist()
    assert plan.perturbed_fraction[one.passes] == pytest.approx(one.design.x, abs=1e-12)


def test_the_cost_foretold_is_an_upper_one_and_not_far_off():
    task = make_task(METRICS, overrides=FULL, tolerance=0.01)
    for image in scored(task):
        foretold = Fewer.of(image.plan, task.measures, 0.01).most()
        assert 0.5 * foretold <= image.run <= foretold + 4
