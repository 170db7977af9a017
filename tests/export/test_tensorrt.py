"""Building a TensorRT engine, against a fake that records what is asked of it and runs the graph by ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, replace

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.calibration.recalx import ReCalX
from c2i_fast.engines.tensorrt import TensorRtEngine
from c2i_fast.engines.tensorrt_file import read_engine, sidecar_path
from c2i_fast.errors import ContractError, EngineError, InputError, MissingDependencyError
from c2i_fast.export.classifier import export_classifier
from c2i_fast.export.graphs import fused_graph
from c2i_fast.export.save import save_graph
from c2i_fast.export.tensorrt import engine_profile, export_tensorrt, graph_precision
from c2i_fast.export.tensorrt_build import BuildPlan, build_engine, layer_types, network_flags
from c2i_fast.export.tensorrt_verify import sample_feeds, verify_engine
from c2i_fast.export.verify import open_file, sample_images
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.types import EngineConfig
from tests import nets
from tests.tensorrt_fake import ELEVEN, TEN, FakeTensorRt, HostStream

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
NET = nets.conv_net()
SHAPES = {n: (n, 3, 9, 7) for n in (1, 2, 4)}


@pytest.fixture(params=[TEN, ELEVEN])
def trt(request, monkeypatch, tmp_path):
    return _installed(request.param, monkeypatch, tmp_path)


@pytest.fixture
def trt11(monkeypatch, tmp_path):
    return _installed(ELEVEN, monkeypatch, tmp_path)


def _installed(version, monkeypatch, tmp_path) -> FakeTensorRt:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fake = FakeTensorRt(version)
    monkeypatch.setitem(sys.modules, "tensorrt", fake.module)
    return fake


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """A fused graph and its scorer graph."""
    folder = tmp_path_factory.mktemp("graphs")
    export_classifier(NET, folder / "net.onnx", scorer=True)
    return folder / "net.onnx", folder / "net.scorer.onnx"


def export(graph, tmp_path, batches=(1, 2, 4), **options):
    options = {"device": HostStream(), **options}
    return export_tensorrt(graph, tmp_path / "out" / "net.engine", batches=batches, **options)


def left(tmp_path) -> list[str]:
    """Names in the output folder, hidden ones too."""
    folder = tmp_path / "out"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ------------------------------------------------------------------------------------------------ the calls


def test_a_build_makes_these_calls_in_this_order(trt, graphs, tmp_path):
    export(graphs[0], tmp_path, workspace_bytes=12345)
    module = trt.module
    flags = {TEN: 1 << module.NetworkDefinitionCreationFlag.STRONGLY_TYPED, ELEVEN: 0}[trt.version]
    assert trt.called()[:16] == [
        ("create_network", flags),
        ("parse_from_file", str(graphs[0])),
        ("create_builder_config",),
        ("set_memory_pool_limit", module.MemoryPoolType.WORKSPACE, 12345),
        ("clear_flag", module.BuilderFlag.TF32),
        ("profiling_verbosity", module.ProfilingVerbosity.DETAILED),
        ("create_optimization_profile",),
        ("set_shape", "pixels", SHAPES[1], SHAPES[2], SHAPES[4]),
        ("add_optimization_profile",),
        ("create_timing_cache", b""),
        ("set_timing_cache", b"", False),
        ("build_serialized_network",),
        ("get_timing_cache",),
        ("serialize",),
        ("deserialize_cuda_engine",),
        ("create_execution_context",),
    ]
    assert trt.called()[16:20] == [
        ("set_input_shape", "pixels", SHAPES[2]),
        ("create_engine_inspector",),
        ("execution_context", {"pixels": SHAPES[2]}),
        ("get_engine_information", module.LayerInformationFormat.JSON),
    ]


def test_parity_is_looked_at_for_the_smallest_the_next_the_usual_and_the_largest_batch(trt11, graphs, tmp_path):
    report = export(graphs[0], tmp_path, batches=(1, 4, 6))
    shapes = [call[2][0] for call in trt11.called("set_input_shape")]
    assert shapes == [4, 1, 2, 4, 6], "once for the inspector, then for each batch"
    assert trt11.called("execute_async_v3") == [("execute_async_v3", 7)] * 4
    assert report.record.verify["batches"] == [1, 2, 4, 6]


def test_a_scorer_graph_has_one_plan_of_so_many_steps(trt11, graphs, tmp_path):
    report = export(graphs[1], tmp_path, batches=(1, 3, 5))
    assert report.record.contract.step_map_dtype == "uint8"
    image, step_map = (1, 3, 9, 7), (1, 1, 9, 7)
    assert trt11.called("set_shape") == [
        ("set_shape", "start", image, image, image),
        ("set_shape", "end", image, image, image),
        ("set_shape", "step_map", step_map, step_map, step_map),
        ("set_shape", "steps", (1, 1), (1, 3), (1, 5)),
    ]
    assert report.record.verify["batches"] == [1, 2, 3, 5]
    assert 0 <= report.record.verify["max_abs_dlogit"] < 1e-5


def test_onnx_bytes_are_parsed_as_bytes(trt11, graphs):
    content = graphs[0].read_bytes()
    plan = BuildPlan(graph=content, name="net", profile={"pixels": (SHAPES[1],) * 3}, workspace_bytes=1)
    engine, timing = build_engine(plan, b"known")
    assert ("parse", len(content)) in trt11.called("parse")
    assert type(engine) is bytes
    assert timing == b"knownmeasured"


def test_a_graph_of_a_fixed_batch_makes_an_engine_of_that_batch(trt11, tmp_path):
    export_classifier(nets.conv_net(batch=3), tmp_path / "fixed.onnx")
    said = []
    report = export(tmp_path / "fixed.onnx", tmp_path, say=said.append)
    assert report.record.key.profile == {"pixels": ((3, 3, 9, 7),) * 3}
    assert said[0] == "the graph takes batches of 3 only, and so will the engine"


# ------------------------------------------------------------------------------------------------ what is written


def test_the_description_tells_what_the_engine_depends_on(trt, graphs, tmp_path):
    report = export(graphs[0], tmp_path)
    assert report.path == tmp_path / "out" / "net.engine"
    assert left(tmp_path) == ["net.engine", "net.engine.json"]
    written = json.loads(sidecar_path(report.path).read_text())
    key = written["key"]
    assert key["graph_sha256"] == hashlib.sha256(graphs[0].read_bytes()).hexdigest()
    assert (key["tensorrt"], key["architecture"], key["precision"]) == (trt.version, "sm_90", "fp32")
    assert key["profile"] == {"pixels": [list(SHAPES[n]) for n in (1, 2, 4)]}
    assert "tf32=off" in key["flags"]
    assert written["layers"] == {"conv": ["fp32"]}
    assert written["contract"]["classes"] == 5
    assert written["engine_sha256"] == hashlib.sha256(report.path.read_bytes()).hexdigest()
    assert written["verify"]["top1_agreement"] == 1
    assert read_engine(report.path)[0] == report.record, "the description reads back as it was"
    json.dumps(report.to_dict())
    assert report.to_dict()["layer_types"] == {"fp32": 1}


def test_the_suffix_becomes_engine(trt11, graphs, tmp_path):
    report = export_tensorrt(graphs[0], tmp_path / "model.onnx", batches=(1, 1, 1), device=HostStream())
    assert report.path == tmp_path / "model.engine"


@pytest.mark.parametrize("there", ["net.engine", "net.engine.json"])
def test_what_is_there_is_replaced_by_force_only(trt11, graphs, tmp_path, there):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / there).write_text("mine")
    with pytest.raises(InputError, match="exists"):
        export(graphs[0], tmp_path)
    assert trt11.calls == []
    assert (tmp_path / "out" / there).read_text() == "mine"
    export(graphs[0], tmp_path, force=True)
    assert left(tmp_path) == ["net.engine", "net.engine.json"]


# ------------------------------------------------------------------------------------------------ refusals

MESSAGES = {
    "Builder": "TensorRT does not start",
    "Builder.create_network": "cannot make a network",
    "Builder.create_builder_config": "cannot make a builder configuration",
    "Builder.build_serialized_network": r"TensorRT 11.4.0.106 cannot build net.onnx",
    "IBuilderConfig.add_optimization_profile": "does not take the profile",
    "IBuilderConfig.set_timing_cache": "takes no timing cache",
    "IBuilderConfig.create_timing_cache": "takes no timing cache",
    "OnnxParser.parse_from_file": r"TensorRT 11.4.0.106 cannot parse net.onnx",
    "Runtime": "TensorRT does not start",
    "Runtime.deserialize_cuda_engine": r"TensorRT 11.4.0.106 cannot load net.onnx",
    "ICudaEngine.create_execution_context": "cannot make an execution context",
    "ICudaEngine.create_engine_inspector": "cannot look into net.onnx",
    "IExecutionContext.set_input_shape": r"takes pixels from \(1, 3, 9, 7\) to \(4, 3, 9, 7\), not \(2, 3, 9, 7\)",
    "IExecutionContext.set_tensor_address": "does not take the memory for pixels",
    "IExecutionContext.execute_async_v3": "refused to run",
}
NO = dict.fromkeys(MESSAGES) | {
    "IBuilderConfig.add_optimization_profile": -1,
    **{f"IExecutionContext.{what}": False for what in ("set_input_shape", "set_tensor_address", "execute_async_v3")},
    "IBuilderConfig.set_timing_cache": False,
    "OnnxParser.parse_from_file": False,
}


@pytest.mark.parametrize("call", MESSAGES)
def test_every_refusal_is_an_engine_error_with_the_reason_and_leaves_nothing(trt11, graphs, tmp_path, call):
    trt11.answers[call] = NO[call]
    trt11.errors[call] = ["the\nreason"]
    reason = "a warning" if "." not in call else "the reason"
    with pytest.raises(EngineError, match=MESSAGES[call]) as caught:
        export(graphs[0], tmp_path)
    assert "\n" not in str(caught.value)
    assert (reason in str(caught.value)) == ("." in call), "warnings are no reason"
    assert left(tmp_path) == []


def test_a_parser_error_names_the_node_and_keeps_its_words(trt11, graphs, tmp_path):
    trt11.answers["OnnxParser.parse_from_file"] = False
    trt11.parser_errors = [("Unsupported\n mode cubic", "/up/Resize_3", "Resize"), ("and the rest", "", "")]
    with pytest.raises(EngineError) as caught:
        export(graphs[0], tmp_path)
    told = "net.onnx: node '/up/Resize_3' (Resize): Unsupported mode cubic; and the rest"
    assert str(caught.value) == f"TensorRT 11.4.0.106 cannot parse {told}"


def test_shapes_that_tensorrt_raises_for_are_an_engine_error(trt11, graphs, tmp_path, monkeypatch):
    from tests.tensorrt_fake import IOptimizationProfile

    def refuses(self, *shapes):
        raise ValueError("inconsistent")

    monkeypatch.setattr(IOptimizationProfile, "set_shape", refuses)
    with pytest.raises(EngineError, match="for pixels: inconsistent"):
        export(graphs[0], tmp_path)


def test_a_build_in_another_precision_is_never_kept(trt, tmp_path):
    """The graph is in half, and the engine's layers are not."""
    path = half_graph(tmp_path)
    with pytest.raises(EngineError, match=r"half\.onnx is in fp16, but TensorRT built its layers in fp32"):
        export(path, tmp_path)
    assert left(tmp_path) == []
    assert not list((tmp_path / "cache").rglob("*.engine")), "nor in the cache"
    trt.layer_type = {TEN: "Channel major FP16 format where channel % 8 == 0", ELEVEN: "Half"}[trt.version]
    assert export(path, tmp_path).record.key.precision == "fp16"


