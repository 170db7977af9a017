"""Kept logits: the same scores again, and those of another calibrator, without a pass."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from c2i_fast.calibration.spec import calibrator_hash
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError
from c2i_fast.metrics.measures import protocols_of
from c2i_fast.results.keep import read_kept
from c2i_fast.results.record import stored_measures
from c2i_fast.results.rescore import rescore
from c2i_fast.results.run import RunDirectory, score_table, table_scores
from c2i_fast.score import image_scores
from tests.results.case import IMAGES, FlakyImages, make_images, make_task, manifest, run_case


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run_case(tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def kept(run: RunDirectory):
    protocols = {p.hash(): p for p in protocols_of(stored_measures(run.manifest))}
    for number in range(len(run.parts())):
        folder = run.path / "logits"
        yield from read_kept(folder / f"part-{number:05d}.parquet", folder / f"curves-{number:05d}.parquet", protocols)


def test_the_same_scores_are_rebuilt_from_kept_logits_bit_for_bit(run):
    task = make_task()
    rebuilt = [
        row
        for image, targets, curves, logits, fractions in kept(run)
        for row in image_scores(image, curves, logits, fractions, targets, task)
    ]
    assert score_table(rebuilt).equals(run.read())


def test_kept_logits_are_float32_one_row_a_pass_with_its_perturbed_fraction(run):
    table = pq.read_table(run.path / "logits" / "part-00000.parquet")
    assert table.column_names == ["image", "perturbed_fraction", "logits"]
    kind = table.schema.field("logits").type
    assert (str(kind.value_type), kind.list_size) == ("float", 4)
    assert len(table) == run.infos()[0].run
    seen = {image: fractions for image, _, _, _, fractions in kept(run)}
    assert len(seen) == IMAGES
    for fractions in seen.values():
        assert sorted(set(fractions)) == sorted({k * 30 // 5 / 30 for k in range(6)})
    assert run.classes() == 4


@pytest.mark.parametrize("temperature", [0.4, 3.0])
def test_rescoring_gives_the_scores_of_a_run_with_that_calibrator(run, tmp_path, temperature):
    calibrator = Temperature.from_parameters({"temperature": temperature})
    prefix, cells = rescore(run, calibrator)
    assert prefix == f"rescore-{calibrator_hash(calibrator)}-part"
    run_case(tmp_path / "other", task=make_task(calibrator=calibrator))
    assert run.read(prefix).equals(RunDirectory(tmp_path / "other").read())
    assert {readout for *_, readout in cells} == {"raw", "calibrated"}
    assert [(i.first, i.next, i.run) for i in run.infos(prefix)] == [(0, 3, 0), (3, 6, 0), (6, 9, 0)]


def test_rescoring_leaves_the_run_as_it_was(run):
    before = {path.name: path.read_bytes() for path in run.parts()}
    rescore(run, Temperature.from_parameters({"temperature": 2.0}))
    assert {path.name: path.read_bytes() for path in run.parts()} == before


def test_rescoring_twice_needs_force(run):
    calibrator = Temperature.from_parameters({"temperature": 2.0})
    _, cells = rescore(run, calibrator)
    with pytest.raises(InputError, match="was rescored with this calibrator already; give --force"):
        rescore(run, calibrator)
    assert rescore(run, calibrator, force=True)[1] == cells
    rescore(run, Temperature.from_parameters({"temperature": 2.5}))


def test_rescoring_with_chosen_read_outs(run):
    prefix, _ = rescore(run, Temperature.from_parameters({"temperature": 2.0}), readouts=("logit",))
    assert {s.readout for s in table_scores(run.read(prefix))} == {"logit"}


def test_a_run_without_kept_logits_cannot_be_rescored(tmp_path):
    run_case(tmp_path / "run", keep_logits=False)
    with pytest.raises(InputError, match="kept no logits; score again with --keep-logits"):
        rescore(RunDirectory(tmp_path / "run"), Temperature.from_parameters({"temperature": 2.0}))
    assert RunDirectory(tmp_path / "run").classes() is None


def test_an_unfinished_run_cannot_be_rescored(tmp_path):
    """Its table would be over some of the images only, without a word."""

    def stop(info) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_case(tmp_path / "run", on_part=stop)
    with pytest.raises(InputError, match=r"is not finished: 3 of 9 images"):
        rescore(RunDirectory(tmp_path / "run"), Temperature.from_parameters({"temperature": 2.0}))


@pytest.mark.parametrize("broken", [{6, 7, 8}, {0, 1, 2, 4}, {8}])
def test_runs_with_skipped_images_can_be_rescored(tmp_path, broken):
    """A part at the end may hold skipped images alone: no logits, no curves, and no reason to fail."""
    run_case(tmp_path / "run", images=FlakyImages(make_images(), broken), on_error="skip")
    run = RunDirectory(tmp_path / "run")
    prefix, _ = rescore(run, Temperature.from_parameters({"temperature": 1.7}))
    assert run.read(prefix).equals(run.read())
    assert [i.skipped for i in run.infos(prefix)] == [i.skipped for i in run.infos()]
    assert run.classes() == 4


def test_the_number_of_classes_is_known_even_where_the_first_part_kept_nothing(tmp_path):
    run_case(
        tmp_path / "run", task=make_task(passes_per_part=1), images=FlakyImages(make_images(), {0}), on_error="skip"
    )
    run = RunDirectory(tmp_path / "run")
    assert run.classes() == 4
    assert np.isfinite([s.value for s in table_scores(run.read())]).all()
    assert manifest()["images"] == IMAGES
