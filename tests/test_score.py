"""The main path: streams of images to scores, equal to their definition and to themselves however they are grouped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count, islice
from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.calibration.temperature import Temperature
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.data.source import Image, Skipped
from c2i_fast.errors import InputError, UsageError
from c2i_fast.metrics import METRICS
from c2i_fast.metrics.measures import DEFAULT_METRICS, make_measures, protocols_of
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import Preprocessing
from tests import nets

PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
ALL = ("deletion", "insertion", "deletion-lerf", "insertion-lerf", "gap")


def make_task(metrics=ALL, preset="c2i", overrides=None, **options) -> ScoreTask:
    measures = make_measures(metrics, (preset,), {"intervals": "5"} if overrides is None else overrides)
    content = {"measures": measures, "readouts": ("raw",), "preprocessing": PREPROCESSING}
    return ScoreTask(**{**content, **options})


def run(images, maps, task, passes=None, **source):
    """Parts of a stream over arrays in memory."""
    images = MemoryImages(images, **source)
    passes = passes or nets.NumpyPasses(nets.smooth_function(images_shape(images), seed=4))
    return list(score_stream(images.stream(), memory_maps(maps, images.ids), passes, task))


def images_shape(images: MemoryImages) -> tuple[int, ...]:
    return next(images.loads(0))().shape


def rows_of(parts):
    return [score for part in parts for image in part.images for score in image.scores]


def case(count_=3, space=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count_, 3, *space)).astype(np.float32), {
        "ours": rng.normal(size=(count_, *space)).astype(np.float32),
        "tied": rng.integers(0, 3, (count_, *space)).astype(np.float32),
    }


# ------------------------------------------------------------------------------------------------ the definition


def defined_curve(image, saliency, name: str, logits_of, intervals: int) -> tuple[list[float], list[np.ndarray]]:
    """x and logits of a c2i curve, pixel by pixel."""
    values = saliency.ravel().tolist()
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    order = order[::-1] if name.endswith("lerf") else order
    mean = PREPROCESSING.channel_stats(3)[0].reshape(3, *(1,) * (image.ndim - 1))
    baseline = mean + np.zeros_like(image)
    from_image = name.startswith("deletion")
    start, end = (image, baseline) if from_image else (baseline, image)
    x, logits = [], []
    for k in range(intervals + 1):
        whole, rest = divmod(k * len(values), intervals)
        changed = whole + (rest > 0 and not from_image)
        shown = start.reshape(3, -1).copy()
        for place in order[:changed]:
            shown[:, place] = end.reshape(3, -1)[:, place]
        x.append(changed / len(values))
        logits.append(logits_of(shown.reshape(image.shape)).astype(np.float32).astype(np.float64))
    return x, logits


def area(x, y) -> float:
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(x) - 1))


@pytest.mark.parametrize("space", [(6, 5), (11,), (1, 7)])
def test_scores_are_their_definition(space):
    images, maps = case(space=space)
    logits_of = nets.smooth_function((3, *space), seed=4)
    calibrator = Temperature.from_parameters({"temperature": 1.6})
    task = make_task(readouts=("raw", "calibrated", "logit"), calibrator=calibrator)
    rows = rows_of(run(images, maps, task, nets.NumpyPasses(logits_of)))
    keys = [(r.image, r.method, r.metric, r.readout) for r in rows]
    assert len(set(keys)) == len(keys) == 3 * 2 * 5 * 3
    found = dict(zip(keys, rows, strict=True))

    def read(z: np.ndarray, target: int, readout: str) -> float:
        if readout == "logit":
            return z[target]
        z = z / 1.6 if readout == "calibrated" else z
        return np.exp(z[target]) / np.exp(z).sum()

    for i, image in enumerate(images):
        target = int(np.argmax(logits_of(image)))
        for method, saliency in maps.items():
            for readout in task.readouts:
                curves = {}
                for name in ALL[:4]:
                    x, logits = defined_curve(image, saliency[i], name, logits_of, 5)
                    curves[name] = x, [read(z, target, readout) for z in logits]
                (x, morf), (_, lerf) = curves["deletion"], curves["deletion-lerf"]
                curves["gap"] = x, [b - a for a, b in zip(morf, lerf, strict=True)]
                for name, (x, y) in curves.items():
                    row = found[str(i), method, name, readout]
                    assert row.target == target
                    np.testing.assert_allclose(row.curve.values, y, rtol=1e-12, atol=1e-14)
                    np.testing.assert_allclose(row.curve.fractions, x, rtol=1e-15)
                    assert row.value == pytest.approx(area(x, y), rel=1e-12, abs=1e-14)
                    assert row.passes == (12 if name == "gap" else 6)
                    assert row.protocol == "c2i+intervals=5"


def test_rows_come_image_by_image_with_the_warnings_of_their_map():
    images, maps = case()
    rows = rows_of(run(images, maps | {"flat": np.zeros((3, 6, 5))}, make_task()))
    assert [r.image for r in rows] == sorted(r.image for r in rows)
    of_map = ("ties", "constant")  # what the passes say beside it is tests/metrics/test_diagnostics.py's
    warnings = {r.method: tuple(text for text in r.warnings if text.startswith(of_map)) for r in rows}
    assert warnings == {"ours": (), "tied": ("ties=1.00",), "flat": ("constant map",)}


def test_gap_under_rise_is_of_the_zero_baseline_both_ways():
    """Insertion starts from a blur there, so gap cannot be insertion minus deletion."""
    images, maps = case()
    overrides = {"pixels_per_step": "7"}
    rows = rows_of(run(images, {"ours": maps["ours"]}, make_task(preset="rise", overrides=overrides)))
    values = {(r.image, r.metric): r.value for r in rows}
    protocols = {p.metric: p for p in make_task(preset="rise", overrides=overrides).protocols}
    for image in "012":
        assert values[image, "gap"] == pytest.approx(
            values[image, "deletion-lerf"] - values[image, "deletion"], abs=1e-12
        )
        assert abs(values[image, "gap"] - (values[image, "insertion"] - values[image, "deletion"])) > 1e-3
    gap = next(r for r in rows if r.metric == "gap")
    assert gap.protocol_hash == protocols["deletion"].hash()


# ------------------------------------------------------------------------------------------------ grouping


def same_rows(a, b) -> bool:
    key = lambda r: (r.image, r.method, r.metric, r.readout)  # noqa: E731
    one, other = {key(r): r for r in a}, {key(r): r for r in b}
    return one.keys() == other.keys() and all(
        one[k].value == other[k].value and np.array_equal(one[k].curve.values, other[k].curve.values) for k in one
    )


def test_grouping_changes_no_bit_and_parts_follow_each_other():
    images, maps = case(7)
    expected = run(images, maps, make_task(passes_per_part=10**6))
    assert len(expected) == 1
    per_image = len(expected[0].images[0].plan.work)
    for passes, sizes in (
        (1, [1] * 7),
        (per_image, [1] * 7),
        (per_image + 1, [2, 2, 2, 1]),
        (3 * per_image, [3, 3, 1]),
    ):
        parts = run(images, maps, make_task(passes_per_part=passes))
        assert [len(p.images) for p in parts] == sizes
        assert [p.first for p in parts] == [0, *np.cumsum(sizes)[:-1]]
        assert [p.next for p in parts] == np.cumsum(sizes).tolist()
        assert same_rows(rows_of(parts), rows_of(expected))


def test_the_order_of_images_changes_no_bit():
    images, maps = case(5)
    ids = list("abcde")
    expected = rows_of(run(images, maps, make_task(), ids=ids))
    turned = [3, 0, 4, 2, 1]
    moved = {name: values[turned] for name, values in maps.items()}
    assert same_rows(rows_of(run(images[turned], moved, make_task(), ids=[ids[i] for i in turned])), expected)


def test_other_methods_metrics_and_read_outs_beside_it_change_no_bit():
    images, maps = case()
    together = rows_of(run(images, maps, make_task(readouts=("raw", "logit"))))
    for method in maps:
        for metric in ALL:
            alone = rows_of(run(images, {method: maps[method]}, make_task((metric,))))
            kept = [r for r in together if (r.method, r.metric, r.readout) == (method, metric, "raw")]
            assert same_rows(alone, kept)


def test_one_call_of_the_engine_serves_a_whole_part_without_repeats():
    images, maps = case(4)
    passes = nets.NumpyPasses(nets.smooth_function((3, 6, 5)))
    (part,) = run(images, maps, make_task(), passes)
    (work,) = passes.calls
    assert len(np.unique(work, axis=0)) == len(work) == sum(len(i.plan.work) for i in part.images)
    assert all(len(i.plan.work) == 2 + 2 * 8 for i in part.images)


# ------------------------------------------------------------------------------------------------ streaming


def endless(seen: list[int]) -> Iterator[Image]:
    for index in count():
        seen.append(index)
        yield Image(index=index, id=str(index), pixels=np.full((1, 2, 2), index % 7, np.float32))


class Everywhere(dict):
    """A map for every id there could be."""

    @staticmethod
    def load(image_id: str, space: tuple[int, ...], channels: int = 1) -> np.ndarray:
        return np.arange(4, dtype=np.float32).reshape(space)


def test_a_stream_without_end_is_scored_part_by_part_a_few_images_ahead():
    seen: list[int] = []
    task = make_task(("deletion",), overrides={"intervals": "2"}, passes_per_part=6, preprocessing=Preprocessing())
    passes = nets.NumpyPasses(nets.smooth_function((1, 2, 2)))
    with closing(score_stream(endless(seen), {"m": Everywhere()}, passes, task)) as stream:
        parts = list(islice(stream, 5))
        assert [(p.first, p.next) for p in parts] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
        assert len(seen) <= 10 + 8
    assert not [t for t in threading.enumerate() if t.name.startswith("c2i-images")], "threads end with the stream"


def test_skipped_images_are_passed_on_in_their_place():
    def stream():
        for index in range(5):
            if index in (1, 4):
                yield Skipped(index=index, id=f"{index}.png", reason="truncated")
            else:
                yield Image(index=index, id=str(index), pixels=np.full((1, 2, 2), index, np.float32))

    task = make_task(("deletion",), overrides={"intervals": "2"}, passes_per_part=6, preprocessing=Preprocessing())
    passes = nets.NumpyPasses(nets.smooth_function((1, 2, 2)))
    parts = list(score_stream(stream(), {"m": Everywhere()}, passes, task))
    assert [(p.first, p.next, len(p.images), len(p.skipped)) for p in parts] == [(0, 3, 2, 1), (3, 5, 1, 1)]
    assert parts[0].skipped[0].reason == "truncated"


def test_an_empty_stream_makes_no_part():
    assert list(score_stream(iter(()), {"m": Everywhere()}, nets.NumpyPasses(lambda i: i), make_task())) == []


# ------------------------------------------------------------------------------------------------ targets, controls, λ


@pytest.mark.parametrize(("rule", "expected"), [("label", [2, 0, 3]), ("1", [1, 1, 1])])
def test_the_target_rule_of_the_protocol_is_followed(rule, expected):
    images, maps = case()
    task = make_task(overrides={"intervals": "5", "target": rule})
    rows = rows_of(run(images, maps, task, labels=[2, 0, 3]))
    assert [next(r.target for r in rows if r.image == str(i)) for i in range(3)] == expected
    assert task.target_rule == rule


@pytest.mark.parametrize("metric", ["deletion", "insertion"])
def test_top1_is_the_clean_images_class_and_not_that_of_its_masks(metric):
    """Insertion alone starts at the baseline: its first pass is not the clean image."""
    images, maps = case(6)
    logits_of = nets.smooth_function((3, 6, 5), seed=4)
    assert len({int(np.argmax(logits_of(image))) for image in images}) > 1
    rows = rows_of(run(images, maps, make_task((metric,))))
    assert [next(r.target for r in rows if r.image == str(i)) for i in range(6)] == [
        int(np.argmax(logits_of(image))) for image in images
    ]


def test_a_label_the_image_lacks_stops_the_stream_with_its_name():
    images, maps = case()
    with pytest.raises(InputError, match=r"needs one label an image; '?0'? has 0"):
        run(images, maps, make_task(overrides={"intervals": "5", "target": "label"}))


def test_a_map_that_cannot_be_used_stops_the_stream_with_its_name():
    images, maps = case()
    maps["ours"][1, 2, 3] = np.nan
    with pytest.raises(InputError, match="map 'ours' of image 1: expected finite numbers"):
        run(images, maps, make_task())


def test_controls_are_scored_beside_the_maps_as_if_they_were_given():
    images, maps = case()

    def explain(ids, pictures, targets):
        return np.stack([picture.mean(axis=0) for picture in pictures])

    control = SimpleNamespace(name="brightness", explain=explain)
    rows = rows_of(run(images, maps, make_task(controls=(control,))))
    given = rows_of(run(images, maps | {"brightness": images.mean(axis=1)}, make_task()))
    assert {r.method for r in rows} == {"ours", "tied", "brightness"}
    assert same_rows(rows, given)


def test_a_calibrator_that_asks_for_the_perturbed_fraction_gets_that_of_each_pass():
    class Recording:
        method, preserves_order = "recording", True

        def transform(self, logits, perturbed_fraction=None):
            self.seen = np.array(perturbed_fraction)
            return logits * (2 - perturbed_fraction[:, None])

    images, maps = case(1)
    calibrator = Recording()
    task = make_task(("deletion", "insertion"), readouts=("calibrated",), calibrator=calibrator)
    (part,) = run(images, {"ours": maps["ours"]}, task)
    np.testing.assert_array_equal(calibrator.seen, part.images[0].plan.perturbed_fraction)
    row = part.images[0].scores[0]
    logits = part.images[0].logits[part.images[0].plan.requests[0].passes].astype(np.float64)
    scaled = logits * (2 - row.curve.fractions[:, None])
    expected = np.exp(scaled[:, row.target]) / np.exp(scaled).sum(axis=1)
    np.testing.assert_allclose(row.curve.values, expected, rtol=1e-12)


# ------------------------------------------------------------------------------------------------ protocols


def test_each_curve_is_planned_once_however_many_metrics_need_it():
    measures = make_measures(("gap", "deletion", "gap", "insertion"), ("c2i",), {})
    assert [m.metric.name for m in measures] == ["gap", "deletion", "insertion"]
    assert [p.metric for p in protocols_of(measures)] == ["deletion", "deletion-lerf", "insertion"]
    assert DEFAULT_METRICS == ("deletion", "insertion", "gap")
    assert set(DEFAULT_METRICS) <= set(METRICS)


def test_unknown_metrics_presets_and_fields_are_input_errors():
    with pytest.raises(InputError, match=r"no metric 'deletoin' \(did you mean 'deletion'\?\)"):
        make_measures(("deletoin",), ("c2i",), {})
    with pytest.raises(InputError, match="no preset"):
        make_measures(("deletion",), ("rice",), {})
    with pytest.raises(InputError, match="no field"):
        make_measures(("deletion",), ("c2i",), {"steps": "3"})
    with pytest.raises(UsageError):
        make_measures(("deletion",), ("c2i",), {"target": "best"})


def test_a_task_is_frozen():
    task = make_task()
    assert replace(task, passes_per_part=3).passes_per_part == 3
    with pytest.raises(AttributeError):
        task.passes_per_part = 3
