"""The scripts of benchmarks/ run, on a network of ours where they need one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


def run(script, *options):
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def given(tiny_file, tmp_path):
    """`--model`, `--recipe` and `--images` of the tiny net."""
    recipe = tmp_path / "tiny.toml"
    recipe.write_text("size = 16\nmean = 0.5\nstd = 0.25\n")
    images = tmp_path / "images.npz"
    np.savez(images, images=np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8))
    return "--model", tiny_file, "--recipe", recipe, "--images", images, "--threads", "1"


def test_the_folder_is_no_package():
    assert not (BENCHMARKS / "__init__.py").exists()


@pytest.mark.parametrize("script", sorted(path.stem for path in BENCHMARKS.glob("*.py")))
def test_every_script_says_what_it_asks_and_is_in_the_readme(script):
    first = (BENCHMARKS / f"{script}.py").read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith('"""')
    assert f"{script}.py" in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_ranking():
    content, table = run("ranking", "--quick")
    assert content["benchmark"] == "ranking"
    assert content["rankings"]["pixel_order"]["ms_per_map"] > 0
    assert "numpy stable argsort" in table


@pytest.mark.slow
def test_efficiency(given):
    content, table = run("efficiency", "--quick", "--engine", "onnxruntime:fp32", *given)
    (row,) = content["rows"]
    rates = {name: np.array(rate) for name, rate in row["rates"].items()}
    assert row["efficiency"]["median"] == pytest.approx(np.median(rates["scoring"] / rates["raw"]))
    assert len(rates["raw"]) == len(rates["single"]) == 9
    assert (row["points_a_curve"], row["readouts"], row["images"]) == (33, ["raw", "calibrated"], 2)
    assert [entry["batch"] for entry in row["raw"]] == [1, 8]
    assert {"date", "cpu", "versions", "threads"} <= set(content["environment"])
    assert "efficiency" in table


@pytest.mark.slow
def test_efficiency_in_low_precision_states_its_estimate(given):
    pytest.importorskip("openvino")
    content, table = run("efficiency", "--quick", "--engine", "openvino:bf16", *given)
    found = content["rows"][0]["estimate"]
    assert (found["fp32_images"], found["fp32_passes"]) == (2, 128)
    assert {"mean", "ci95", "corrected"} <= set(found["scores"][0])
    assert "corrected to fp32" in table


@pytest.mark.slow
def test_memory(given):
    content, _ = run("memory", "--quick", *given)
    (row,) = content["rows"]
    assert [peak["images"] for peak in row["peaks"]] == [4, 8]
    assert 0.5 < row["ratio"] < 2


@pytest.mark.slow
def test_what_is_missing_is_skipped_with_a_reason(tmp_path):
    content, notes = run("efficiency", "--quick", "--model", tmp_path / "absent.onnx")
    assert "absent.onnx is not there" in content["rows"][0]["skipped"]
    assert "skipped given" in notes


@pytest.mark.slow
def test_calibrators(assets):
    methods = ("--method", "temperature", "--method", "matrix")
    content, table = run("calibrators", "--quick", "--case", "cifar", "--case", "mobilenet", *methods)
    found = {(row["case"], row["method"]): row for row in content["rows"]}
    assert found["cifar", "temperature"]["measures"]["nll"]["after"]["n"] == 20
    assert "refused" in found["mobilenet", "matrix"]
    assert "use temperature" in table or "temperature" in found["mobilenet", "matrix"]["refused"]


@pytest.mark.slow
def test_recalx(assets):
    content, table = run("recalx", "--quick", "--case", "squeezenet")
    (row,) = content["rows"]
    assert set(row["masks"]) >= {"random masks", "MoRF", "LeRF", "MoRF, rise", "LeRF, sobel"}
    for found in row["masks"].values():
        assert [level["level"] for level in found["levels"]] == list(range(10))
        assert set(found["differences"]["worst"]) == {"uncalibrated", "temperature"}
    assert row["calibrator"]["n_fit"] == 8
    assert "paired differences" in table


@pytest.mark.slow
def test_heads(assets):
    content, table = run("calibrators", "--heads", "--quick", "--method", "recalx", "--method", "matrix")
    shares = {row["method"]: row.get("share") for row in content["rows"]}
    assert shares["recalx"]["median"] > 0
    assert shares["matrix"] is None
    assert "share of a pass" in table


