"""ONNX Runtime's GPU providers, against a fake that records: behind our kernels, and with masks in the graph."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

from c2i_fast.engines.select import choose_engine
from c2i_fast.errors import EngineError
from c2i_fast.export.open import GraphOpener, device_engine, open_passes
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.types import EngineConfig
from tests import nets
from tests.kernels.test_schedule import every_step
from tests.tensorrt_fake import HostStream

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from tests.onnxruntime_fake import FakeOrt

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
NET = nets.conv_net()
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


@pytest.fixture
def ort(monkeypatch, tmp_path):
    """onnxruntime with both GPU providers, on the host."""
    import c2i_fast.engines.onnxruntime_providers as module

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")  # so that what the code sets does not outlive the test
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    device = HostStream()
    device.index = 0
    fake = FakeOrt(TENSORRT, CUDA, device=device)
    monkeypatch.setattr(module, "ort", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    return fake


def config(engine, batch=4):
    return EngineConfig(engine=engine, device="cuda", batch_size=batch)


def some_plans(count=2, seed=0):
    from c2i_fast.types import PerturbationPlan

    rng = np.random.default_rng(seed)
    return [
        PerturbationPlan(
            start=rng.random((3, 9, 7), np.float32),
            end=rng.random((3, 9, 7), np.float32),
            step_map=rng.integers(0, 8, (1, 9, 7)).astype(np.uint8),
            intervals=7,
        )
        for _ in range(count)
    ]


@pytest.fixture
def reference():
    """Plans, work and the logits of the definition."""
    opener = GraphOpener(NET, EngineConfig(engine="onnxruntime", threads=1))
    plans, work = some_plans(), every_step(2)
    return plans, work, ReferencePasses(opener, NET.contract, 4).select(plans, work)


# ------------------------------------------------------------------------------------------------ behind our kernels


@needs_compiler
def test_our_kernels_fill_what_is_bound_and_the_session_runs_on_their_stream(reference, ort):
    plans, work, expected = reference
    engine = device_engine(NET, config("onnxruntime"), ort.device)
    (((name, options),), _), *_ = ort.opened
    assert (name, options["user_compute_stream"], options["use_tf32"]) == (CUDA, str(HostStream.stream), "0")
    said = []
    passes = CudaPasses(ort.device, engine, NET.contract, said.append)
    for _ in range(2):
        np.testing.assert_allclose(passes.select(plans, work), expected, atol=1e-5)
    assert ("option", "disable_synchronize_execution_providers", "1") in ort.runs
    bound = [run for run in ort.runs if run[0] == "bound"]
    assert len(bound) == 8
    assert {run[1] for run in bound} == {("cuda", 0)}
    assert {engine.input(0).pointer, engine.input(1).pointer} <= {address for run in bound for address in run[2:]}
    assert ort.device.traffic.replays == 0
    assert said == [], "that it records no graphs is known, and nothing to warn of"


def test_no_memory_is_told_from_other_refusals(ort):
    engine = device_engine(NET, config("onnxruntime"), ort.device)
    ort.refusal = RuntimeError("[ONNXRuntimeError] : Available memory of 12 is smaller than requested bytes of 99")
    with pytest.raises(DeviceMemoryError, match="Available memory"):
        engine.run(0)
    ort.refusal = RuntimeError("CUDNN_STATUS_MAPPING_ERROR\nand a page more")
    with pytest.raises(EngineError, match=r"onnxruntime refused to run: CUDNN_STATUS_MAPPING_ERROR$"):
        engine.run(0)


# ------------------------------------------------------------------------------------------------ masks in the graph


@pytest.mark.parametrize(
    ("engine", "providers"), [("onnxruntime-scorer", [CUDA]), ("onnxruntime-tensorrt", [TENSORRT, CUDA])]
)
def test_the_scorer_graph_runs_on_the_provider(reference, ort, engine, providers):
    plans, work, expected = reference
    passes = open_passes(NET, config(engine))
    assert isinstance(passes, GraphPasses)
    np.testing.assert_allclose(passes.select(plans, work), expected, atol=1e-5)
    asked, _ = ort.opened[0]
    assert [name for name, _ in asked] == providers
    assert asked[-1][1] == {"device_id": "0", "use_tf32": "0"}
    assert {tuple(run[1]) for run in ort.runs} == {("start", "end", "step_map", "steps")}


def test_tensorrt_gets_an_engine_for_each_set_of_shapes_and_keeps_it(ort, monkeypatch, tmp_path):
    passes = open_passes(NET, config("onnxruntime-tensorrt"))
    for count in (1, 4, 1, 4):
        plans = some_plans(count)
        work = np.array([(p, k) for p in range(count) for k in range(4 // count)], np.int32)
        passes.select(plans, work)
    fixed = [(sizes["start 0"], sizes["steps 1"]) for _, sizes in ort.opened]
    assert fixed == [(1, 4), (4, 1)], "every dimension is a number, and no engine is built twice"
    folders = [dict(providers)[TENSORRT]["trt_engine_cache_path"] for providers, _ in ort.opened]
    assert len(set(folders)) == 2
    assert all(folder.startswith(str(tmp_path)) for folder in folders)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_tensorrt_forgets_the_shapes_used_least_lately(ort):
    from c2i_fast.engines.onnxruntime_scorer import SHAPES_KEPT, OnnxRuntimeTensorRtSession

    opener = GraphOpener(NET, config("onnxruntime-tensorrt"))
    session = opener("fused")
    assert isinstance(session, OnnxRuntimeTensorRtSession)
    pixels = np.zeros((SHAPES_KEPT + 1, 3, 9, 7), np.float32)
    for count in (*range(1, SHAPES_KEPT + 2), 2, 1):
        assert session.run({"pixels": pixels[:count]})["logits"].shape == (count, 5)
    assert len(ort.opened) == SHAPES_KEPT + 2


def test_weights_beside_the_graph_are_not_cached(ort, monkeypatch, reference):
    """The provider would take an engine of other weights for this graph's."""
    import c2i_fast.export.open as opening

    plans, work, expected = reference
    monkeypatch.setattr(opening, "INLINE_BYTES", 0)
    np.testing.assert_allclose(
        open_passes(NET, config("onnxruntime-tensorrt")).select(plans, work), expected, atol=1e-5
    )
    assert dict(ort.opened[0][0])[TENSORRT] == {"device_id": "0"}


