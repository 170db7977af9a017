"""`bench` through the command line: the keys of its JSON, and that nothing in it is NaN."""

from __future__ import annotations

import pytest

from tests.cli.things import done

QUICK = ("--duration", "0.02", "--batch", "1,3", "--threads", "1")


@pytest.fixture(scope="module")
def content(net):
    return done("bench", net, *QUICK, "--json", "--quiet").json


def test_the_json_keeps_its_keys(content):
    assert {"engine", "precision", "raw", "scoring", "parity", "environment"} <= set(content)
    assert [row["batch"] for row in content["raw"]] == [1, 3]
    for row in content["raw"]:
        assert {"batch", "images_per_s", "p50_ms", "p90_ms", "p99_ms"} <= set(row)
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
        assert row["images_per_s"] > 0
    assert {"passes_per_s", "efficiency"} <= set(content["scoring"])
    assert content["scoring"]["passes_per_s"] > 0
    assert 0 <= content["parity"]["max_abs_dprob"] < 1e-4


def test_a_fused_file_is_timed_too(fused):
    assert done("bench", fused, *QUICK, "--json", "--quiet").json["precision"] == "fp32"