@pytest.mark.slow
def test_gpu_on_the_host_checks_then_times():
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    options = ("--device", "host", "--quick", "--no-peers", "--case", "mobilenet", "--engine", "torch:fp32")
    content, table = run("gpu", *options, "--threads", "2")
    assert "masks, ranks and read-outs are right" in table
    assert content["sanitizer"] == {"skipped": "no GPU"}
    assert {"memset", "mask_select", "rung 1", "rung 2", "rung 3"} == set(content["kernels"]["gb_per_s"])
    assert content["kernels"]["bytes_of_torch_chain_over_ours"] >= 15
    assert set(content["link_gb_per_s"]) == {"up_pinned", "up_pageable", "down_pinned"}
    assert [row["shape"] for row in content["rows"]] == ["225 points", "33 points", "awkward"]
    for row in content["rows"]:
        assert row["max_abs_dscore"] <= 1e-6
        assert 0 < row["sent_over_masked"] < 1
        assert set(row["worth"]) == {"no graphs", "no overlap"}
        assert 0 < row["transfers_share"] < 1
        assert 0 < row["host_us_per_pass"]["main"] <= row["host_us_per_pass"]["all_threads"]


def test_gpu_without_one_says_so_in_one_line():
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--case", "mobilenet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    if done.returncode == 0:
        pytest.skip("there is a GPU here")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_sequential():
    content, table = run("sequential", "--quick")
    assert {(row["spread"], row["estimand"]) for row in content["rows"]} == {
        (spread, estimand) for spread in (0.02, 0.05, 0.15) for estimand in ("set", "population")
    }
    assert all(row["upper_limit"] >= row["wrong"] / row["reshuffles"] for row in content["rows"])
    assert content["ms_per_image"] > 0
    assert "t-tests wrong" in table


@pytest.mark.slow
def test_tolerance(tmp_path):
    """On curves of our own, in the layout that record_curves.py writes."""
    rng = np.random.default_rng(0)
    walks = 3 - 6 * np.linspace(0, 1, 225) + np.cumsum(rng.normal(0, 0.3, (2, 2, 2, 210, 225)), axis=-1)
    names = {"methods": ["a", "b"], "readouts": ["raw", "calibrated"], "metrics": ["deletion", "deletion-lerf"]}
    fractions = np.linspace(0, 1, 225)
    np.savez(tmp_path / "net.npz", curves=1 / (1 + np.exp(-walks)), fractions=fractions, **names)
    content, table = run("tolerance", "--quick", "--curves", tmp_path, "--tolerance", "0.001", "--tolerance", "0.005")
    fine, coarse = content["tolerances"]
    assert len(fine["cells"]) == 12  # two methods × (deletion, deletion-lerf, gap) × (raw, calibrated)
    assert 10 < coarse["points"] < fine["points"] < 100
    for row in fine["cells"]:
        assert abs(row["bias"]) < 5e-3 * row["rms"] ** 0.5
        assert row["coverage"]["1"] > 0.8
        assert row["rms"] < coarse["cells"][fine["cells"].index(row)]["rms"]
    assert content["grid29"]["worst_bias"] > 0
    assert "honest total" in table


@pytest.mark.slow
def test_record_curves(tmp_path, assets):
    few = ["--images", "2", "--masks", "8", "--method", "rise", "--method", "sobel", "--threads", "1"]
    command = [sys.executable, BENCHMARKS / "record_curves.py", "--out", tmp_path, "--net", "resnet20", *few]
    content = subprocess.run(command, capture_output=True, text=True, check=False)
    assert content.returncode == 0, content.stderr
    with np.load(tmp_path / "resnet20.npz") as found:
        assert found["curves"].shape == (2, 2, 2, 2, 225)
        assert ((found["curves"] >= 0) & (found["curves"] <= 1)).all()
        # one clean and one wholly perturbed image, whatever the method and the curve
        assert np.ptp(found["curves"][:, 0, :, :, 0], axis=(0, 1)).max() < 1e-6
        assert np.ptp(found["curves"][:, 0, :, :, -1], axis=(0, 1)).max() < 1e-6
