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
    [("onnxruntime", "bf16", "openvino has"), ("torch", "bf16", "openvino has"), ("openvino", "int8", "no engine has")],
)
def test_a_precision_the_engine_lacks_is_an_error_that_says_who_has_it(only, engine, precision, others):
    only("onnxruntime", "openvino", "torch")
    with pytest.raises(UsageError, match=f"{engine} has no {precision} here; {others}"):
        choose_engine(engine, precision=precision, has_module=True)


def test_unknown_engines_and_devices_are_errors(only):
    only("onnxruntime", "openvino", "torch")
    with pytest.raises(UsageError, match="no engine 'tpu'; known: auto, onnxruntime, openvino, torch"):
        choose_engine("tpu")
    with pytest.raises(UsageError, match="device 'cuda' is not supported"):
        choose_engine("onnxruntime", device="cuda")


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
