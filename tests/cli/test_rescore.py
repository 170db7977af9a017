"""`rescore`: what scoring with that calibrator would have said, without a pass."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.cli.things import done, rows, run


@pytest.fixture
def copy(kept, tmp_path):
    return shutil.copytree(kept, tmp_path / "kept")


@pytest.fixture
def other(cal, tmp_path):
    """A calibrator that no run has seen."""
    content = json.loads(cal.read_text())
    content["parameters"]["temperature"] = 2.25
    (tmp_path / "other.json").write_text(json.dumps(content))
    return tmp_path / "other.json"


def rescored(run_path, answer):
    return rows(run_path, answer.json["prefix"])


def test_it_equals_scoring_with_that_calibrator_bit_for_bit(copy, other, net, npz, maps, tmp_path):
    answer = done("rescore", copy, "--calibrator", other, "--json")
    options = ("--controls", "--part-passes", "600", "--calibrator", other, "--json")
    direct = done("score", net, "--images", npz, "--maps", maps, *options, "--out", tmp_path / "direct")
    assert rescored(copy, answer) == rows(tmp_path / "direct")
    assert answer.json["scores"] == direct.json["scores"]
    assert {row["readout"] for row in rescored(copy, answer)} == {"raw", "calibrated"}


def test_the_json_keeps_its_keys(copy, other):
    content = done("rescore", copy, "--calibrator", other, "--json").json
    assert set(content) >= {"run", "prefix", "scores"}
    assert content["run"] == str(copy)
    assert all(set(s) >= {"method", "metric", "protocol", "readout", "mean", "ci95", "n"} for s in content["scores"])


def test_no_pass_is_made_and_no_model_asked_for(copy, other, monkeypatch):
    def fail(*arguments):
        raise AssertionError("an engine was opened")

    monkeypatch.setattr("c2i_fast.export.open.GraphOpener.__call__", fail)
    done("rescore", copy, "--calibrator", other)


def test_the_runs_own_rows_stay(copy, other, kept):
    before = rows(kept)
    done("rescore", copy, "--calibrator", other)
    assert rows(copy) == before
    assert (copy / "run.json").read_bytes() == (kept / "run.json").read_bytes()


def test_read_outs_are_what_was_asked_for(copy, other):
    options = ("--readout", "logit", "--readout", "sigmoid")
    answer = done("rescore", copy, "--calibrator", other, *options, "--json")
    assert {row["readout"] for row in rescored(copy, answer)} == {"logit", "sigmoid"}


def test_calibrators_stand_side_by_side_and_force_replaces_one(copy, other, cal):
    first = done("rescore", copy, "--calibrator", other, "--json")
    second = done("rescore", copy, "--calibrator", cal, "--json")
    assert first.json["prefix"] != second.json["prefix"]
    assert rescored(copy, first) != rescored(copy, second)
    refused = run("rescore", copy, "--calibrator", cal)
    assert refused.code == 1
    assert "give --force to do it again" in refused.err
    again = done("rescore", copy, "--calibrator", cal, "--readout", "raw", "--force", "--json")
    assert {row["readout"] for row in rescored(copy, again)} == {"raw"}


def test_an_unfinished_run_is_not_rescored(copy, other):
    last = sorted((copy / "scores").glob("part-*.parquet"))[-1]
    last.unlink()
    refused = run("rescore", copy, "--calibrator", other)
    assert refused.code == 1
    assert "is not finished" in refused.err
    assert "--resume" in refused.err
    assert not list(copy.glob("scores/rescore-*"))


def test_a_run_without_logits_says_how_to_get_them(net, npz, maps, other, tmp_path):
    done("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run", "--quiet")
    refused = run("rescore", tmp_path / "run", "--calibrator", other)
    assert refused.code == 1
    assert refused.err.endswith("kept no logits; score again with --keep-logits\n")


def test_the_table(copy, other):
    answer = done("rescore", copy, "--calibrator", other)
    for said in ("rescored, no passes", "noise", "smooth-random", "calibrated", "wrote"):
        assert said in answer.out
