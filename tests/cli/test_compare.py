"""`compare --protocols`: its table, its JSON, that shares add up, and what it refuses."""

from __future__ import annotations

import pytest

from tests.cli.things import done, rows, run


def asked(net, npz, maps, *options):
    return ("compare", net, "--images", npz, "--maps", maps, *options)


def test_shares_add_up_to_the_difference_of_what_score_finds(net, npz, maps, tmp_path):
    content = done(*asked(net, npz, maps, "--protocols", "rise,torchcam", "--protocols", "c2i", "--json")).json
    assert content["images"] == 12
    assert [d["protocols"] for d in content["differences"]] == [["rise", "torchcam"], ["rise", "c2i"]]
    means = {}
    for preset in ("rise", "torchcam", "c2i"):
        out = tmp_path / preset
        options = ("--metric", "deletion", "--preset", preset, "--json")
        done("score", net, "--images", npz, "--maps", maps, "--out", out, *options)
        values = [row["value"] for row in rows(out)]
        means[preset] = sum(values) / len(values)
    for difference in content["differences"]:
        first, second = difference["protocols"]
        assert difference["first"]["mean"] == pytest.approx(means[first], abs=1e-6)
        assert difference["second"]["mean"] == pytest.approx(means[second], abs=1e-6)
        total = sum(share["mean"] for share in difference["shares"])
        assert total == pytest.approx(difference["change"]["mean"], abs=1e-12)
        assert difference["change"]["mean"] == pytest.approx(means[second] - means[first], abs=1e-6)
    assert {s["field"] for s in content["differences"][0]["shares"]} == {"ties", "counts", "x"}
    # every mixture's own points, had they been run apart, are many times the passes run
    assert content["passes"] < 12 * 150


def test_the_table_names_each_field_on_both_sides(net, npz, maps):
    answer = done(*asked(net, npz, maps, "--limit", "3", "--protocols", "rise,torchcam"))
    for said in ("rise → torchcam", "reverse-index", "ceil-block, intervals 20", "share [95 %]", "Shapley"):
        assert said in answer.out


@pytest.mark.parametrize(
    ("options", "said", "code"),
    [
        (("--protocols", "rise"), "two presets are needed to compare, got rise", 1),
        (("--protocols", "rise,rice"), "no preset 'rice'", 1),
        (("--protocols", "rise,tomsett"), "preset 'tomsett' has no protocol for 'deletion'", 1),
        (("--protocols", "rise,c2i", "--metric", "gap"), "gap is not one curve", 1),
        (("--protocols", "rise,c2i", "--readout", "calibrated", "--quiet"), "needs a calibrator", 1),
        ((), "--protocols", 2),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(net, npz, maps, options, said, code):
    answer = run(*asked(net, npz, maps, *options))
    assert answer.code == code
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1
