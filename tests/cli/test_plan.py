"""`plan`: the arithmetic on a run's rows, and what it refuses."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from c2i_fast.reliability.power import images_needed
from tests.cli.things import done, rows, run


def test_every_pair_has_its_number_of_images_and_passes(kept):
    content = done("plan", kept, "--detect", "0.01", "--json").json
    found = rows(kept)
    methods = list(dict.fromkeys(r["method"] for r in found))
    values = {
        m: np.array([r["value"] for r in found if (r["method"], r["metric"], r["readout"]) == (m, "gap", "raw")])
        for m in methods
    }
    mine = [p for p in content["pairs"] if (p["metric"], p["readout"]) == ("gap", "raw")]
    assert [(p["first"], p["second"]) for p in mine] == list(combinations(methods, 2))
    each = content["pilot"]["passes_per_image"]
    assert content["pilot"]["images"] == 12
    for pair in mine:
        need = images_needed(values[pair["first"]] - values[pair["second"]], 0.01, comparisons=10)
        assert (pair["images"], pair["images_upper"]) == (need.images, need.images_upper)
        assert pair["passes"] == round(need.images * each)
        assert pair["difference"] == pytest.approx(np.mean(values[pair["first"]] - values[pair["second"]]))


def test_passes_an_image_are_what_the_run_cost(net, npz, maps, tmp_path):
    options = ("--images", npz, "--maps", maps, "--controls", "--limit", "6", "--json")
    cost = done("score", net, *options, "--out", tmp_path / "run").json["passes"]["run"]
    assert done("plan", tmp_path / "run", "--detect", "0.01", "--json").json["pilot"]["passes_per_image"] == cost / 6


def test_the_table_has_the_hardest_pair_of_each_metric(kept):
    options = (kept, "--detect", "0.01")
    content, answer = done("plan", *options, "--json").json, done("plan", *options)
    worst = max((p for p in content["pairs"] if p["metric"] == "gap"), key=lambda p: p["spread"])
    (line,) = [line for line in answer.out.splitlines() if line.startswith("gap")]
    assert f"{worst['first']} − {worst['second']}" in line
    assert f"{worst['images_upper']:,}" in line
    assert "from a pilot of 12 images" in answer.out
    assert len(answer.out.splitlines()) == 7


@pytest.mark.parametrize(
    "option", [("--power", "0.95"), ("--level", "0.01"), ("--sure", "0.99"), ("--detect", "0.005")]
)
def test_every_option_matters(kept, option):
    plain = done("plan", kept, "--detect", "0.01", "--json").json["pairs"]
    given = option if option[0] == "--detect" else ("--detect", "0.01", *option)
    other = done("plan", kept, *given, "--json").json["pairs"]
    assert sum(p["images_upper"] for p in other) > sum(p["images_upper"] for p in plain)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--detect", "0"), "--detect must be a number above 0"),
        (("--detect", "inf"), "--detect must be a number above 0"),
        (("--detect", "0.01", "--power", "1"), "--power must lie between"),
        (("--detect", "0.01", "--level", "0.7"), "--level must lie between"),
        (("--detect", "0.01", "--sure", "0.2"), "--sure must be at least"),
    ],
)
def test_wrong_numbers_are_wrong_usage(kept, options, said):
    answer = run("plan", kept, *options)
    assert answer.code == 2
    assert said in answer.err


def test_one_method_few_images_and_no_run_are_refused(net, npz, maps, tmp_path):
    options = ("--images", npz, "--maps", maps, "--quiet")
    done("score", net, *options, "--out", tmp_path / "one")
    assert "has one method and no pairs" in run("plan", tmp_path / "one", "--detect", "0.01").err
    done("score", net, *options, "--controls", "--limit", "1", "--out", tmp_path / "few")
    answer = run("plan", tmp_path / "few", "--detect", "0.01")
    assert answer.code == 1
    assert "a pilot needs at least 5 images, got 1" in answer.err
    assert run("plan", tmp_path, "--detect", "0.01").code == 1
