"""Stopping early: where the rows say, whatever was killed on the way, and never before the promise is kept."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from c2i_fast.data.memory import MemoryImages
from c2i_fast.errors import InputError, UsageError
from c2i_fast.reliability.sequential import SequentialComparison
from c2i_fast.results.run import RunDirectory
from c2i_fast.results.stopping import ShuffledSource, Stopping, StoppingRule, stopping_rule
from c2i_fast.results.summary import COLUMNS, table_rows
from tests.results.case import make_images, make_maps, make_passes, make_task, manifest
from tests.results.test_record import assert_same_run

METRICS, READOUTS = ("deletion", "gap"), ("raw", "logit")
IMAGES = 60


def rule(**options) -> StoppingRule:
    content = {"confidence": 0.95, "margin": 0.3, "estimand": "set", "decide_on": (("deletion", "raw"),)}
    return StoppingRule(**{**content, **options})


def rows_of(values, methods, *, metric="deletion", readout="raw", start=0):
    """(images, methods) as rows image by image."""
    return [
        (str(i), method, metric, "c2i", readout, float(value))
        for i, row in enumerate(values, start)
        for method, value in zip(methods, row, strict=True)
    ]


def test_it_is_the_sequential_comparison_of_the_rows():
    values = np.random.default_rng(0).random((50, 3)) * 0.1 + np.array([0.0, 0.0, 0.5])
    found = Stopping(rule(margin=0.05), ("a", "b", "c"), 50)
    expected = SequentialComparison(list(combinations("abc", 2)), bound=1, margin=0.05, images=50)
    for i, row in enumerate(values):
        done = found.update(rows_of([row], "abc", start=i))
        assert done == expected.update(dict(zip("abc", row.tolist(), strict=True)))
        if done:
            break
    content = found.to_dict()
    assert [{k: v for k, v in p.items() if k not in ("metric", "readout")} for p in content["pairs"]] == [
        pair.to_dict() for pair in expected.state()
    ]
    assert (content["images"], content["of"], content["estimand"]) == (expected.seen, 50, "set")


def test_a_batch_of_images_stops_at_the_image_that_decides_and_other_cells_do_not_matter():
    values = np.tile([0.1, 0.9], (40, 1))
    one, many = Stopping(rule(), "ab", 40), Stopping(rule(), "ab", 40)
    for i, row in enumerate(values):
        if one.update(rows_of([row], "ab", start=i)):
            break
    noise = rows_of(values[:, ::-1], "ab", metric="gap") + rows_of(values[:, ::-1] * 50, "ab", readout="logit")
    mixed = sorted(rows_of(values, "ab") + noise, key=lambda row: int(row[0]))
    assert many.update(mixed)
    assert many.to_dict() == one.to_dict()
    assert many.seen < 40


def test_the_family_is_pairs_times_what_is_decided_on():
    both = rule(decide_on=(("deletion", "raw"), ("gap", "raw")))
    values = np.tile([0.1, 0.4], (400, 1))
    alone, family = Stopping(rule(), "ab", 400), Stopping(both, "ab", 400)
    alone.update(rows_of(values, "ab"))
    mixed = rows_of(values, "ab") + rows_of(values, "ab", metric="gap")
    family.update(sorted(mixed, key=lambda row: int(row[0])))
    at = {(p["metric"]): p["decided_at"] for p in family.to_dict()["pairs"]}
    assert at["gap"] > at["deletion"] > alone.to_dict()["pairs"][0]["decided_at"], "a gap's differences reach ±2"


def test_pairs_of_controls_are_not_waited_for_unless_they_are_alone():
    pairs = [(p["first"], p["second"]) for p in Stopping(rule(), ("ours", "random", "sobel"), 9).to_dict()["pairs"]]
    assert pairs == [("ours", "random"), ("ours", "sobel")]
    assert len(Stopping(rule(), ("random", "sobel", "center"), 9).to_dict()["pairs"]) == 3
    with pytest.raises(UsageError, match="compares methods and there is one"):
        Stopping(rule(), ("ours",), 9)


def test_scores_out_of_their_bounds_end_the_run_with_a_word():
    with pytest.raises(InputError, match="cannot go on: differences must be finite"):
        Stopping(rule(), "ab", 9).update(rows_of([[np.nan, 0.1]], "ab"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1.5, None, None, None), "a confidence between 0 and 1"),
        ((0.95, 1.0, None, None), "--equivalence-margin must lie between 0 and 1"),
        ((0.95, 0.0, None, None), "--equivalence-margin must lie"),
        ((0.95, None, "all", None), "--estimand must be one of set, population"),
        ((0.95, None, None, ["insertion"]), "--decide-on insertion: this run scores deletion, gap"),
        ((0.95, None, None, ["gap:calibrated"]), "give METRIC:READOUT"),
        ((0.95, None, None, ["gap:logit"]), "needs a bounded read-out"),
    ],
)
def test_what_cannot_be_promised_is_wrong_usage(given, said):
    with pytest.raises(UsageError, match=said):
        stopping_rule(*given, metrics=METRICS, readouts=READOUTS)


def test_defaults_are_the_first_metric_and_read_out_the_set_and_a_hundredth():
    found = stopping_rule(0.9, None, None, None, metrics=METRICS, readouts=READOUTS)
    assert found == rule(confidence=0.9, margin=0.01)
    asked = stopping_rule(0.9, 1.5, "population", ["gap", "gap:raw"], metrics=METRICS, readouts=READOUTS)
    assert asked == rule(confidence=0.9, margin=1.5, estimand="population", decide_on=(("gap", "raw"),))


# ------------------------------------------------------------------------------------------------ the order


def test_the_order_is_the_seeds_and_the_ids_and_carries_pixels_and_labels():
    images = make_images()
    source = MemoryImages(images, labels=np.arange(9))
    first, again, other = (ShuffledSource(source, seed) for seed in (1, 1, 2))
    assert list(first.ids) == list(again.ids) != list(other.ids)
    assert sorted(first.ids) == sorted(source.ids)
    for image in first.stream(3):
        np.testing.assert_array_equal(image.pixels, images[int(image.id)])
        assert image.labels == (int(image.id),)
    assert [image.id for image in first.stream(3)] == list(first.ids)[3:]
    backwards = ShuffledSource(MemoryImages(images[::-1], ids=[str(i) for i in range(8, -1, -1)]), 1)
    assert list(backwards.ids) == list(first.ids)
    assert first.fingerprint() == source.fingerprint()


def test_every_image_comes_early_as_often_as_any_other():
    ids = [f"picture-{i}.png" for i in range(12)]
    places = np.array(
        [[ShuffledSource(MemoryImages(make_images(12), ids=ids), s).ids.index(i) for i in ids] for s in range(400)]
    )
    assert np.abs(places.mean(axis=0) - 5.5).max() < 4 * np.sqrt(143 / 12 / 400)


# ------------------------------------------------------------------------------------------------ a run


def sequential_run(folder, *, estimand="set", margin=0.3, on_part=None, seed=0):
    from c2i_fast.results.record import record

    run, task = RunDirectory(folder), make_task(readouts=("raw",))
    if not run.exists():
        run.begin({**manifest(task), "images": IMAGES}, replace=False)
    stopping = Stopping(rule(estimand=estimand, margin=margin), ("smooth-random", "ours"), IMAGES)
    source = ShuffledSource(MemoryImages(make_images(IMAGES)), seed)
    options = {"on_part": on_part} if on_part else {}
    totals = record(run, source, make_maps(IMAGES), make_passes(), task, keep_logits=True, stopping=stopping, **options)
    return totals, stopping


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    return folder, *sequential_run(folder)


def test_the_run_ends_after_the_part_in_which_all_is_decided(whole):
    folder, totals, stopping = whole
    assert stopping.done
    assert stopping.seen <= totals.images < IMAGES
    infos = RunDirectory(folder).infos()
    assert infos[-1].first < stopping.seen <= infos[-1].next
    replayed = Stopping(rule(), ("smooth-random", "ours"), IMAGES)
    replayed.update(table_rows(RunDirectory(folder).read(columns=COLUMNS)))
    assert replayed.to_dict() == stopping.to_dict()


@pytest.mark.parametrize("stops", [[0], [2], [0, 1]])
def test_a_killed_run_stops_where_it_would_have_stopped(tmp_path, whole, stops):
    folder = tmp_path / "run"
    for stop in stops:
        done = []

        def on_part(info, done=done, stop=stop):
            done.append(info)
            if len(done) > stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sequential_run(folder, on_part=on_part)
    totals, stopping = sequential_run(folder)
    assert stopping.to_dict() == whole[2].to_dict()
    assert totals.images == whole[1].images
    assert_same_run(folder, whole[0])


def test_a_finished_one_forwards_nothing_more(whole):
    parts = len(RunDirectory(whole[0]).parts())
    totals, stopping = sequential_run(whole[0])
    assert len(RunDirectory(whole[0]).parts()) == parts
    assert (totals.images, stopping.seen) == (whole[1].images, whole[2].seen)


def test_a_set_is_always_decided_and_a_population_need_not_be(tmp_path):
    totals, stopping = sequential_run(tmp_path / "set", margin=1e-4)
    assert totals.images == IMAGES
    assert stopping.done
    _, stopping = sequential_run(tmp_path / "population", estimand="population", margin=1e-4)
    assert not stopping.done
    assert stopping.to_dict()["pairs"][0]["verdict"] == "undecided"
