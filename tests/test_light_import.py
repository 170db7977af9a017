"""What is imported when: the package imports NumPy alone, and the base dependencies suffice for all but the engines."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.things import ROOT, colour_net, done, pictures, write_maps

COMMANDS = ("demo", "calibrate", "export", "explain", "score", "rescore", "compare", "plan", "bench", "list")
HEAVY = ("scipy", "sklearn", "onnx", "onnx_ir", "pyarrow", "PIL", "torch", "onnxruntime", "openvino", "matplotlib")
ENGINES = ("torch", "onnxruntime", "openvino", "pyarrow", "sklearn")
OPTIONAL = (
    *("torch", "onnxruntime", "openvino", "captum", "pytorch_grad_cam", "timm", "torchvision"),
    *("matplotlib", "jinja2", "safetensors", "onnxscript", "cuda", "tensorrt"),
)
# Modules that are about an optional package say so when they are imported; all others must import without any.
ABOUT = {
    "c2i_fast.engines.onnxruntime": "cpu",
    "c2i_fast.engines.onnxruntime_providers": "gpu",
    "c2i_fast.engines.onnxruntime_scorer": "cpu",
    "c2i_fast.engines.openvino": "cpu",
    "c2i_fast.engines.torch": "torch",
    "c2i_fast.engines.torch_cuda": "torch",
    "c2i_fast.kernels.cuda": "cuda",
}
PACKAGES = {"torch_cuda": "torch", "cuda": "cuda-core"}
WITHOUT = f"""
import importlib.machinery, sys

class Without:
    '''The ordinary finder, in an environment where the optional packages are not installed.'''
    find_distributions = importlib.machinery.PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Without
"""


def python(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def answer(code: str, *arguments: object):
    """What the last line of its output says, as JSON."""
    finished = python(code, *arguments)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_importing_the_package_imports_numpy_and_nothing_heavier():
    there = answer("import c2i_fast, sys, json; print(json.dumps(sorted(sys.modules)))")
    assert "numpy" in there
    assert not {*HEAVY, "rich", "typer", "click", "jinja2"} & set(there)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_no_engine(command):
    there = answer(
        """
        import json, sys
        from c2i_fast.cli.app import main
        try:
            main([*filter(None, sys.argv[1:]), "--help"])
        except SystemExit as stop:
            assert not stop.code, stop.code
        print(json.dumps(sorted(sys.modules)))
        """,
        command,
    )
    assert not {*ENGINES, "torchvision", "timm", "matplotlib"} & set(there)


def test_the_commands_are_these():
    from c2i_fast.cli.app import app

    assert [c.name or c.callback.__name__ for c in app.registered_commands] == list(COMMANDS)


def test_help_answers_at_once():
    def seconds() -> float:
        clock = time.perf_counter()
        command = [sys.executable, "-m", "c2i_fast", "--help"]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        assert "score" in finished.stdout
        return time.perf_counter() - clock

    # About 0.25 s on an idle machine; the bound leaves room for a busy one.
    assert min(seconds() for _ in range(4)) < 1.5


@pytest.mark.slow
def test_every_module_imports_with_the_base_dependencies_alone():
    failed = answer(
        WITHOUT
        + """
import importlib, json, pkgutil
import c2i_fast
from c2i_fast.errors import MissingDependencyError
failed = {}
for module in pkgutil.walk_packages(c2i_fast.__path__, "c2i_fast.", onerror=lambda name: None):
    if module.name != "c2i_fast.__main__":
        try:
            importlib.import_module(module.name)
        except MissingDependencyError as error:
            failed[module.name] = str(error)
print(json.dumps(failed))
"""
    )
    assert set(failed) == set(ABOUT)
    for module, extra in ABOUT.items():
        last = module.rpartition(".")[2]
        package = PACKAGES.get(last, "onnxruntime" if last.startswith("onnxruntime") else last)
        assert failed[module] == f"{package} is not installed; install it with: pip install 'c2i-fast[{extra}]'"


RUN = (
    WITHOUT
    + """
