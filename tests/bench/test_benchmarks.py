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
    assert "masks and ranks are right" in table
    assert {"memset", "mask_select", "rung 1", "rung 2", "rung 3"} == set(content["kernels"]["gb_per_s"])
    assert content["kernels"]["bytes_of_torch_chain_over_ours"] >= 15
    assert [row["shape"] for row in content["rows"]] == ["225 points", "33 points", "awkward"]
    for row in content["rows"]:
        assert row["max_abs_dscore"] <= 1e-6
        assert 0 < row["sent_over_masked"] < 1


def test_gpu_without_one_says_so_in_one_line():
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--quick", "--case", "mobilenet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    if done.returncode == 0:
        pytest.skip("there is a GPU here")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
