"""`score --until-separated`: it ends early, says about what it speaks, resumes, and refuses what it cannot promise."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.things import done, pictures, rows, run, write_maps

COUNT = 80


@pytest.fixture(scope="module")
def many(made):
    """80 pictures as an .npz, maps of noise, and the pictures' own brightness as a map that is no noise."""
    images, labels = pictures(COUNT)
    np.savez(made / "many.npz", images=images, labels=labels)
    ids = [str(number) for number in range(COUNT)]
    write_maps(made / "many-noise.npz", ids)
    np.savez(made / "many-bright.npz", maps=images.astype(np.float32).sum(axis=3), ids=ids)
    return made


@pytest.fixture(scope="module")
def given(many, net):
    maps = ("--maps", f"noise={many / 'many-noise.npz'}", "--maps", f"bright={many / 'many-bright.npz'}")
    return ("score", net, "--images", many / "many.npz", *maps, "--part-passes", "500")


RULE = ("--until-separated", "0.95", "--equivalence-margin", "0.3")


@pytest.fixture(scope="module")
def stopped(given, many):
    answer = done(*given, *RULE, "--keep-logits", "--json", "--out", many / "stopped")
    return many / "stopped", answer.json


def test_it_ends_early_and_states_its_estimand(stopped):
    path, content = stopped
    found = content["stopped"]
    assert found["done"]
    assert found["images"] <= content["images"] < COUNT
    assert {k: found[k] for k in ("of", "estimand", "confidence", "margin")} == {
        "of": COUNT,
        "estimand": "set",
        "confidence": 0.95,
        "margin": 0.3,
    }
    (pair,) = found["pairs"]
    assert (pair["metric"], pair["readout"], pair["first"], pair["second"]) == ("deletion", "raw", "noise", "bright")
    assert pair["verdict"] in ("separated", "equivalent")
    low, high = pair["interval"]
    assert low <= pair["difference"] <= high
    assert json.loads((path / "run.json").read_text())["stopped"]["images"] == found["images"]


def test_its_rows_are_those_of_a_whole_run_in_a_random_order(stopped, given, many):
    done(*given, "--quiet", "--out", many / "whole")
    every = {(r["image"], r["method"], r["metric"]): r for r in rows(many / "whole")}
    mine = rows(stopped[0])
    assert all(every[r["image"], r["method"], r["metric"]] == r for r in mine)
    order = list(dict.fromkeys(r["image"] for r in mine))
    assert order != sorted(order, key=int)


def test_the_seed_orders_the_images(given, many, stopped):
    done(*given, *RULE, "--seed", "7", "--quiet", "--out", many / "seeded")
    assert rows(many / "seeded")[0]["image"] != rows(stopped[0])[0]["image"]


def test_going_on_with_a_stopped_run_changes_nothing(stopped, given):
    path, content = stopped
    before = {p.name: p.read_bytes() for p in (path / "scores").iterdir()}
    again = done(*given[:8], "--resume", "--json", "--out", path).json
    assert again["stopped"] == content["stopped"]
    assert {p.name: p.read_bytes() for p in (path / "scores").iterdir()} == before
    refused = run(*given[:8], "--resume", "--until-separated", "0.9", "--out", path)
    assert (refused.code, "--until-separated 0.95, not 0.9" in refused.err) == (2, True)


def test_a_run_that_lost_its_last_part_stops_at_the_same_image(stopped, given):
    path, content = stopped
    lost = sorted((path / "scores").glob("part-*.parquet"))[-1]
    kept = lost.read_bytes()
    lost.unlink()
    assert done(*given[:8], "--resume", "--json", "--out", path).json["stopped"] == content["stopped"]
    assert len(rows(path)) == content["images"] * 6
    assert len(kept) > 0


def test_a_stopped_run_is_finished_and_can_be_rescored(stopped, cal):
    path, content = stopped
    answer = done("rescore", path, "--calibrator", cal, "--json")
    assert {entry["n"] for entry in answer.json["scores"]} == {content["images"]}


def test_the_table_says_what_holds(given, many):
    answer = done(*given, *RULE, "--estimand", "population", "--decide-on", "insertion", "--out", many / "table")
    assert f"of {COUNT} images in random order" in answer.out
    assert "(within ±0.3), 95% for all of it together" in answer.out
    assert "estimand: the mean over the population that these images were drawn from" in answer.out
    assert "insertion  raw       noise − bright" in answer.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--until-separated", "95"), "a confidence between 0 and 1"),
        (("--until-separated", "0.95", "--on-error", "skip"), "needs every image of it"),
        (("--until-separated", "0.95", "--precision", "bf16"), "decides on fp32 scores"),
        (("--until-separated", "0.95", "--decide-on", "road"), "--decide-on road: this run scores"),
        (("--until-separated", "0.95", "--equivalence-margin", "2"), "must lie between 0 and 1"),
        (("--until-separated", "0.95", "--estimand", "mine"), "must be one of set, population"),
        (("--equivalence-margin", "0.1"), "--equivalence-margin goes with --until-separated"),
        (("--estimand", "set"), "--estimand goes with --until-separated"),
        (("--decide-on", "gap"), "--decide-on goes with --until-separated"),
    ],
)
def test_what_cannot_be_promised_is_wrong_usage_and_leaves_nothing(given, tmp_path, options, said):
    answer = run(*given, *options, "--out", tmp_path / "run")
    assert (answer.code, said in answer.err) == (2, True), answer.err
    assert not (tmp_path / "run").exists()


def test_one_method_has_nothing_to_separate(net, npz, maps, tmp_path):
    answer = run("score", net, "--images", npz, "--maps", maps, *RULE, "--out", tmp_path / "run")
    assert (answer.code, "compares methods and there is one" in answer.err) == (2, True)
