"""The MODEL grammar: what is understood, what is refused, and how soon."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.models import load_classifier
from c2i_fast.types import Preprocessing
from tests.models import graphs

ROOT = Path(__file__).resolve().parents[2]
EIGHT = Preprocessing(size=(8, 8))


@pytest.fixture
def module_file(tmp_path, monkeypatch):
    """A user's own module in the current directory; gone from Python's memory afterwards."""
    pytest.importorskip("torch", reason="torch is not installed")
    name = f"users_nets_{tmp_path.name}"
    lines = [
        "import torch",
        "def net():",
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5))",
        "def broken():",
        "    raise KeyError('no such checkpoint')",
        "def text():",
        "    return 'a network'",
        "constant = 3",
    ]
    (tmp_path / f"{name}.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "model", ["resnet18", "net.pt", "net.onnx.gz", "", ":", "a:b:c", "keras:resnet50 ", "a.b:c d", "1a:b"]
)
def test_what_is_no_model_is_refused_with_the_grammar(model):
    with pytest.raises(InputError, match=r"expected torchvision:NAME, timm:NAME, PATH\.onnx, PATH\.pt2 or package"):
        load_classifier(model)


@pytest.mark.parametrize("model", [3, None, np.zeros(3)])
def test_things_that_are_no_model_are_refused(model):
    with pytest.raises(InputError, match=f"a {type(model).__name__} is no model"):
        load_classifier(model)


def test_a_path_a_text_bytes_and_a_graph_mean_the_same(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(graphs.simple().bytes())
    rows = graphs.images(2)
    classifiers = [
        load_classifier(m) for m in (path, str(path), path.read_bytes(), ir.from_proto(graphs.simple().model()))
    ]
    assert [classifier.name for classifier in classifiers] == [str(path)] * 2 + ["the ONNX graph"] * 2
    answers = [graphs.answers(classifier.backbone(), rows) for classifier in classifiers]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_a_name_without_weights_is_refused_at_once_and_without_torch(name):
    code = f"""
import sys
from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
try:
    load_classifier({name!r})
except InputError as error:
    assert "torch" not in sys.modules
    print(error)
"""
    began = time.perf_counter()
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - began < 5
    assert all(option in said for option in ("--weights FILE", "--download", "--random-weights"))


def test_two_sources_of_weights_are_refused():
    with pytest.raises(InputError, match="give exactly one of"):
        load_classifier("torchvision:resnet18", random_weights=True, download=True)


@pytest.mark.parametrize(
    ("model", "option", "value"),
    [
        ("net.onnx", "weights", Path("w.pt")),
        ("net.onnx", "random_weights", True),
        ("net.onnx", "download", True),
        ("net.pt2", "weights", Path("w.pt")),
        ("net.pt2", "output", "logits"),
        ("torchvision:resnet18", "output", "logits"),
        ("nets:net", "download", True),
        ("nets:net", "random_weights", True),
        (b"", "random_weights", True),
    ],
)
def test_options_that_say_nothing_about_a_model_are_refused(model, option, value):
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} says nothing about"):
        load_classifier(model, **{option: value})


def test_importing_the_room_imports_no_framework():
    heavy = {"torch", "onnx", "onnx_ir", "onnxruntime", "torchvision", "timm", "safetensors"}
    code = f"import sys, c2i_fast.models; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_callable_in_the_current_directory_is_found_and_seeded(module_file):
    name = f"{module_file}:net"
    path_before = list(sys.path)
    first, again, other = (load_classifier(name, preprocessing=EIGHT, seed=seed) for seed in (1, 1, 2))
    assert (first.name, first.contract.classes) == (name, 5)
    assert first.contract.source_sha256 == again.contract.source_sha256 != other.contract.source_sha256
    assert sys.path == path_before


def test_a_callable_leaves_the_global_random_state_alone(module_file):
    import torch

    before = torch.random.get_rng_state()
    load_classifier(f"{module_file}:net", preprocessing=EIGHT)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_go_into_a_callables_module(module_file, tmp_path):
    import torch

    torch.save({"1.weight": torch.zeros(5, 192), "1.bias": torch.arange(5.0)}, tmp_path / "w.pt")
    classifier = load_classifier(f"{module_file}:net", preprocessing=EIGHT, weights=tmp_path / "w.pt")
    assert classifier.module(torch.rand(1, 3, 8, 8)).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "could not be called: KeyError: 'no such checkpoint'"),
        ("missing", "could not be called: AttributeError"),
        ("constant", "could not be called: TypeError"),
        ("text", r"must return a torch\.nn\.Module, got str"),
    ],
)
def test_what_goes_wrong_in_the_users_code_is_one_line_with_its_cause(module_file, function, message):
    with pytest.raises(InputError, match=message) as caught:
        load_classifier(f"{module_file}:{function}", preprocessing=EIGHT)
    assert (caught.value.__cause__ is None) == (function == "text")


def test_a_module_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="No module named 'nowhere_to_be_found'"):
        load_classifier("nowhere_to_be_found:net")