def test_layers_without_types_are_no_proof(trt11, graphs, tmp_path):
    trt11.answers["EngineInspector.get_engine_information"] = '{"Layers": ["conv"], "Bindings": []}'
    with pytest.raises(EngineError, match="in types untold"):
        export(graphs[0], tmp_path)


@pytest.mark.parametrize("stated", ["fp16", "int8", "bf16"])
def test_a_graph_that_states_what_its_weights_are_not_is_refused_before_any_build(trt11, tmp_path, stated):
    contract = replace(NET.contract, precision=stated)
    save_graph(fused_graph(NET.backbone(), contract, None), tmp_path / "net.onnx", contract)
    with pytest.raises(ContractError, match=f"net.onnx is said to be {stated}, but its weights are fp32"):
        export(tmp_path / "net.onnx", tmp_path)
    assert trt11.calls == []


def test_an_engine_that_answers_otherwise_is_not_written(trt11, graphs, tmp_path):
    for error in (0.3, np.nan):
        trt11.error = error
        with pytest.raises(ContractError, match=r"net\.onnx does not answer as its graph in fp32"):
            export(graphs[0], tmp_path)
        assert left(tmp_path) == []
    assert not list((tmp_path / "cache").rglob("*.engine"))


def test_an_engine_whose_second_batch_size_is_wrong_is_found(graphs):
    """Batches are compared one by one, whoever runs them."""

    def run(feeds):
        logits = feeds["pixels"].mean(axis=(2, 3)) @ np.eye(3, 5, dtype=np.float32)
        return {"logits": logits, "probabilities": np.full_like(logits, 0.2)}

    def wrong_at_two(feeds):
        answers = run(feeds)
        return answers | {"logits": answers["logits"][::-1]} if len(feeds["pixels"]) == 2 else answers

    assert verify_engine(run, run, NET.contract, (1, 2, 3), "net").max_abs_dlogit == 0
    verify_engine(wrong_at_two, run, NET.contract, (1, 3), "net")
    with pytest.raises(ContractError):
        verify_engine(wrong_at_two, run, NET.contract, (1, 2, 3), "net")


