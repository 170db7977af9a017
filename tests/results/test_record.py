"""Interrupted at any moment, a run goes on to the same rows, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from c2i_fast.data.memory import MemoryImages
from c2i_fast.errors import InputError
from c2i_fast.metrics import METRICS as METRICS_OF
from c2i_fast.metrics.measures import Measure
from c2i_fast.results.record import Totals, measure_entries, stored_measures
from c2i_fast.results.run import PartInfo, RunDirectory, table_scores
from tests.results.case import (
    IMAGES,
    METRICS,
    PARTS,
    FlakyImages,
    make_images,
    make_maps,
    make_passes,
    make_task,
    run_case,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_case(folder)
    return folder


def assert_same_run(found: Path, expected: Path) -> None:
    """Every part of every kind: the same names, the same rows, the same bits; and nothing left lying about."""
    for kind in ("scores", "logits"):
        names = sorted(f.name for f in (expected / kind).iterdir())
        assert sorted(f.name for f in (found / kind).iterdir() if f.suffix == ".parquet") == names
        for name in names:
            a, b = (pq.read_table(folder / kind / name).replace_schema_metadata() for folder in (found, expected))
            assert a.equals(b), f"{kind}/{name} differs"
    infos = [[replace(i, seconds=0) for i in RunDirectory(folder).infos()] for folder in (found, expected)]
    assert infos[0] == infos[1]


def test_a_run_is_several_parts_of_whole_images_in_input_order(whole):
    run = RunDirectory(whole)
    infos = run.infos()
    assert len(infos) == PARTS
    assert [(i.first, i.next) for i in infos] == [(0, 3), (3, 6), (6, 9)]
    assert all(i.run >= 40 for i in infos[:-1]), "as few images as reach the part's passes"
    images = run.read()["image"].to_pylist()
    assert list(dict.fromkeys(images)) == [str(i) for i in range(IMAGES)]
    assert len(images) == IMAGES * 2 * len(METRICS) * 2


@pytest.mark.parametrize("stops", [[0], [1], [0, 1], [0, 0, 0], [1, 0]])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_resuming_after_any_number_of_parts_gives_the_uninterrupted_run(tmp_path, whole, stops, error):
    """Each session is stopped right after its part number `stop`, by a failure or by Ctrl-C."""
    folder = tmp_path / "run"
    for stop in stops:
        done = []

        def on_part(info: PartInfo, done=done, stop=stop) -> None:
            done.append(info)
            if len(done) > stop:
                raise error

        if sum(len(i) for i in [RunDirectory(folder).infos()]) < PARTS:
            with pytest.raises(error):
                run_case(folder, on_part=on_part)
    run_case(folder)
    assert_same_run(folder, whole)


def test_an_engine_that_fails_loses_only_its_part(tmp_path, whole):
    folder, passes = tmp_path / "run", make_passes()
    select = passes.select

    def fails_on_the_third_call(plans, work):
        if len(passes.calls) == 2:
            raise RuntimeError("the engine broke")
        return select(plans, work)

    passes.select = fails_on_the_third_call
    with pytest.raises(RuntimeError, match="the engine broke"):
        run_case(folder, passes=passes)
    assert len(RunDirectory(folder).parts()) == 2
    run_case(folder)
    assert_same_run(folder, whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["passes", "half a file", "between logits and scores", "half the logits", "before the name"]
)
def test_a_killed_process_leaves_a_run_that_goes_on_to_the_same_rows(tmp_path, whole, place):
    """SIGKILL in the second part: nothing runs after it, no `finally`, no `atexit`."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tests.results.case", str(folder), place]
    killed = subprocess.run(command, cwd=ROOT, timeout=120, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [i.next for i in RunDirectory(folder).infos()] == [3], "only the first part is there"
    run_case(folder)
    assert_same_run(folder, whole)


def test_going_on_with_a_finished_run_forwards_nothing_and_says_the_same(tmp_path):
    folder = tmp_path / "run"
    first, passes = run_case(folder), make_passes()
    second = run_case(folder, passes=passes)
    assert passes.calls == []
    assert second == first


def test_only_what_is_missing_is_forwarded(tmp_path, whole):
    folder, passes = tmp_path / "run", make_passes()
    run_case(folder)
    RunDirectory(folder).parts()[-1].unlink()
    run_case(folder, passes=passes)
    assert len(passes.calls) == 1
    assert_same_run(folder, whole)


def test_totals_are_sums_over_all_sessions(whole):
    infos = RunDirectory(whole).infos()
    totals = Totals.of(infos)
    assert (totals.images, totals.skipped) == (IMAGES, 0)
    # two methods, three curves of six points each; 2n passes a map, the two end images shared
    assert totals.requested == IMAGES * 2 * 3 * 6
    assert totals.run == IMAGES * (2 + 2 * 2 * 4)
    assert totals.seconds == sum(i.seconds for i in infos) > 0


def test_a_pass_made_only_to_find_the_target_is_not_counted(tmp_path):
    """Insertion that stops short of the image: four points asked for, four run, and the clean one beside them."""
    task = make_task()
    partial = replace(
        task.protocols[1], metric="insertion", counts="list", intervals=None, count_list=(0, 3, 7, 20), start="baseline"
    )
    measure = Measure(metric=METRICS_OF["insertion"], protocols=(partial,))
    passes = make_passes()
    totals = run_case(tmp_path / "run", task=replace(task, measures=(measure,)), passes=passes)
    forwarded = sum(len(work) for work in passes.calls)
    # the all-baseline image is the same for both maps
    assert totals.requested == IMAGES * 2 * 4
    assert totals.run == IMAGES * (2 * 3 + 1) == forwarded - IMAGES


def test_scores_do_not_depend_on_how_images_are_grouped_into_parts(tmp_path, whole):
    expected = RunDirectory(whole).read()
    for passes_per_part in (1, 19, 10_000):
        folder = tmp_path / str(passes_per_part)
        run_case(folder, task=make_task(passes_per_part=passes_per_part))
        assert RunDirectory(folder).read().equals(expected)
    assert len(RunDirectory(tmp_path / "1").parts()) == IMAGES
    assert len(RunDirectory(tmp_path / "10000").parts()) == 1


def test_without_keeping_logits_there_are_none(tmp_path, whole):
    run_case(tmp_path / "run", keep_logits=False)
    assert not (tmp_path / "run" / "logits").exists()
    assert RunDirectory(tmp_path / "run").read().equals(RunDirectory(whole).read())


# ------------------------------------------------------------------------------------------------ skipped images


def test_a_broken_image_stops_the_run_and_is_named(tmp_path):
    with pytest.raises(InputError, match=r"picture 4 is truncated; .*--on-error skip"):
        run_case(tmp_path / "run", images=FlakyImages(make_images(), {4}))


def test_a_run_stopped_by_a_broken_image_goes_on_once_it_is_mended(tmp_path, whole):
    with pytest.raises(InputError):
        run_case(tmp_path / "run", images=FlakyImages(make_images(), {8}))
    assert [i.next for i in RunDirectory(tmp_path / "run").infos()] in ([3], [3, 6]), "parts well before it are kept"
    run_case(tmp_path / "run", images=FlakyImages(make_images(), set()))
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("broken", [{0}, {4}, {8}, {0, 1, 2}, {7, 8}, {3, 4, 5, 6}])
def test_skipped_images_are_counted_and_recorded_and_change_nothing_else(tmp_path, whole, broken):
    folder = tmp_path / "run"
    totals = run_case(folder, images=FlakyImages(make_images(), broken), on_error="skip")
    assert (totals.images, totals.skipped) == (IMAGES - len(broken), len(broken))
    infos = RunDirectory(folder).infos()
    assert [pair for i in infos for pair in i.skipped] == [
        (str(b), f"picture {b} is truncated") for b in sorted(broken)
    ]
    assert infos[-1].next == IMAGES
    table = RunDirectory(whole).read()
    keep = [image not in {str(b) for b in broken} for image in table["image"].to_pylist()]
    assert RunDirectory(folder).read().equals(table.filter(np.array(keep)))


def test_resuming_among_skipped_images_neither_skips_twice_nor_scores_them(tmp_path):
    broken = {2, 3, 7, 8}
    expected, folder = tmp_path / "whole", tmp_path / "run"
    run_case(expected, images=FlakyImages(make_images(), broken), on_error="skip")

    def stop(info: PartInfo) -> None:
        raise KeyboardInterrupt

    for _ in RunDirectory(expected).infos():
        with pytest.raises(KeyboardInterrupt):
            run_case(folder, images=FlakyImages(make_images(), broken), on_error="skip", on_part=stop)
    run_case(folder, images=FlakyImages(make_images(), broken), on_error="skip")
    assert_same_run(folder, expected)


def test_a_run_of_which_every_image_is_broken_holds_no_row(tmp_path):
    totals = run_case(tmp_path / "run", images=FlakyImages(make_images(), set(range(IMAGES))), on_error="skip")
    assert (totals.images, totals.skipped, totals.run) == (0, IMAGES, 0)
    assert len(RunDirectory(tmp_path / "run").read()) == 0


# ------------------------------------------------------------------------------------------------ what is stored


def test_protocols_are_stored_in_full_and_come_back():
    task = make_task()
    entries = measure_entries(task.measures)
    assert stored_measures(entries) == task.measures
    assert [e["hash"] for e in entries["protocols"]] == [p.hash() for p in task.protocols]
    assert entries["measures"][-1] == {"metric": "gap", "protocols": [p.hash() for p in task.measures[-1].protocols]}


def test_rows_carry_the_protocol_and_the_passes_they_were_made_of(whole):
    hashes = {p.metric: p.hash() for p in make_task().protocols}
    for score in table_scores(RunDirectory(whole).read()):
        first = "deletion" if score.metric == "gap" else score.metric
        assert score.protocol == "c2i+intervals=5"
        assert score.protocol_hash == hashes[first]
        assert score.passes == (12 if score.metric == "gap" else 6)
        assert score.value == score.curve.area()


def test_images_given_twice_over_make_the_same_rows_again(tmp_path, whole):
    """No state is carried from one run to the next within a process."""
    run_case(tmp_path / "run", images=MemoryImages(make_images()), passes=make_passes())
    assert_same_run(tmp_path / "run", whole)
    assert list(make_maps()) == ["smooth-random", "ours"]
