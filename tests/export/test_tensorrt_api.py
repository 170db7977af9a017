"""Every name of TensorRT's that the package touches exists, in both majors.

Asked of the real Python bindings. They load where their three libraries are found, and empty ones will do: nothing is
run. `python tests/fetch_tensorrt_bindings.py` fetches them; C2I_FAST_TENSORRT_BINDINGS names another folder.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tensorrt_fake
from tests.fetch_tensorrt_bindings import FOLDER, VERSIONS

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "c2i_fast").glob("*/tensorrt*.py"))
# Names that a branch on the major version keeps to some of them.
ONLY_IN = {"NetworkDefinitionCreationFlag.STRONGLY_TYPED": (10,)}
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
ENTRY_POINTS = (
    *(f"createInfer{what}_INTERNAL" for what in ("Builder", "Runtime", "Refitter")),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getPluginRegistry", "getBuilderPluginRegistry", "initLibNvInferPlugins"),
)
ASK = """
import json, sys
import tensorrt_bindings as trt
sys.modules["tensorrt"] = trt
chains, members = json.load(sys.stdin)

def lacks(start, names):
    for name in names:
        if not hasattr(start, name):
            return True
        start = getattr(start, name)
    return False

from c2i_fast.engines.tensorrt import error_log, import_tensorrt, started, version_of
from c2i_fast.errors import EngineError
from c2i_fast.export.tensorrt_build import network_flags
log = error_log(import_tensorrt())
log.log(trt.ILogger.Severity.ERROR, "kept")
log.log(trt.ILogger.Severity.WARNING, "dropped")
try:
    started(trt.Builder, log)
    refused = ""
except EngineError as error:
    refused = str(error)
json.dump({
    "missing": [c for c in chains if lacks(trt, c.split("."))] + [m for m in members if lacks(trt, m)],
    "log": refused, "version": list(version_of(trt)), "flags": network_flags(trt),
}, sys.stdout)
"""


def chains(source: str) -> set[str]:
    """Returns every X.Y of `trt.X.Y` and of `self._trt.X.Y` in a source, the longest of each."""
    found: set[str] = set()

    def walk(node: ast.AST, names: tuple[str, ...] = ()) -> None:
        if isinstance(node, ast.Attribute):
            if node.attr == "_trt":
                found.add(".".join(names))
            walk(node.value, (node.attr, *names))
            return
        if isinstance(node, ast.Name) and node.id == "trt" and names:
            found.add(".".join(names))
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(source))
    return found - {"", "__version__"}


def test_the_chains_of_a_source_are_found():
    source = "trt.A.B\nself._trt.C\nself._trt = trt = 1\ndef f(trt):\n    return g(trt, trt.D(trt.E.F))"
    assert chains(source) == {"A.B", "C", "D", "E.F"}


def test_the_sources_touch_tensorrt():
    everything = {chain for path in SOURCES for chain in chains(path.read_text())}
    assert {"BuilderFlag.TF32", "LayerInformationFormat.JSON", "OnnxParser", "Runtime", "nptype"} <= everything
    assert set(ONLY_IN) <= everything
    assert not any("FP16" in chain or "INT8" in chain for chain in everything), "precision lives in the graph"


@pytest.fixture(scope="module", params=VERSIONS)
def answer(request, tmp_path_factory):
    """What the bindings of one version say, in a process of their own."""
    version = request.param
    bindings = Path(os.environ.get("C2I_FAST_TENSORRT_BINDINGS", FOLDER)) / version
    if not bindings.is_dir():
        pytest.skip(f"no bindings in {bindings}; python tests/fetch_tensorrt_bindings.py fetches them")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("making empty libraries takes g++")
    libraries = empty_libraries(compiler, version.partition(".")[0], tmp_path_factory.mktemp("libraries"))
    major = int(version.partition(".")[0])
    asked = {chain for path in SOURCES for chain in chains(path.read_text())}
    asked = [chain for chain in sorted(asked) if major in ONLY_IN.get(chain, (10, 11))]
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([asked, tensorrt_fake.members()]),
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(libraries),
            "PYTHONPATH": os.pathsep.join([str(bindings), str(ROOT)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return major, json.loads(done.stdout)


def empty_libraries(compiler: str, major: str, folder: Path) -> Path:
    """Makes libraries with the entry points that the bindings are linked against, each of which returns null."""
    source = folder / "empty.cpp"
    source.write_text("\n".join(f'extern "C" void* {name}() {{ return nullptr; }}' for name in ENTRY_POINTS))
    for library in LIBRARIES:
        name = f"lib{library}.so.{major}"
        command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True)
    return folder


def test_every_name_exists(answer):
    assert answer[1]["missing"] == []


def test_our_logger_is_one_and_a_builder_that_is_null_is_an_error_with_its_words(answer):
    assert "TensorRT does not start (is an NVIDIA driver installed?): kept" in answer[1]["log"]
    assert "dropped" not in answer[1]["log"]


def test_strong_typing_is_asked_for_in_10_and_the_version_is_read(answer):
    major, said = answer
    assert said["version"][0] == major
    assert said["flags"] == {10: 2, 11: 0}[major]


def test_the_empty_fake_has_nothing_that_is_not_looked_up():
    assert ("IExecutionContext", "execute_async_v3") in tensorrt_fake.members()
    assert ("EngineInspector", "execution_context") in tensorrt_fake.members()
    assert len(tensorrt_fake.members()) >= 30