def test_another_top1_is_found_where_logits_may_be_far_apart():
    """The bounds of int8 are wide; one that answers another class for every image is not within them."""

    def run(*logits):
        rows = np.array([logits], np.float32)
        return lambda feeds: {"logits": rows, "probabilities": np.full((1, 5), 0.2, np.float32)}

    contract = replace(NET.contract, precision="int8")
    apart = run(0.7, 0.6, 0, 0, 0), run(1, 0.8, 0, 0, 0), contract, (1,), "net"
    assert verify_engine(*apart).max_abs_dlogit == pytest.approx(0.3)
    with pytest.raises(ContractError, match=r"top-1 agreement 0\.0000"):
        verify_engine(run(0.7, 0.9, 0, 0, 0), *apart[1:])


def test_a_graph_without_a_contract_is_refused(trt11, tmp_path):
    ir.save(NET.backbone(), tmp_path / "bare.onnx")
    with pytest.raises(ContractError, match=r"bare\.onnx carries no contract"):
        export(tmp_path / "bare.onnx", tmp_path)
    model = NET.backbone().clone()
    model.metadata_props["c2i_fast.contract"] = '{"version": 1}'
    ir.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ContractError, match="cannot be read"):
        export(tmp_path / "odd.onnx", tmp_path)


@pytest.mark.parametrize("batches", [(0, 1, 2), (2, 1, 3), (1, 4, 3)])
def test_batches_must_grow_from_one(trt11, graphs, tmp_path, batches):
    with pytest.raises(InputError, match="smallest, usual and largest"):
        export(graphs[0], tmp_path, batches=batches)


