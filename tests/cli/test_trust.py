"""How far to trust a table: under every table of two or more methods, and in the JSON beside all other keys."""

from __future__ import annotations

import re

import numpy as np
import pytest

from c2i_fast.reliability.agreement import krippendorff_alpha, method_ranks
from tests.cli.things import done, rows

TITLE = "how far to trust it"


@pytest.fixture(scope="module")
def controlled(kept):
    """rows of the run with a map and four controls, as (methods, images) by metric and read-out."""
    found = rows(kept)
    methods = list(dict.fromkeys(r["method"] for r in found))

    def matrix(metric, readout):
        return np.array(
            [
                [r["value"] for r in found if (r["method"], r["metric"], r["readout"]) == (m, metric, readout)]
                for m in methods
            ]
        )

    return methods, matrix


def test_the_json_holds_alpha_of_the_rows(kept, net, npz, maps, controlled, tmp_path):
    methods, matrix = controlled
    options = ("--images", npz, "--maps", maps, "--controls", "--json")
    content = done("score", net, *options, "--out", tmp_path / "run").json["reliability"]
    assert [(e["metric"], e["readout"]) for e in content["metrics"]] == [
        (metric, "raw") for metric in ("deletion", "insertion", "gap")
    ]
    for entry, sign in zip(content["metrics"], (-1, 1, 1), strict=True):
        scores = matrix(entry["metric"], "raw") * sign
        assert entry["alpha"] == pytest.approx(krippendorff_alpha(method_ranks(scores)), abs=1e-9)
        assert (entry["methods"], entry["images"]) == (len(methods), 12)
        assert len(entry["pairs"]) == 10
    assert [(e["first"], e["second"]) for e in content["consistency"]] == [
        ("deletion", "insertion"),
        ("deletion", "gap"),
        ("insertion", "gap"),
    ]


def test_the_block_is_a_line_for_each_metric_and_read_out(net, npz, maps, tmp_path):
    answer = done("score", net, "--images", npz, "--maps", maps, "--controls", "--out", tmp_path / "run")
    block = answer.out.partition(TITLE)[2].splitlines()
    assert "α over images [95 %]" in block[1]
    assert "better than smooth-random" in block[1]
    assert [line.split()[:2] for line in block[2:5]] == [[m, "raw"] for m in ("deletion", "insertion", "gap")]
    assert all(re.search(r"-?\d\.\d\d \[-?\d\.\d\d, -?\d\.\d\d\]", line) for line in block[2:5])
    assert all(" of 10 pairs" in line for line in block[2:5])
    assert not re.search(r"\[-?\d\.\d\d, ", block[5]), "the block ends there"
    assert any("passes run for" in line for line in block[5:])


def test_two_methods_beside_the_controls_have_an_alpha_and_no_verdict_without_them(net, npz, maps, tmp_path):
    given = ("--images", npz, "--maps", maps, "--maps", f"again={maps}", "--controls")
    answer = done("score", net, *given, "--out", tmp_path / "run")
    assert "without controls (2 methods: no verdict)" in answer.out


def test_under_four_methods_alpha_stands_without_a_verdict(net, npz, maps, tmp_path):
    given = ("--images", npz, "--maps", maps, "--maps", f"again={maps}")
    answer = done("score", net, *given, "--out", tmp_path / "run")
    assert f"{TITLE} (docs/how-far-to-trust.md); α: no verdict: needs four methods" in answer.out
    assert "noise − again 0.0000 [0.0000, 0.0000], p 1" in answer.out


def test_one_method_has_no_block_and_one_image_a_sentence(net, npz, maps, tmp_path):
    assert TITLE not in done("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "one").out
    options = ("--images", npz, "--maps", maps, "--controls", "--limit", "1")
    answer = done("score", net, *options, "--out", tmp_path / "image")
    assert TITLE not in answer.out
    assert "one image: no statement over images can be made; score more" in answer.out
    content = done("score", net, *options, "--out", tmp_path / "json", "--json").json
    assert {entry["alpha"] for entry in content["reliability"]["metrics"]} == {None}


def test_rescoring_says_it_too(kept, cal, tmp_path):
    import shutil

    copy = shutil.copytree(kept, tmp_path / "kept")
    assert TITLE in done("rescore", copy, "--calibrator", cal).out
    content = done("rescore", copy, "--calibrator", cal, "--force", "--json").json
    assert len(content["reliability"]["metrics"]) == 6
