"""`--device cuda`: refused in one line where there is no GPU; with one, the same scores. The GPU here is the host."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest

from c2i_fast.engines.select import EXTRAS
from c2i_fast.export import open as opening
from c2i_fast.export.open import GraphOpener
from c2i_fast.kernels.engine import HostEngine
from c2i_fast.kernels.host import HostDevice
from tests.cli.things import done, rows, run

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is the host: its kernels compiled for the CPU, its network ONNX Runtime's."""
    module = ModuleType("c2i_fast.kernels.cuda")
    module.CudaDevice = HostDevice
    monkeypatch.setitem(sys.modules, "c2i_fast.kernels.cuda", module)

    def engine(classifier, config, device, say=None):
        session = GraphOpener(classifier, config)("fused")
        return HostEngine(session, classifier.contract, config.batch_size, device)

    monkeypatch.setattr(opening, "device_engine", engine)


@needs_compiler
def test_scores_on_a_gpu_are_those_on_the_cpu(gpu, net, npz, maps, tmp_path):
    common = ("score", net, "--images", npz, "--maps", maps, "--json", "--engine", "onnxruntime")
    found = done(*common, "--device", "cuda", "--out", tmp_path / "gpu").json
    done(*common, "--out", tmp_path / "cpu")
    assert found["engine"]["device"] == "cuda"
    pairs = list(zip(rows(tmp_path / "gpu"), rows(tmp_path / "cpu"), strict=True))
    assert pairs
    for on_gpu, on_cpu in pairs:
        assert (on_gpu["image"], on_gpu["method"], on_gpu["metric"]) == (
            on_cpu["image"],
            on_cpu["method"],
            on_cpu["metric"],
        )
        np.testing.assert_allclose(on_gpu["curve"], on_cpu["curve"], rtol=0, atol=1e-6)


@needs_compiler
def test_a_run_on_a_gpu_is_resumed_there_and_has_large_parts(gpu, net, npz, maps, tmp_path):
    out = tmp_path / "gpu"
    done("score", net, "--images", npz, "--maps", maps, "--device", "cuda", "--out", out)
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert (settings["device"], settings["passes_per_part"], settings["batch_size"]) == ("cuda", 65_536, 256)
    done("score", net, "--images", npz, "--maps", maps, "--out", out, "--resume")
    refused = run("score", net, "--images", npz, "--maps", maps, "--out", out, "--resume", "--device", "cpu")
    assert refused.code == 2
    assert "device" in refused.err


@needs_compiler
def test_rise_is_explained_on_a_gpu(gpu, net, npz, tmp_path):
    common = ("explain", net, "--images", npz, "--method", "rise", "--masks", "40", "--engine", "onnxruntime")
    done(*common, "--device", "cuda", "--out", tmp_path / "gpu")
    done(*common, "--out", tmp_path / "cpu")
    on_gpu, on_cpu = (sorted((tmp_path / name).rglob("*.npy")) for name in ("gpu", "cpu"))
    assert [path.name for path in on_gpu] == [path.name for path in on_cpu]
    for first, second in zip(on_gpu, on_cpu, strict=True):
        np.testing.assert_allclose(np.load(first), np.load(second), rtol=0, atol=1e-5)


def test_without_a_driver_it_is_one_line(net, npz, maps, tmp_path):
    cuda = pytest.importorskip("c2i_fast.kernels.cuda", reason="the cuda extra is not installed")
    try:
        cuda.CudaDevice()
    except Exception as error:
        assert "driver" in str(error)  # noqa: PT017
    else:
        pytest.skip("there is a GPU here")
    answer = run("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run", "--device", "cuda")
    assert answer.code == 1
    assert "there is no NVIDIA driver on this machine; use --device cpu" in answer.err
    assert not (tmp_path / "run").exists()


def test_list_engines_says_where_each_was_executed():
    summaries = {row["name"]: row["summary"] for row in done("list", "engines", "--json").json}
    assert "executed on x86-64 CPUs" in summaries["openvino"]
    on_gpu = {name: line for name, line in summaries.items() if name.endswith("--device cuda")}
    assert set(on_gpu) == {f"{name} --device cuda" for name in EXTRAS["cuda"]}
    assert all("never executed" in line for line in on_gpu.values())


def test_export_for_tensorrt_without_it_leaves_nothing(net, tmp_path):
    pytest.importorskip("cuda.core", reason="the cuda extra is not installed")
    if find_spec("tensorrt"):
        pytest.skip("TensorRT is installed")
    answer = run("export", net, "--out", tmp_path / "model.onnx", "--tensorrt")
    assert answer.code == 1
    assert "pip install 'c2i-fast[tensorrt]'" in answer.err
    assert not list(tmp_path.iterdir())