def test_images_of_any_size_are_refused():
    with pytest.raises(InputError, match="--size"):
        engine_profile(replace(NET.contract, space=(None, 7)), (1, 1, 1))


def test_a_graph_that_cannot_be_compared_is_refused_before_any_build(trt11, tmp_path):
    with pytest.raises(ContractError, match="is in bf16, which no engine here can check"):
        export(half_graph(tmp_path, ir.DataType.BFLOAT16, "bf16"), tmp_path)
    assert trt11.calls == []


def test_a_missing_reference_engine_is_told_before_any_build(trt11, graphs, tmp_path, monkeypatch):
    for engine in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, engine, None)
        monkeypatch.delitem(sys.modules, f"c2i_fast.engines.{engine}", raising=False)
    monkeypatch.setattr("c2i_fast.engines.select.installed", lambda engine: False)
    with pytest.raises(MissingDependencyError, match="onnxruntime is not installed"):
        export(graphs[0], tmp_path)
    assert trt11.calls == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_graphs_of_an_export_are_known_by_their_weights(tmp_path, precision):
    images = list(np.random.default_rng(0).random((4, 3, 9, 7), np.float32)) if precision == "int8" else ()
    export_classifier(NET, tmp_path / "net.onnx", precision=precision, images=images)
    assert graph_precision(ir.load(tmp_path / "net.onnx")) == precision


