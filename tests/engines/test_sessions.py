"""What every engine promises: outputs by name, the same bits for the same shapes, errors in one line."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.engines import ENGINES
from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.export.open import GraphOpener
from c2i_fast.types import EngineConfig, Preprocessing
from tests import nets

NAMES = ("onnxruntime", "openvino", "torch")


def session(engine: str, classifier=None, kind: str = "fused", **config):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    classifier = classifier or nets.conv_net(torch=engine == "torch")
    return GraphOpener(classifier, EngineConfig(engine=engine, **{"threads": 1, **config}))(kind, "uint8")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 9, 7), np.float32)


@pytest.mark.parametrize("engine", NAMES)
def test_outputs_come_by_name_as_float32_and_are_the_callers_to_keep(engine):
    opened = session(engine)
    first = opened.run({"pixels": images(3)})
    assert list(first) == ["logits", "probabilities"]
    kept = {name: value.copy() for name, value in first.items()}
    opened.run({"pixels": images(3, seed=1)})
    for name, value in first.items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, kept[name], err_msg="a later run must not write into an earlier answer")


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_shapes_and_threads_give_the_same_bits(engine, threads):
    opened = session(engine, threads=threads)
    first = opened.run({"pixels": images(5)})["logits"]
    opened.run({"pixels": images(2)})
    np.testing.assert_array_equal(opened.run({"pixels": images(5)})["logits"], first)
    np.testing.assert_array_equal(session(engine, threads=threads).run({"pixels": images(5)})["logits"], first)


@pytest.mark.parametrize("engine", NAMES)
def test_probabilities_are_the_softmax_of_the_logits(engine):
    answers = session(engine).run({"pixels": images(4)})
    logits = answers["logits"].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize("engine", NAMES)
def test_read_only_and_strided_feeds_are_taken(engine):
    opened = session(engine)
    given = images(4)
    strided = np.repeat(given, 2, axis=3)[..., ::2]
    strided.flags.writeable = False
    np.testing.assert_array_equal(opened.run({"pixels": strided})["logits"], opened.run({"pixels": given})["logits"])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("feed", [{"pixels": np.zeros((2, 4, 9, 7), "f")}, {"images": np.zeros((2, 3, 9, 7), "f")}])
def test_a_refused_feed_is_an_engine_error_of_one_line(engine, feed):
    with pytest.raises(EngineError) as caught:
        session(engine).run(feed)
    assert "\n" not in str(caught.value)
    assert engine in str(caught.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_that_is_none_is_an_engine_error_of_one_line(engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    with pytest.raises(EngineError, match=engine) as caught:
        ENGINES[engine](b"no graph at all", EngineConfig(engine=engine))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_backbone_that_ends_in_an_identity_keeps_its_output_names(engine):
    """Compilers drop an Identity and merge the names on both its sides; `logits` must still be called so."""

    def body(tape, value):
        flat = tape.op("Flatten", [value])
        flat.name = "a_name_that_sorts_first"
        return tape.op("Identity", [flat])

    answers = session(engine, nets.classifier(body, 1, (2, 2), 4)).run({"pixels": np.ones((2, 1, 2, 2), "f")})
    assert list(answers) == ["logits", "probabilities"]
    np.testing.assert_array_equal(answers["logits"], np.ones((2, 4)))


@pytest.mark.parametrize("engine", NAMES)
def test_a_missing_engine_says_how_to_install_it(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, engine, None)
    monkeypatch.delitem(sys.modules, f"c2i_fast.engines.{engine}", raising=False)
    extra = "torch" if engine == "torch" else "cpu"
    with pytest.raises(MissingDependencyError, match=rf"{engine} is not installed.*c2i-fast\[{extra}\]"):
        __import__(f"c2i_fast.engines.{engine}")


# ------------------------------------------------------------------------------------------------ openvino


def test_openvino_compiles_once_for_a_set_of_shapes_and_forgets_the_oldest(monkeypatch):
    opened = session("openvino")
    from c2i_fast.engines.openvino import SHAPES_KEPT, OpenVinoSession

    compiled = []
    original = OpenVinoSession._compile
    monkeypatch.setattr(
        OpenVinoSession, "_compile", lambda self, shapes: compiled.append(shapes) or original(self, shapes)
    )
    for count in (1, 2, 1, 2, 1):
        opened.run({"pixels": images(count)})
    assert [shapes["pixels"][0] for shapes in compiled] == [1, 2]
    for count in range(3, 2 + SHAPES_KEPT):
        opened.run({"pixels": images(count)})
    opened.run({"pixels": images(1)})
    assert [shapes["pixels"][0] for shapes in compiled] == [1, 2, *range(3, 2 + SHAPES_KEPT), 1]


def test_openvino_computes_in_float32_unless_told_otherwise():
    """Left alone it takes bf16 on some CPUs: 2⁻⁹ of a logit would be lost."""
    logits = session("openvino").run({"pixels": images(8)})["logits"]
    reference = session("onnxruntime").run({"pixels": images(8)})["logits"]
    np.testing.assert_allclose(logits, reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def test_openvino_runs_bf16_by_name_and_no_fp16():
    coarse = session("openvino", precision="bf16").run({"pixels": images(8)})["logits"]
    fine = session("openvino").run({"pixels": images(8)})["logits"]
    assert coarse.dtype == np.float32
    assert np.abs(coarse - fine).max() < 0.05 * np.abs(fine).max()
    from c2i_fast.engines.openvino import OpenVinoSession

    with pytest.raises(EngineError, match="fp32, bf16 and int8 here, not fp16"):
        OpenVinoSession(b"", EngineConfig(engine="openvino", precision="fp16"))


# ------------------------------------------------------------------------------------------------ torch


def test_torch_refuses_what_it_does_not_do():
    for config in ({"precision": "bf16"}, {"device": "cuda"}):
        with pytest.raises(EngineError, match="torch runs fp32 on the cpu"):
            session("torch", **config)


def test_torch_uses_the_threads_of_its_config():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    before = torch.get_num_threads()
    try:
        session("torch", threads=2).run({"pixels": images(1)})
        assert torch.get_num_threads() == 2
        session("torch", threads=1).run({"pixels": images(1)})
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_torch_twin_of_a_graph_has_the_same_head(activation, outputs):
    """Dropped classes, the logarithm of probabilities, a calibrator and either activation."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from c2i_fast.calibration.temperature import Temperature
    from c2i_fast.engines.torch import TorchSession, torch_graph
    from c2i_fast.export.graphs import fused_graph

    preprocessing = Preprocessing(drop_class=1, outputs=outputs)
    classifier = nets.identity_net(1, (2, 3), preprocessing=preprocessing, activation=activation, torch=True)
    calibrator = Temperature.from_parameters({"temperature": 1.6})
    given = np.random.default_rng(3).random((4, 1, 2, 3), np.float32)
    given[0, 0, 1, 1] = 0
    graph = torch_graph(classifier.module, classifier.contract, "fused", calibrator)
    found = TorchSession(graph, EngineConfig(engine="torch")).run({"pixels": given})
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import onnx_ir as ir

    proto = ir.to_proto(fused_graph(classifier.backbone(), classifier.contract, calibrator))
    expected = ort.InferenceSession(proto.SerializeToString()).run(["logits", "probabilities"], {"pixels": given})
    for name, value in zip(("logits", "probabilities"), expected, strict=True):
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
    assert not torch.is_inference_mode_enabled()


def test_onnxruntime_names_its_version_where_it_cannot_open_a_graph(monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    import c2i_fast.engines.onnxruntime as module

    fake = SimpleNamespace(
        __version__="9.9",
        SessionOptions=SimpleNamespace,
        InferenceSession=lambda *_, **__: (_ for _ in ()).throw(RuntimeError("bad\nmore")),
    )
    monkeypatch.setattr(module, "ort", fake)
    with pytest.raises(EngineError, match=r"onnxruntime 9\.9 cannot open the graph: bad$"):
        module.OnnxRuntimeSession(b"", EngineConfig(engine="onnxruntime"))
