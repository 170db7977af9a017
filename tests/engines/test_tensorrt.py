"""TensorRT behind the schedule and as a session, against a fake that runs engines by ONNX Runtime in host memory."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from c2i_fast.engines.tensorrt import LoadedEngine, TensorRtEngine, TensorRtSession, import_tensorrt
from c2i_fast.engines.tensorrt_file import sidecar_path, this_platform
from c2i_fast.errors import ContractError, EngineError, InputError, MissingDependencyError
from c2i_fast.export.classifier import export_classifier
from c2i_fast.export.open import GraphOpener, onnx_graph
from c2i_fast.export.tensorrt import export_tensorrt
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.types import EngineConfig, PerturbationPlan
from tests import nets
from tests.tensorrt_fake import ELEVEN, TEN, FakeTensorRt, HostStream

ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
NET = nets.conv_net()
CPU = EngineConfig(engine="onnxruntime", threads=1)


def config(batch=4, **options):
    return EngineConfig(engine="tensorrt", device="cuda", batch_size=batch, **options)


@pytest.fixture
def trt(monkeypatch, tmp_path) -> FakeTensorRt:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake = FakeTensorRt()
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module)
    return fake


@pytest.fixture
def engine_file(trt, tmp_path):
    """An engine for batches of 2 to 8, and its graph on the CPU."""
    export_classifier(NET, tmp_path / "net.onnx")
    report = export_tensorrt(tmp_path / "net.onnx", tmp_path / "net.engine", batches=(2, 4, 8), device=HostStream())
    trt.calls.clear()
    return report.path


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 9, 7), np.float32)


def expected(pixels: np.ndarray) -> np.ndarray:
    return GraphOpener(NET, CPU)("fused").run({"pixels": pixels})["logits"]


# ------------------------------------------------------------------------------------------------ an engine's calls


def test_a_run_binds_its_slot_and_goes_onto_the_devices_stream(trt, engine_file):
    device = HostStream()
    engine = TensorRtEngine.open(engine_file, config(), device)
    assert trt.called() == [
        ("deserialize_cuda_engine",),
        ("create_execution_context",),
        ("set_input_shape", "pixels", (4, 3, 9, 7)),
    ]
    for slot in (0, 1, 0):
        trt.calls.clear()
        pixels = images(4, seed=slot)
        device.upload(pixels, engine.input(slot))
        logits = engine.run(slot)
        bound = {call[1]: call[2] for call in trt.called("set_tensor_address")}
        assert bound["pixels"] == engine.input(slot).pointer
        assert bound["logits"] == logits.pointer
        assert set(bound) == {"pixels", "logits", "probabilities"}, "TensorRT runs with every output bound, or not"
        assert trt.called()[-1] == ("execute_async_v3", 7)
        assert len(trt.calls) == 4
        np.testing.assert_allclose(device.download(logits, (4, 5), np.float32), expected(pixels), atol=1e-5)


def test_the_two_slots_share_no_memory_that_is_read(trt, engine_file):
    device = HostStream()
    engine = TensorRtEngine.open(engine_file, config(), device)
    for slot in range(2):
        device.upload(images(4, seed=slot), engine.input(slot))
    first, second = engine.run(0), engine.run(1)
    for slot, logits in enumerate((first, second)):
        got = device.download(logits, (4, 5), np.float32)
        np.testing.assert_allclose(got, expected(images(4, seed=slot)), atol=1e-5)


def test_resizing_sets_the_shape_and_stays_within_the_profile(trt, engine_file):
    engine = TensorRtEngine.open(engine_file, config(8), HostStream())
    trt.calls.clear()
    engine.resize(2)
    assert engine.batch == 2
    assert trt.called() == [("set_input_shape", "pixels", (2, 3, 9, 7))]
    assert engine.input(0).nbytes == 2 * 3 * 9 * 7 * 4
    for batch in (1, 9):
        with pytest.raises(EngineError, match=rf"net\.engine takes batches of 2 to 8, not {batch}"):
            engine.resize(batch)
    with pytest.raises(EngineError, match="takes batches of 2 to 8, not 32"):
        TensorRtEngine.open(engine_file, config(32), HostStream())


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")
def test_the_schedule_scores_with_it_as_the_cpu_does(trt, engine_file):
    device = HostStream()
    engine = TensorRtEngine.open(engine_file, config(), device)
    rng = np.random.default_rng(0)
    step_maps = rng.integers(0, 6, (2, 1, 9, 7)).astype(np.uint8)
    ends = zip(images(2), images(2, seed=1), step_maps, strict=True)
    plans = [PerturbationPlan(start=start, end=end, step_map=steps, intervals=5) for start, end, steps in ends]
    work = np.array([(p, k) for k in range(6) for p in range(2)][:11], np.int32)
    shown = np.stack([np.where(plans[p].step_map < k, plans[p].end, plans[p].start) for p, k in work])
    got = CudaPasses(device, engine, engine.contract).select(plans, work)
    np.testing.assert_allclose(got, expected(shown), atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")
def test_a_run_that_finds_no_memory_is_tried_with_half_the_batch(trt, engine_file):
    device = HostStream()
    engine = TensorRtEngine.open(engine_file, config(8), device)
    trt.answers["IExecutionContext.execute_async_v3"] = [False]
    trt.errors["IExecutionContext.execute_async_v3"] = ["[executionContext] OutOfMemory: 3 GiB were asked for"]
    said = []
    passes = CudaPasses(device, engine, engine.contract, said.append)
    np.testing.assert_allclose(passes.direct(list(images(4))), expected(images(4)), atol=1e-5)
    assert engine.batch == 4
    assert "going on with batches of 4" in said[0]


# ------------------------------------------------------------------------------------------------ built for scoring


def test_a_graph_in_memory_is_built_once_and_then_comes_from_the_cache(trt):
    graph = GraphOpener(NET, CPU).serialised(onnx_graph(NET, "fused"))
    said: list[str] = []
    for times in (1, 1):
        device = HostStream()
        engine = TensorRtEngine.built(graph, NET.contract, config(4), device, said.append)
        assert len(trt.called("build_serialized_network")) == times
        device.upload(images(4), engine.input(0))
        np.testing.assert_allclose(device.download(engine.run(0), (4, 5), "f4"), expected(images(4)), atol=1e-5)
    assert trt.called("set_shape") == [("set_shape", "pixels", (1, 3, 9, 7), (4, 3, 9, 7), (4, 3, 9, 7))]
    assert said == ["TensorRT 11.4.0.106 builds the network for host (sm_90); this takes minutes"]
    engine.resize(1)


def test_a_graph_of_a_fixed_batch_keeps_it(trt):
    net = nets.conv_net(batch=3)
    graph = GraphOpener(net, CPU).serialised(onnx_graph(net, "fused"))
    assert TensorRtEngine.built(graph, net.contract, config(8), HostStream()).batch == 3


@pytest.mark.parametrize("asked", ["fp16", "bf16", "int8"])
def test_a_precision_that_the_graph_does_not_have_is_never_built(trt, asked):
    graph = GraphOpener(NET, CPU).serialised(onnx_graph(NET, "fused"))
    with pytest.raises(ContractError, match=f"said to be {asked}, but its weights are fp32"):
        TensorRtEngine.built(graph, NET.contract, config(precision=asked), HostStream())
    assert trt.calls == []


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("method", ["set_tensor_address", "execute_async_v3"])
def test_a_refused_run_is_an_engine_error(trt, engine_file, method):
    engine = TensorRtEngine.open(engine_file, config(), HostStream())
    trt.answers[f"IExecutionContext.{method}"] = False
    with pytest.raises(EngineError, match="it gives no reason"):
        engine.run(0)
    trt.errors[f"IExecutionContext.{method}"] = ["because"]
    with pytest.raises(EngineError, match=r"net\.engine .*: because$") as caught:
        engine.run(0)
    assert not isinstance(caught.value, DeviceMemoryError)
    trt.errors[f"IExecutionContext.{method}"] = ["another"]
    with pytest.raises(EngineError, match=r": another$"):  # each error is told once
        engine.run(0)


def test_a_refused_shape_is_an_engine_error_at_once(trt, engine_file):
    trt.answers["IExecutionContext.set_input_shape"] = False
    with pytest.raises(EngineError, match=r"takes pixels from \(2, 3, 9, 7\) to \(8, 3, 9, 7\), not \(4, 3, 9, 7\)"):
        TensorRtEngine.open(engine_file, config(), HostStream())


def test_an_output_of_no_known_shape_is_an_engine_error(trt, engine_file):
    trt.answers["get_tensor_shape"] = (-1, 5)
    with pytest.raises(EngineError, match=r"does not know the shape of logits, it says \(-1, 5\)"):
        TensorRtEngine.open(engine_file, config(), HostStream())


@pytest.mark.parametrize(("name", "kind"), [("logits", np.float16), ("pixels", np.float16)])
def test_what_goes_in_and_out_is_float32(trt, engine_file, name, kind):
    trt.answers[f"get_tensor_dtype {name}"] = kind
    with pytest.raises(EngineError, match=f"has {name} in float16; it must be float32"):
        TensorRtEngine.open(engine_file, config(), HostStream())
    trt.answers[f"get_tensor_dtype {name}"] = None
    with pytest.raises(EngineError, match=f"a tensor {name} that NumPy has no type for"):
        TensorRtEngine.open(engine_file, config(), HostStream())


def test_memory_that_runs_out_while_loading_is_told_from_other_refusals(trt, engine_file):
    trt.answers["ICudaEngine.create_execution_context"] = None
    trt.errors["ICudaEngine.create_execution_context"] = ["Cuda Runtime (out of memory)"]
    with pytest.raises(DeviceMemoryError, match="out of memory"):
        TensorRtEngine.open(engine_file, config(), HostStream())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tensorrt": TEN}, f"built for TensorRT {TEN}, here is TensorRT {ELEVEN}; export it again"),
        ({"architecture": "sm_80"}, "built for a GPU of sm_80, here is a GPU of sm_90"),
        ({"platform": "plan9-vax"}, f"built for plan9-vax, here is {this_platform()}"),
        (
            {"tensorrt": TEN, "architecture": "sm_80"},
            f"TensorRT {TEN} and a GPU of sm_80, here is TensorRT {ELEVEN} and a GPU of sm_90",
        ),
    ],
)
def test_an_engine_for_another_version_or_gpu_is_refused_before_it_is_opened(trt, engine_file, change, told):
    content = json.loads(sidecar_path(engine_file).read_text())
    content["key"] |= change
    sidecar_path(engine_file).write_text(json.dumps(content))
    with pytest.raises(EngineError) as caught:
        TensorRtEngine.open(engine_file, config(), HostStream())
    assert told in str(caught.value)
    assert trt.calls == []


def test_an_engine_file_is_what_its_description_says(trt, engine_file):
    engine_file.write_bytes(engine_file.read_bytes() + b" ")
    with pytest.raises(ContractError, match=r"net\.engine is not the engine that net\.engine\.json describes"):
        TensorRtEngine.open(engine_file, config(), HostStream())
    for content in ('{"version": 2}', "{}", "[]", "null"):
        sidecar_path(engine_file).write_text(content)
        with pytest.raises(ContractError, match="does not describe an engine"):
            TensorRtEngine.open(engine_file, config(), HostStream())
    sidecar_path(engine_file).unlink()
    with pytest.raises(InputError, match="no description of an engine"):
        TensorRtEngine.open(engine_file, config(), HostStream())


def test_a_description_without_its_engine_is_an_engine_error(trt, engine_file):
    engine_file.unlink()
    with pytest.raises(EngineError, match="cannot be read: No such file"):
        TensorRtEngine.open(engine_file, config(), HostStream())


def test_the_precision_of_a_file_is_not_to_be_had_otherwise(trt, engine_file):
    with pytest.raises(EngineError, match="computes in fp32, not fp16; the precision is the graph's"):
        TensorRtEngine.open(engine_file, config(precision="fp16"), HostStream())


def test_a_scorer_graphs_engine_takes_no_pixels(trt, tmp_path):
    export_classifier(NET, tmp_path / "net.onnx", scorer=True)
    report = export_tensorrt(
        tmp_path / "net.scorer.onnx", tmp_path / "s.engine", batches=(1, 2, 3), device=HostStream()
    )
    with pytest.raises(InputError, match="built from a scorer graph"):
        TensorRtEngine.open(report.path, config(2), HostStream())


# ------------------------------------------------------------------------------------------------ sessions


def test_a_session_answers_by_name_for_growing_and_shrinking_batches(trt, engine_file):
    session = TensorRtSession(LoadedEngine(engine_file.read_bytes(), "net", HostStream()), config())
    for count in (2, 8, 3):
        answers = session.run({"pixels": images(count)})
        assert set(answers) == {"logits", "probabilities"}
        np.testing.assert_allclose(answers["logits"], expected(images(count)), atol=1e-5)


def test_a_session_refuses_what_its_graph_does_not_take(trt, engine_file):
    session = TensorRtSession(LoadedEngine(engine_file.read_bytes(), "net", HostStream()), config())
    with pytest.raises(EngineError, match="net takes the inputs pixels, not images"):
        session.run({"images": images(2)})
    with pytest.raises(EngineError, match="net takes pixels in float32, not float64"):
        session.run({"pixels": images(2).astype(np.float64)})
    with pytest.raises(EngineError, match=r"from \(2, 3, 9, 7\) to \(8, 3, 9, 7\), not \(9, 3, 9, 7\)"):
        session.run({"pixels": images(9)})


# ------------------------------------------------------------------------------------------------ the module


def test_a_missing_tensorrt_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"tensorrt is not installed.*c2i-fast\[tensorrt\]"):
        import_tensorrt()


def test_libraries_that_do_not_load_are_told_from_a_missing_package(monkeypatch, tmp_path):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.11: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(EngineError, match=r"installed, but its libraries cannot be loaded: libnvinfer\.so\.11"):
        import_tensorrt()


@pytest.mark.parametrize("version", ["8.6.1", "10.12.0.36", "12.0.0.1"])
def test_other_versions_are_refused(trt, version):
    trt.module.__version__ = version
    with pytest.raises(EngineError, match=f"TensorRT 10.13 to 11 is needed, found {version}"):
        import_tensorrt()


@pytest.mark.parametrize("version", ["10.13.0", TEN, "11.0.0.114", ELEVEN])
def test_these_versions_are_taken(trt, version):
    trt.module.__version__ = version
    assert import_tensorrt() is trt.module