# ------------------------------------------------------------------------------------------------ never on the CPU


@pytest.mark.parametrize("engine", ["onnxruntime", "onnxruntime-scorer", "onnxruntime-tensorrt"])
def test_a_provider_that_is_not_there_is_one_line_that_names_the_extra(reference, ort, engine):
    ort.available = ["CPUExecutionProvider"]
    plans, work, _ = reference
    with pytest.raises(EngineError, match=r"1\.32\.0 has no (CUDA|TensorRT): .*c2i-fast\[gpu\]") as caught:
        _started(engine, ort, plans, work)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "onnxruntime-scorer", "onnxruntime-tensorrt"])
def test_a_provider_that_falls_back_to_the_cpu_in_silence_is_an_error(reference, ort, engine):
    ort.loads = False
    plans, work, _ = reference
    with pytest.raises(EngineError, match="provider did not load"):
        _started(engine, ort, plans, work)


def test_a_graph_that_is_none_is_one_line(ort):
    from c2i_fast.engines.onnxruntime_scorer import OnnxRuntimeCudaSession

    with pytest.raises(EngineError, match="onnxruntime cannot open the graph on CUDA: ") as caught:
        OnnxRuntimeCudaSession(b"no graph", config("onnxruntime-scorer"))
    assert "\n" not in str(caught.value)


def test_a_refused_run_is_one_line(ort):
    session = GraphOpener(NET, config("onnxruntime-scorer"))("fused")
    with pytest.raises(EngineError, match="onnxruntime refused to run: "):
        session.run({"pixels": np.zeros((1, 4, 9, 7), np.float32)})


def test_they_are_chosen_by_name_alone():
    for name in ("onnxruntime-scorer", "onnxruntime-tensorrt"):
        assert choose_engine(name, device="cuda").config.engine == name


def _started(engine, ort, plans, work):
    if engine == "onnxruntime":
        return device_engine(NET, config(engine), ort.device)
    return open_passes(NET, config(engine)).select(plans, work)