def test_without_tensorrt_the_extra_is_named(graphs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"tensorrt is not installed.*c2i-fast\[tensorrt\]"):
        export(graphs[0], tmp_path)


# ------------------------------------------------------------------------------------------------ the cache


def test_the_second_export_takes_the_engine_of_the_first(trt11, graphs, tmp_path):
    first = export(graphs[0], tmp_path)
    trt11.calls.clear()
    second = export(graphs[0], tmp_path, force=True)
    assert (first.cached, second.cached) == (False, True)
    assert second.record == first.record
    assert [call[1] for call in trt11.calls] == ["deserialize_cuda_engine", "create_execution_context"]


def test_all_that_an_engine_depends_on_is_in_its_key(trt11, graphs, tmp_path):
    report = export(graphs[0], tmp_path)
    others = {
        "graph_sha256": "0",
        "tensorrt": TEN,
        "architecture": "sm_80",
        "precision": "fp16",
        "profile": {"pixels": (SHAPES[1],) * 3},
        "flags": ("strongly-typed",),
        "platform": "plan9-vax",
    }
    key = report.record.key
    assert set(others) == set(asdict(key))
    digests = {key.digest()} | {replace(key, **{name: value}).digest() for name, value in others.items()}
    assert len(digests) == len(others) + 1


@pytest.mark.parametrize("change", [{"batches": (1, 2, 5)}, {"workspace_bytes": 99}])
def test_other_settings_build_another_engine(trt11, graphs, tmp_path, change):
    export(graphs[0], tmp_path)
    assert not export(graphs[0], tmp_path, force=True, **change).cached


def test_another_gpu_builds_another_engine(trt11, graphs, tmp_path):
    export(graphs[0], tmp_path)
    other = HostStream()
    other.architecture = "sm_80"
    assert not export(graphs[0], tmp_path, force=True, device=other).cached


@pytest.mark.parametrize("harm", ["engine", "json", "foreign", "load"])
def test_a_cached_engine_that_cannot_be_used_is_built_again_and_it_is_said(trt11, graphs, tmp_path, harm):
    export(graphs[0], tmp_path)
    (cached,) = (tmp_path / "cache").rglob("*.engine")
    if harm == "engine":
        cached.write_bytes(b"cut")
    elif harm == "json":
        sidecar_path(cached).write_text("{}")
    elif harm == "foreign":
        content = json.loads(sidecar_path(cached).read_text())
        content["key"]["tensorrt"] = TEN
        sidecar_path(cached).write_text(json.dumps(content))
    else:
        trt11.answers["Runtime.deserialize_cuda_engine"] = [None]
    said = []
    assert not export(graphs[0], tmp_path, force=True, say=said.append).cached
    assert said[0].startswith("the engine in the cache is built again: ")
    assert export(graphs[0], tmp_path, force=True).cached, "the new one took its place"


