"""The families beside curves, through the commands: scored, read again under another calibrator, refused, marked."""

from __future__ import annotations

import json

import pytest

from tests.cli.things import done, rows, run

FAMILIES = (
    "average-drop",
    "average-gain",
    "increase-in-confidence",
    "faithfulness-correlation",
    "faithfulness-estimate",
    "mu-fidelity",
    "sensitivity-n",
    "infidelity",
)
METRICS = [part for name in FAMILIES for part in ("--metric", name)]
OPTIONS = (*METRICS, "--set", "runs=6", "--limit", "4", "--keep-logits", "--part-passes", "150")


@pytest.fixture(scope="module")
def other(cal, tmp_path_factory):
    """A calibrator that no run has seen."""
    content = json.loads(cal.read_text())
    content["parameters"]["temperature"] = 2.25
    path = tmp_path_factory.mktemp("families") / "other.json"
    path.write_text(json.dumps(content))
    return path


def test_kept_logits_are_read_again_bit_for_bit(net, npz, maps, other, tmp_path):
    options = (net, "--images", npz, "--maps", maps, *OPTIONS)
    scored = done("score", *options, "--json", "--out", tmp_path / "kept")
    direct = done("score", *options, "--calibrator", other, "--json", "--out", tmp_path / "direct")
    answer = done("rescore", tmp_path / "kept", "--calibrator", other, "--json")
    again = rows(tmp_path / "kept", answer.json["prefix"])
    assert again == rows(tmp_path / "direct")
    assert answer.json["scores"] == direct.json["scores"]
    values = {(r["metric"], r["readout"], r["image"]): r["value"] for r in again}
    assert {metric for metric, _, _ in values} == set(FAMILIES)
    moved = {m for m, readout, image in values if values[m, "raw", image] != values[m, "calibrated", image]}
    assert moved >= set(FAMILIES) - {"increase-in-confidence", "average-gain"}  # noise gains nothing
    assert scored.json["passes"]["run"] > 4 * (1 + 6 + 256 + 6 + 6 + 6)


def test_part_sizes_change_nothing(net, npz, maps, tmp_path):
    """Draws have an address; the order in which images are worked on is none of it."""
    options = ("score", net, "--images", npz, "--maps", maps, *OPTIONS[:-2], "--quiet")
    done(*options, "--out", tmp_path / "one")
    done(*options, "--part-passes", "150", "--batch-size", "16", "--out", tmp_path / "many")
    first, second = rows(tmp_path / "one"), rows(tmp_path / "many")
    assert len(first) == len(second) == 4 * len(FAMILIES)
    for a, b in zip(first, second, strict=True):
        assert (a["image"], a["metric"], a["passes"]) == (b["image"], b["metric"], b["passes"])
        assert a["value"] == pytest.approx(b["value"], rel=1e-3, abs=1e-5)


def test_a_method_that_optimises_the_metric_is_marked_where_it_does(net, npz, maps, tmp_path):
    """By name: maps of Opti-CAM that come in as a file are no less optimised."""
    options = ("score", net, "--images", npz, "--maps", f"opticam={maps}", "--maps", f"other={maps}", "--limit", "3")
    options += ("--metric", "average-drop", "--metric", "deletion")
    answer = done(*options, "--json", "--out", tmp_path / "json")
    marked = {(s["method"], s["metric"]) for s in answer.json["scores"] if s.get("optimised")}
    assert marked == {("opticam", "average-drop")}
    table = done(*options, "--out", tmp_path / "table").out
    assert table.count("†") == 2
    assert "† opticam: optimises this metric" in table
    unmarked = done(*options[:-4], "--metric", "deletion", "--out", tmp_path / "unmarked").out
    assert "†" not in unmarked


def test_what_cannot_be_asked_is_refused_before_any_pass(net, npz, maps, tmp_path):
    options = ("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run")
    for given, said in (
        (("--metric", "average-gain", "--readout", "logit"), "average-gain is of 1 − p"),
        (("--metric", "mu-fidelity", "--set", "share=2"), "share must be a number above 0 and at most 1"),
        (("--metric", "mu-fidelity", "--preset", "rise"), "preset 'rise' has no protocol for 'mu-fidelity'"),
    ):
        refused = run(*options, *given)
        assert refused.code == 1
        assert said in refused.err
        assert not (tmp_path / "run").exists()
