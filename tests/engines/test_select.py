"""Which engine, and why: a rule that can be read, and never a silent fallback."""

from __future__ import annotations

import pytest

from c2i_fast.engines import select as module
from c2i_fast.engines.select import choose_engine, default_batch, usable_cores
from c2i_fast.errors import InputError, MissingDependencyError, UsageError


@pytest.fixture
def only(monkeypatch):
    """Pretends that only these engines are installed."""

    def pretend(*engines: str) -> None:
        monkeypatch.setattr(module, "installed", lambda engine: engine in engines)

    return pretend


@pytest.mark.parametrize(
    ("there", "precision", "has_module", "expected"),
    [
        (("onnxruntime", "openvino", "torch"), "fp32", True, "openvino"),
        (("onnxruntime", "torch"), "fp32", True, "onnxruntime"),
        (("openvino", "torch"), "fp32", True, "openvino"),
        (("torch",), "fp32", True, "torch"),
        (("onnxruntime", "openvino"), "bf16", False, "openvino"),
        (("openvino",), "bf16", True, "openvino"),
        (("onnxruntime", "openvino", "torch"), "fp16", True, "onnxruntime"),
        (("onnxruntime", "openvino", "torch"), "int8", True, "openvino"),
        (("onnxruntime", "torch"), "int8", True, "onnxruntime"),
    ],
)
def test_auto_is_a_rule(only, there, precision, has_module, expected):
    only(*there)
    choice = choose_engine(precision=precision, has_module=has_module)
    assert choice.config.engine == expected
    assert choice.config.precision == precision
    assert choice.reason != "asked for by name"


@pytest.mark.parametrize(
    ("there", "precision", "has_module", "missing"),
    [
        ((), "fp32", True, "onnxruntime"),
        (("torch",), "fp32", False, "onnxruntime"),
        (("onnxruntime", "torch"), "bf16", True, "openvino"),
        (("openvino", "torch"), "fp16", True, "onnxruntime"),
        (("torch",), "int8", True, "onnxruntime"),
    ],
)
def test_auto_names_what_to_install_where_nothing_fits(only, there, precision, has_module, missing):
    only(*there)
    with pytest.raises(MissingDependencyError, match=rf"{missing} is not installed; .*\[cpu\]"):
        choose_engine(precision=precision, has_module=has_module)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_an_engine_asked_for_by_name_is_taken_or_its_absence_is_an_error(only, engine):
    only(engine)
    choice = choose_engine(engine, has_module=True)
    assert (choice.config.engine, choice.reason) == (engine, "asked for by name")
    only(*{"onnxruntime", "openvino", "torch"} - {engine})
    with pytest.raises(MissingDependencyError, match=engine):
        choose_engine(engine, has_module=True)


@pytest.mark.parametrize(
    ("engine", "precision", "others"),
    [
        ("onnxruntime", "bf16", "openvino has, and onnxruntime knows fp32, fp16, int8"),
        ("torch", "bf16", "openvino has, and torch knows fp32"),
        ("openvino", "fp16", "onnxruntime has, and openvino knows fp32, bf16, int8"),
        ("torch", "int8", "onnxruntime and openvino have, and torch knows fp32"),
    ],
)
def test_a_precision_the_engine_lacks_is_an_error_that_says_who_has_it(only, engine, precision, others):
    only("onnxruntime", "openvino", "torch")
    with pytest.raises(UsageError, match=f"{engine} has no {precision} here; {others}"):
        choose_engine(engine, precision=precision, has_module=True)


def test_a_precision_that_does_not_exist_is_an_error_that_lists_those_that_do(only):
    only("onnxruntime", "openvino", "torch")
    with pytest.raises(UsageError, match="no precision 'fp8'; known: fp32, bf16, fp16, int8"):
        choose_engine(precision="fp8")


def test_unknown_engines_and_devices_are_errors(only):
    only("onnxruntime", "openvino", "torch")
    with pytest.raises(UsageError, match="no engine 'tpu' for the device cpu; known: auto, onnxruntime, openvino"):
        choose_engine("tpu")
    with pytest.raises(UsageError, match="no engine 'openvino' for the device cuda; known: auto, onnxruntime, tens"):
        choose_engine("openvino", device="cuda")
    with pytest.raises(UsageError, match="device 'tpu' is not supported; known: auto, cpu, cuda"):
        choose_engine("onnxruntime", device="tpu")


@pytest.mark.parametrize(
    ("precision", "has_module", "expected"),
    [
        ("fp32", True, "torch"),
        ("bf16", True, "torch"),
        ("int8", True, "tensorrt"),
        ("fp32", False, "onnxruntime"),
        ("fp16", False, "onnxruntime"),
    ],
)
def test_on_a_gpu_auto_is_another_rule(only, precision, has_module, expected):
    only("onnxruntime", "openvino", "torch", "tensorrt")
    config = choose_engine(precision=precision, device="cuda", has_module=has_module).config
    assert (config.engine, config.device, config.batch_size) == (expected, "cuda", 256)


def test_a_gpu_is_only_taken_when_asked_for(only):
    only("onnxruntime", "openvino", "torch", "tensorrt")
    assert choose_engine(device="auto", has_module=True).config.device == "cpu"


def test_on_a_gpu_what_is_missing_is_named_with_its_extra(only):
    only()
    with pytest.raises(MissingDependencyError, match=r"c2i-fast\[gpu\]"):
        choose_engine(device="cuda")
    with pytest.raises(MissingDependencyError, match=r"c2i-fast\[tensorrt\]"):
        choose_engine("tensorrt", device="cuda")
    with pytest.raises(UsageError, match="bf16 on a GPU is torch's"):
        choose_engine(device="cuda", precision="bf16")


def test_torch_does_not_run_onnx_files(only):
    only("torch")
    with pytest.raises(InputError, match="torch engine runs torch models"):
        choose_engine("torch", has_module=False)


def test_threads_and_batch_are_what_is_given_and_else_written_out(only):
    only("onnxruntime")
    given = choose_engine(threads=3, batch_size=7).config
    assert (given.threads, given.batch_size, given.device) == (3, 7, "cpu")
    left = choose_engine(passes_elements=3 * 224 * 224).config
    assert (left.threads, left.batch_size) == (usable_cores(), 4)
    assert left.threads >= 1


@pytest.mark.parametrize(
    ("elements", "weights", "batch"),
    [
        (0, 0, 4),
        (1, 0, 64),
        (3 * 64 * 64, 2**30, 64),
        (3 * 64 * 64 + 1, 0, 4),
        (3 * 224 * 224, 2**26, 4),
        (3 * 224 * 224, 2**26 + 1, 8),
    ],
)
def test_small_images_and_large_networks_get_larger_batches(elements, weights, batch):
    assert default_batch(elements, weights) == batch
