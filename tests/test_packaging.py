"""What is installed: the wheel holds the package and its data, and nothing that could shadow another project."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("c2i_fast", "kernels", "export", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "constraints.txt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that a build folder never lies in the checkout."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        path, target = ROOT / name, copy / name
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(place)
    return place


def installed(unpacked: Path, place: Path, code: str) -> str:
    """What Python says with the wheel on its path and the checkout nowhere."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_the_only_package_is_c2i_fast(wheel, unpacked):
    assert sorted(path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")) == ["c2i_fast"]
    assert wheel.name.endswith("-py3-none-any.whl")


@pytest.mark.slow
def test_it_holds_the_data_and_no_tests(unpacked):
    package = unpacked / "c2i_fast"
    for name in ("py.typed", "_export/README.md", "_kernels/README.md", "calibration/temperature.py"):
        assert (package / name).is_file(), name
    shipped = sorted(path.name for path in (package / "_export" / "recipes").iterdir())
    assert shipped == sorted(path.name for path in (ROOT / "export" / "recipes").glob("*.toml"))
    assert len(shipped) >= 4
    names = [path.name for path in unpacked.rglob("*")]
    assert not [name for name in names if name.startswith("test_") or name in ("tests", "conftest.py", "__pycache__")]
    modules = {path.relative_to(ROOT) for path in (ROOT / "c2i_fast").rglob("*.py")}
    assert modules == {path.relative_to(unpacked) for path in unpacked.rglob("*.py")}


@pytest.mark.slow
def test_the_recipes_are_found_where_no_checkout_is_around(unpacked, tmp_path):
    (tmp_path / "export").mkdir()  # another project's folder in the current directory
    code = (
        "import json; from c2i_fast.resources import resource; from c2i_fast.models.preprocess import find_recipe; "
        "print(json.dumps([str(resource('export')), str(resource('kernels')), str(find_recipe('caffe-bgr'))]))"
    )
    export, kernels, recipe = map(Path, json.loads(installed(unpacked, tmp_path, code)))
    assert export == unpacked / "c2i_fast" / "_export"
    assert kernels == unpacked / "c2i_fast" / "_kernels"
    assert recipe == export / "recipes" / "caffe-bgr.toml"
    assert kernels.is_dir()


@pytest.mark.slow
def test_the_installed_command_runs(unpacked, tmp_path):
    said = installed(unpacked, tmp_path, "from c2i_fast.cli.app import main; main(['list', 'recipes', '--json'])")
    assert "torchvision-imagenet" in {entry["name"] for entry in json.loads(said)}
    (entry_points,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "c2i-fast = c2i_fast.cli.app:main" in entry_points.read_text()


@pytest.mark.slow
def test_the_metadata_is_the_projects(unpacked):
    (path,) = unpacked.glob("*.dist-info/METADATA")
    metadata = email.message_from_string(path.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (metadata["Name"], metadata["Version"]) == ("c2i-fast", project["version"])
    assert metadata["License-Expression"] == "Apache-2.0"
    base = [line.partition(">=")[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(base) == sorted(d.partition(">=")[0] for d in project["dependencies"])
    assert {"cpu", "gpu", "cuda", "tensorrt", "torch", "explain", "foreign", "models", "report", "test", "dev"} == set(
        metadata.get_all("Provides-Extra")
    )
    assert (next(unpacked.glob("*.dist-info")) / "licenses" / "LICENSE").is_file()


def test_the_version_is_the_same_everywhere():
    import c2i_fast

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert c2i_fast.__version__ == project["version"]


def test_every_extra_that_an_error_names_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    raised = r"MissingDependencyError\(\s*[^,()]+,\s*\"([^\"]+)\""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "c2i_fast").rglob("*.py")]
    named = {extra for text in texts for found in re.findall(raised, text) for extra in found.split(",")}
    assert {"cpu", "torch"} <= named <= set(project["optional-dependencies"])


def test_every_base_dependency_is_declared_that_is_imported():
    """`import X` at the top of a module that imports with the base alone must be of a declared package."""
    import ast

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"scikit-learn": "sklearn", "onnx-ir": "onnx_ir", "pillow": "PIL"}
    base = {names.get(d.partition(">=")[0], d.partition(">=")[0]) for d in project["dependencies"]}
    about = {"onnxruntime", "openvino", "torch"}  # imported at the top of the one module that is about them
    found = set()
    for path in (ROOT / "c2i_fast").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            imported = node.names if isinstance(node, ast.Import) else []
            found |= {alias.name.partition(".")[0] for alias in imported}
            if isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.partition(".")[0])
    # protobuf is what onnx messages are made of, and onnx's own dependency.
    assert found - set(sys.stdlib_module_names) - {"c2i_fast", "google"} <= base | about


@pytest.mark.parametrize("folder", ["kernels", "export", "benchmarks"])
def test_a_data_folder_is_no_package(folder):
    assert (ROOT / folder).is_dir()
    assert list((ROOT / folder).rglob("__init__.py")) == []
