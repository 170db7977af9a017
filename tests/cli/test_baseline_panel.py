"""`score --baseline-panel` and baselines from elsewhere, through the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.things import done, rows, run

IDS = [str(number) for number in range(12)]


@pytest.fixture
def begin(net, npz, maps, tmp_path):
    def make(*options, out="run"):
        common = ("--images", npz, "--maps", maps, "--set", "intervals=4", "--limit", "6", "--json")
        return ("score", net, *common, "--out", tmp_path / out, *options)

    return make


def test_the_panel_is_made_of_rows_of_the_run(begin, tmp_path):
    content = done(*begin("--controls", "--baseline-panel")).json
    panel, found = content["baseline_panel"], rows(tmp_path / "run")
    assert [entry["baseline"] for entry in panel["baselines"]] == ["mean", "blur", "noise", "another-image", "ROAD"]
    assert len(panel["kendall_tau"]) == 10
    assert all(pair["tau"] is None or -1 <= pair["tau"] <= 1 for pair in panel["kendall_tau"])
    for entry in panel["baselines"]:
        suffix = "" if entry["baseline"] in ("mean", "ROAD") else f"+baseline={entry['baseline']}"
        protocol = "c2i" if entry["baseline"] == "ROAD" else f"c2i{suffix}+intervals=4"
        mine = [r for r in found if (r["metric"], r["protocol"], r["readout"]) == (entry["metric"], protocol, "raw")]
        assert len(mine) == 6 * 5
        for method, mean in entry["means"].items():
            assert mean == pytest.approx(np.mean([r["value"] for r in mine if r["method"] == method]))
        assert sorted(entry["ranking"]) == sorted(entry["means"])
    ends = [
        r["curve"][-1] for r in found if (r["metric"], r["protocol"]) == ("deletion", "c2i+baseline=blur+intervals=4")
    ]
    assert panel["baselines"][1]["end"] == pytest.approx(np.mean(ends))
    morf = [r["curve"][-1] for r in found if r["metric"] == "road-morf"]
    assert panel["baselines"][4]["end"] == pytest.approx(panel["baselines"][0]["clean"] + np.mean(morf))


def test_the_table_shows_it_and_a_run_goes_on_with_it(begin, tmp_path):
    first = done(*(o for o in begin("--controls", "--baseline-panel", "--part-passes", "100") if o != "--json"))
    assert "baseline panel" in first.out
    assert "another-image" in first.out
    before = rows(tmp_path / "run")
    parts = sorted((tmp_path / "run" / "scores").iterdir())
    assert len(parts) > 2
    for part in parts[1:]:
        part.unlink()
    again = done(*begin("--resume", "--controls"))
    assert "baseline_panel" in again.json
    assert rows(tmp_path / "run") == before
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["baseline_panel"] is True


def test_without_the_option_there_is_no_panel_and_one_method_is_refused(begin, tmp_path):
    assert "baseline_panel" not in done(*begin()).json
    refused = run(*begin("--baseline-panel", out="other"))
    assert refused.code == 1
    assert "ranks methods, and there is 1" in refused.err
    assert not (tmp_path / "other").exists()


def test_diagnostics_count_images_with_warnings(begin, tmp_path):
    content = done(*begin("--controls")).json
    found = rows(tmp_path / "run")
    counted = {(d["method"], d["warning"]): d["images"] for d in content["diagnostics"]}
    expected: dict[tuple[str, str], set] = {}
    for row in found:
        for text in row["warnings"]:
            expected.setdefault((row["method"], text.split("=")[0]), set()).add(row["image"])
    assert counted == {key: len(images) for key, images in expected.items()}
    assert counted["center", "ties"] == 6


def test_another_image_needs_two_and_does_not_depend_on_parts(begin, tmp_path):
    options = ("--set", "baseline=another-image", "--metric", "deletion")
    done(*begin(*options, out="whole"))
    done(*begin(*options, "--part-passes", "1", out="parts"))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    refused = run(*begin(*options, "--limit", "1", out="one"))
    assert refused.code == 1
    assert "needs a second image" in refused.err


def test_a_file_of_baselines_is_used_and_another_one_is_noticed_on_resume(begin, tmp_path):
    file, zeros = tmp_path / "counter.npz", np.zeros((12, 3, 16, 16), np.float32)
    np.savez(file, images=zeros, ids=IDS)
    done(*begin("--set", f"baseline=file:{file}", "--metric", "deletion", out="file"))
    done(*begin("--set", "baseline=black", "--metric", "deletion", out="black"))
    values = [[r["value"] for r in rows(tmp_path / name)] for name in ("file", "black")]
    assert values[0] == values[1]
    np.savez(file, images=zeros + 1, ids=IDS)
    refused = run(*begin("--resume", "--set", f"baseline=file:{file}", out="file"))
    assert refused.code == 1
    assert "other baseline files" in refused.err
