"""The run directory: what is written comes back, and damage is noticed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from c2i_fast.errors import InputError
from c2i_fast.results.run import SCORES, PartInfo, RunDirectory, read_info, score_table, table_scores
from c2i_fast.types import Curve, Score


def row(image: str, value: float, **changes) -> Score:
    content = {
        "image": image,
        "method": "rise",
        "metric": "deletion",
        "protocol": "c2i",
        "protocol_hash": "0123456789abcdef",
        "readout": "raw",
        "target": 3,
        "value": value,
        "curve": Curve(fractions=np.linspace(0, 1, 4), values=np.array([1, 0.1 + 0.2, np.pi, value])),
        "passes": 4,
        "warnings": ("ties=0.91", "ä"),
    }
    return Score(**{**content, **changes})


def info(first: int, following: int, **changes) -> PartInfo:
    content = {"first": first, "next": following, "images": following - first, "requested": 9, "run": 5}
    return PartInfo(**{**content, **changes})


def assert_same(found: list[Score], expected: list[Score]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for name in Score.__slots__:
            if name != "curve":
                assert getattr(a, name) == getattr(b, name)
        assert (a.curve is None) == (b.curve is None)
        if a.curve is not None:
            np.testing.assert_array_equal(a.curve.fractions, b.curve.fractions)
            np.testing.assert_array_equal(a.curve.values, b.curve.values)


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.begin({"settings": {}}, replace=False)
    return directory


def test_scores_come_back_bit_for_bit():
    rows = [row("a", 0.1 + 0.2), row("b", 5e-324, warnings=()), row("c", float("nan"), curve=None, target=2**31 - 1)]
    table = score_table(rows)
    assert table.schema.equals(SCORES)
    found = table_scores(table)
    assert np.isnan(found[2].value)
    assert_same(found[:2], rows[:2])
    assert found[2].curve is None


def test_no_scores_are_an_empty_table_of_the_same_schema():
    assert score_table([]).schema.equals(SCORES)
    assert table_scores(score_table([])) == []


def test_parts_are_read_in_order_with_what_they_say_of_themselves(run):
    infos = [info(0, 2), info(2, 5, skipped=(("x", 'truncated, "quoted" ü'),), seconds=1.25), info(5, 6)]
    for number, stored in enumerate(infos):
        run.write_part(number, [row(f"{number}-{i}", i) for i in range(3)], stored)
    assert [path.name for path in run.parts()] == [f"part-0000{n}.parquet" for n in range(3)]
    assert run.infos() == infos
    assert run.read()["image"].to_pylist() == [f"{n}-{i}" for n in range(3) for i in range(3)]
    assert run.read(columns=["value"]).column_names == ["value"]
    assert_same(table_scores(run.read())[:3], [row(f"0-{i}", i) for i in range(3)])


def test_prefixes_are_kept_apart(run):
    run.write_part(0, [row("a", 1)], info(0, 1))
    run.write_part(0, [row("b", 2)], info(0, 1), prefix="fp32")
    run.write_part(0, [row("c", 3)], info(0, 1), prefix="rescore-abc-part")
    for prefix, image in (("part", "a"), ("fp32", "b"), ("rescore-abc-part", "c")):
        assert run.read(prefix)["image"].to_pylist() == [image]
        assert len(run.infos(prefix)) == 1
    assert run.infos("other") == []


def test_a_part_may_hold_no_image_when_all_were_skipped(run):
    run.write_part(0, [], info(0, 2, images=0, skipped=(("a", "x"), ("b", "y"))))
    run.write_part(1, [row("c", 1)], info(2, 3))
    assert run.read()["image"].to_pylist() == ["c"]
    assert run.infos()[0].skipped == (("a", "x"), ("b", "y"))


def test_reading_a_run_that_holds_nothing_is_an_error(run):
    with pytest.raises(InputError, match="holds no scores yet"):
        run.read()


def test_writing_a_part_again_replaces_it(run):
    run.write_part(0, [row("a", 1)], info(0, 1))
    run.write_part(0, [row("b", 2)], info(0, 1))
    assert run.read()["image"].to_pylist() == ["b"]


def test_kept_tables_are_written_before_the_scores(run, monkeypatch):
    import c2i_fast.results.run as module

    order = []
    real = module._write
    monkeypatch.setattr(
        module, "_write", lambda path, table: order.append(f"{path.parent.name}/{path.name}") or real(path, table)
    )
    run.write_part(0, [row("a", 1)], info(0, 1), kept={"part": pa.table({"x": [1]}), "curves": pa.table({"y": [2]})})
    assert order == ["logits/part-00000.parquet", "logits/curves-00000.parquet", "scores/part-00000.parquet"]


# ------------------------------------------------------------------------------------------------ damage


def three_parts(run: RunDirectory) -> None:
    for number in range(3):
        run.write_part(number, [row(str(number), number)], info(2 * number, 2 * number + 2))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_part_is_noticed(run, missing):
    three_parts(run)
    run.parts()[missing].unlink()
    with pytest.raises(InputError, match="does not follow the part before it; the run is damaged"):
        run.infos()


def test_a_missing_last_part_is_only_a_run_that_has_to_go_on(run):
    three_parts(run)
    run.parts()[2].unlink()
    assert [i.next for i in run.infos()] == [2, 4]


@pytest.mark.parametrize("content", [b"", b"not parquet", None], ids=["empty", "foreign", "truncated"])
def test_a_damaged_part_is_named(run, content):
    three_parts(run)
    path = run.parts()[1]
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    with pytest.raises(InputError, match=r"part-00001\.parquet is not a part of a run"):
        run.infos()


def test_somebody_elses_parquet_is_no_part(run):
    pq.write_table(pa.table({"x": [1]}), run.path / "scores" / "part-00000.parquet")
    with pytest.raises(InputError, match="is not a part of a run"):
        run.infos()


def test_parts_that_overlap_are_noticed(run):
    run.write_part(0, [row("a", 1)], info(0, 3))
    run.write_part(1, [row("b", 1)], info(2, 4))
    with pytest.raises(InputError, match="damaged"):
        run.infos()


def test_files_left_by_a_kill_are_not_parts(run):
    three_parts(run)
    (run.path / "scores" / ".part-00003.parquet.123.tmp").write_bytes(b"half")
    assert len(run.infos()) == 3


def test_what_a_kill_left_is_swept_away_and_nothing_else(run):
    three_parts(run)
    left = [folder / ".x.parquet.123.tmp" for folder in (run.path, run.path / "scores")]
    for file in left:
        file.write_bytes(b"half")
    (run.path / "notes.txt").touch()
    run.sweep()
    assert not any(file.exists() for file in left)
    assert (run.path / "notes.txt").exists()
    assert len(run.infos()) == 3


def test_reading_a_damaged_part_names_it(run):
    three_parts(run)
    path = run.parts()[1]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"part-00001\.parquet cannot be read .* the run is damaged"):
        run.read()


def test_parts_beyond_five_digits_keep_their_order(run):
    for number in (99_999, 100_000, 100_001):
        run.write_part(number, [row(str(number), 1)], info(number, number + 1))
    assert run.read()["image"].to_pylist() == ["99999", "100000", "100001"]


# ------------------------------------------------------------------------------------------------ the folder


def test_a_run_that_came_to_nothing_is_withdrawn_and_its_folder_only_if_empty(run):
    run.withdraw()
    assert not run.path.exists()
    run.begin({"settings": {}}, replace=False)
    (run.path / "notes.txt").touch()
    run.withdraw()
    assert [f.name for f in run.path.iterdir()] == ["notes.txt"]


def test_beginning_writes_the_manifest_and_replacing_removes_only_what_a_run_wrote(tmp_path):
    run = RunDirectory(tmp_path / "deep" / "run")
    assert not run.exists()
    run.begin({"settings": {"seed": 1}}, replace=False)
    assert run.exists()
    three_parts(run)
    (run.path / "notes.txt").write_text("mine")
    (run.path / "logits").mkdir()
    run.begin({"settings": {"seed": 2}}, replace=True)
    assert run.manifest["settings"] == {"seed": 2}
    assert run.parts() == []
    assert not (run.path / "logits").exists()
    assert (run.path / "notes.txt").read_text() == "mine"


def test_the_manifest_can_be_added_to(run):
    run.update(finished=True)
    assert run.manifest == {"settings": {}, "finished": True}


@pytest.mark.parametrize("content", ["[]", '{"other": 1}', "1"])
def test_a_manifest_of_something_else_is_refused(run, content):
    (run.path / "run.json").write_text(content)
    with pytest.raises(InputError, match="was not written by c2i-fast score"):
        _ = run.manifest


def test_no_manifest_is_no_run(tmp_path):
    with pytest.raises(InputError, match=r"there is no run \(run\.json\)"):
        _ = RunDirectory(tmp_path).manifest


def test_the_part_says_its_info_in_json_anyone_can_read(run):
    run.write_part(0, [row("a", 1)], info(0, 1, skipped=(("b", "why"),)))
    stored = json.loads(pq.read_schema(run.parts()[0]).metadata[b"c2i_fast.part"])
    assert stored["skipped"] == [["b", "why"]]
    assert read_info(run.parts()[0]).skipped == (("b", "why"),)