def test_timings_are_kept_for_the_next_build_and_left_out_where_tensorrt_does_not_know_them(trt11, graphs, tmp_path):
    export(graphs[0], tmp_path)
    export(graphs[0], tmp_path, batches=(1, 1, 1), force=True)
    assert trt11.called("create_timing_cache") == [("create_timing_cache", b""), ("create_timing_cache", b"measured")]
    trt11.calls.clear()
    trt11.answers["IBuilderConfig.set_timing_cache"] = [False]
    export(graphs[0], tmp_path, batches=(2, 2, 2), force=True)
    assert [call[1:] for call in trt11.called("set_timing_cache")] == [(b"measuredmeasured", False), (b"", False)]


def test_a_cache_that_takes_nothing_is_done_without(trt11, graphs, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    said = []
    export(graphs[0], tmp_path, say=said.append)
    assert sum("nothing is kept in the cache" in line for line in said) == 2
    assert left(tmp_path) == ["net.engine", "net.engine.json"]


def test_a_cached_engine_that_finds_no_memory_is_not_built_again(trt11, graphs, tmp_path):
    export(graphs[0], tmp_path)
    trt11.answers["ICudaEngine.create_execution_context"] = None
    trt11.errors["ICudaEngine.create_execution_context"] = ["OutOfMemory"]
    trt11.calls.clear()
    with pytest.raises(DeviceMemoryError):
        export(graphs[0], tmp_path, force=True)
    assert not trt11.called("build_serialized_network")
    assert left(tmp_path) == ["net.engine", "net.engine.json"], "what was there stays"


# ------------------------------------------------------------------------------------------------ types


def half_graph(tmp_path, kind=ir.DataType.FLOAT16, precision="fp16"):
    """A fused graph with weights in half and the head in float."""

    def body(tape, value):
        flat = tape.op("Reshape", [value, nets.weights(tape, np.array([-1, 12]), "shape")])
        half = tape.op("Cast", [flat], {"to": kind})
        matrix = np.random.default_rng(0).normal(size=(12, 4)).astype(kind.numpy())
        product = tape.op("MatMul", [half, nets.weights(tape, matrix, "matrix")])
        return tape.op("Cast", [product], {"to": ir.DataType.FLOAT})

    classifier = nets.classifier(body, 3, (2, 2), 4)
    contract = replace(classifier.contract, precision=precision)
    save_graph(fused_graph(classifier.backbone(), contract, None), tmp_path / "half.onnx", contract)
    return tmp_path / "half.onnx"


def test_the_precision_of_a_graph_is_that_of_most_of_its_weights(tmp_path):
    assert graph_precision(NET.backbone()) == "fp32"
    assert graph_precision(ir.load(half_graph(tmp_path))) == "fp16"
    assert graph_precision(nets.identity_net(1, (2, 2)).backbone()) == "fp32"

    def quantised(tape, value):
        kernel = nets.weights(tape, np.ones((4, 4), np.int8), "kernel")
        real = tape.op("DequantizeLinear", [kernel, nets.weights(tape, np.array(0.1, np.float32), "scale")])
        flat = tape.op("Reshape", [value, nets.weights(tape, np.array([-1, 4]), "shape")])
        return tape.op("MatMul", [flat, real])

    assert graph_precision(nets.classifier(quantised, 1, (2, 2), 4).backbone()) == "int8"


@pytest.mark.parametrize(
    ("layer", "types"),
    [
        ({"Inputs": [{"Format/Datatype": "Row major linear FP32"}]}, ("fp32",)),
        ({"Outputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}]}, ("int8",)),
        ({"Inputs": [{"Format": "Row major linear FP16 format (kLINEAR)", "DataType": "Half"}]}, ("fp16",)),
        ({"Inputs": [{"Datatype": "Float"}], "Outputs": [{"DataType": "BFloat16"}]}, ("fp32", "bf16")),
        ({"Weights": {"Type": "Int8", "Count": 9}, "Bias": {"Type": "Float"}}, ("fp32", "int8")),
        ({"TacticName": "sm90_int8_fp16", "Inputs": [{"Name": "half", "DataType": "Int64"}]}, ()),
        ({"Inputs": [{"Format/Datatype": "N/A due to dynamic shapes"}]}, ()),
    ],
)
def test_types_are_read_as_either_major_writes_them(layer, types):
    assert layer_types(json.dumps({"Layers": [{"Name": "x", **layer}]})) == {"x": types}


@pytest.mark.parametrize("answer", ["", "[]", "null", '{"layers": []}'])
def test_an_inspector_that_describes_nothing_is_an_error(answer):
    with pytest.raises(EngineError, match="no description"):
        layer_types(answer)


def test_strong_typing_has_to_be_asked_for_in_10_only():
    assert network_flags(FakeTensorRt(TEN).module) == 2
    assert network_flags(FakeTensorRt(ELEVEN).module) == 0


def test_the_samples_of_a_scorer_graph_have_its_types():
    feeds = sample_feeds(replace(NET.contract, step_map_dtype="uint8"), 5, 0)
    assert {name: (value.shape, value.dtype.name) for name, value in feeds.items()} == {
        "start": ((1, 3, 9, 7), "float32"),
        "end": ((1, 3, 9, 7), "float32"),
        "step_map": ((1, 1, 9, 7), "uint8"),
        "steps": ((1, 5), "int32"),
    }


# ------------------------------------------------------------------------------------------------ ReCalX


@pytest.fixture(scope="module")
def recalx_graphs(tmp_path_factory):
    """A fused graph that takes the perturbed fraction, and its scorer graph."""
    folder = tmp_path_factory.mktemp("recalx")
    three = {"levels": 3, "inverse_temperatures": [1.5, 0.5, 0.1], "at_bound": [None] * 3, "samples": [9] * 3}
    calibrator = ReCalX.from_parameters({**three, "baseline": "mean", "mask_law": None})
    export_classifier(NET, folder / "net.onnx", calibrator=calibrator, scorer=True)
    return folder / "net.onnx", folder / "net.scorer.onnx"


def test_engines_of_recalx_graphs_take_the_perturbed_fraction(trt11, recalx_graphs, tmp_path):
    report = export(recalx_graphs[0], tmp_path)
    assert trt11.called("set_shape")[1] == ("set_shape", "perturbed_fraction", (1,), (2,), (4,))
    assert report.record.verify["max_abs_dprob"] < 1e-5
    export(recalx_graphs[1], tmp_path, force=True)
    assert trt11.called("set_shape")[-1] == ("set_shape", "perturbed_fraction", (1, 1), (1, 2), (1, 4))


def test_an_engine_that_scores_is_fed_zeros_for_the_fraction(trt11, recalx_graphs, tmp_path):
    export(recalx_graphs[0], tmp_path)
    config = EngineConfig(engine="tensorrt", device="cuda", batch_size=3)
    engine = TensorRtEngine.open(tmp_path / "out" / "net.engine", config, HostStream())
    engine.resize(2)
    assert trt11.called("set_input_shape")[-1] == ("set_input_shape", "perturbed_fraction", (2,))
    images = sample_images(NET.contract, 2, 0)
    engine.device.upload(images, engine.input(0))
    logits = engine.device.download(engine.run(0), (2, NET.contract.classes), np.float32)
    expected = open_file(recalx_graphs[0]).run({"pixels": images, "perturbed_fraction": np.ones(2, np.float32)})
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-5)