import contextlib, io, json
from c2i_fast.cli.app import main
found = []
for line in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(line)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    images, labels = pictures(8)
    np.savez(place / "val.npz", images=images, labels=labels)
    rng = np.random.default_rng(0)
    np.savez(place / "logits.npz", logits=rng.normal(size=(30, 3)), labels=np.arange(30) % 3)
    write_maps(place / "noise.npz", [str(number) for number in range(8)])
    onnx.save(colour_net(), place / "net.onnx")
    options = ("--images", place / "val.npz", "--maps", place / "noise.npz", "--keep-logits", "--quiet")
    done("score", place / "net.onnx", *options, "--out", place / "run")
    (place / "p.pt2").write_bytes(b"x")
    return place


def run_without(files: Path, *lines: str) -> list[tuple[int, str, str]]:
    split = [[part.replace("@", f"{files}/") for part in line.split()] for line in lines]
    return answer(RUN, json.dumps(split))


@pytest.mark.slow
def test_every_help_works_with_the_base_dependencies_alone(files):
    for command, (code, out, _) in zip(COMMANDS, run_without(files, *(f"{c} --help" for c in COMMANDS)), strict=True):
        assert code == 0, command
        assert f"Usage: c2i-fast {command}" in out


@pytest.mark.slow
def test_what_needs_no_engine_works_with_the_base_dependencies_alone(files):
    lines = (
        "calibrate --logits @logits.npz --out @cal.json",
        "rescore @run --calibrator @cal.json",
        "explain @net.onnx --images @val.npz --method center --method sobel --out @maps",
        "list engines",
        "list metrics",
        "list methods",
        "list calibrators",
        "list recipes",
        "--version",
    )
    for line, (code, _, err) in zip(lines, run_without(files, *lines), strict=True):
        assert code == 0, (line, err)


@pytest.mark.slow
def test_what_is_missing_is_said_with_its_install_line(files):
    wanted = {
        "score @net.onnx --images @val.npz --maps @noise.npz --out @new": "onnxruntime cpu",
        "score @net.onnx --images @val.npz --maps @noise.npz --engine openvino --out @new": "openvino cpu",
        "score @net.onnx --images @val.npz --maps @noise.npz --precision bf16 --out @new": "openvino cpu",
        "score @net.onnx --images @val.npz --maps @noise.npz --precision fp16 --out @new": "onnxruntime cpu",
        "export @net.onnx --precision fp16 --out @new.onnx": "onnxruntime cpu",
        "score @net.onnx --images @val.npz --maps @noise.npz --engine torch --out @new": "torch torch",
        "explain @net.onnx --images @val.npz --method rise --out @new": "onnxruntime cpu",
        "calibrate @net.onnx --images @val.npz --out @new.json": "onnxruntime cpu",
        "export @net.onnx --out @new.onnx": "onnxruntime cpu",
        "bench @net.onnx": "onnxruntime cpu",
        "export torchvision:resnet18 --random-weights --out @new.onnx": "torch torch",
        "export timm:resnet18 --random-weights --out @new.onnx": "torch torch",
        "export json:loads --size 8 --out @new.onnx": "torch torch",
        "export @p.pt2 --out @new.onnx": "torch torch",
        "demo --quick --out @new": "torch cpu,torch,explain,report",
    }
    for (line, said), (code, out, err) in zip(wanted.items(), run_without(files, *wanted), strict=True):
        package, extra = said.split()
        line_of = f"c2i-fast: {package} is not installed; install it with: pip install 'c2i-fast[{extra}]'"
        assert (code, out, err.splitlines()[-1:]) == (1, "", [line_of]), line
        assert not list(files.glob("new*")), line


def test_methods_name_their_extra(monkeypatch):
    """With torch but without the packages around it."""
    pytest.importorskip("torch")
    from c2i_fast.attribution import METHODS
    from c2i_fast.attribution.base import Context
    from c2i_fast.errors import MissingDependencyError

    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
    for method, package in (("gradient", "captum"), ("gradcam", "pytorch_grad_cam")):
        for name in [n for n in sys.modules if n.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'c2i-fast\[explain\]'"):
            METHODS[method](Context(module=module))
