"""The documentation tells what there is: every command, every option, every example."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer

import c2i_fast
from c2i_fast.cli.app import app
from tests.cli.things import ROOT, done

GROUP = typer.main.get_command(app)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "export" / "README.md", ROOT / "benchmarks" / "README.md"]
PARAMETERS = [(name, p) for name, command in GROUP.commands.items() for p in command.params]
ELSEWHERE = {"--strict"}  # other programs' options that the pages speak of


def options(command) -> set[str]:
    return {"--help"} | {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")}


def test_the_reference_is_what_the_commands_say():
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    make_cli = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_cli)
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == make_cli.reference(), "run: python docs/make_cli.py > docs/cli.md"


@pytest.mark.parametrize("command", GROUP.commands)
def test_the_reference_names_every_option_of_every_command(command):
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.partition(f"## {command}\n")[2].partition("\n## ")[0]
    for option in options(GROUP.commands[command]) - {"--help"}:
        assert re.search(rf"`(--[a-z-]+/)?{option}[ /`]", section), option


@pytest.mark.parametrize(("command", "parameter"), PARAMETERS, ids=[f"{c} {p.opts[0]}" for c, p in PARAMETERS])
def test_every_option_says_in_a_sentence_what_it_does(command, parameter):
    assert parameter.help
    assert parameter.help.endswith(".")
    assert len(parameter.help) >= 10


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_command_is_used_in_the_readme_or_a_how_to(command):
    pages = "".join(p.read_text(encoding="utf-8") for p in PAGES if p.name != "cli.md")
    assert re.search(rf"c2i-fast {command}\b|make {command}\b", pages)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    lines = "".join(blocks(page, "(?:sh|bash|console)?")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip().startswith("c2i-fast ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_use_commands_and_options_that_there_are(page):
    found = commands(page)
    assert found or page.name not in ("README.md", "how-to-score.md")
    for _, name, *words in found:
        assert name in GROUP.commands, name
        known = options(GROUP.commands[name])
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, (name, words)
        required = {p.opts[0] for p in GROUP.commands[name].params if p.required and p.opts[0].startswith("--")}
        assert required <= set(words), (name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_option_is_spoken_of_that_there_is_not(page):
    everything = {option for command in GROUP.commands.values() for option in options(command)} | {"--version"}
    spoken = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", page.read_text(encoding="utf-8")))
    assert spoken <= everything | ELSEWHERE


@pytest.mark.parametrize("page", LINKED, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", LINKED, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_python_examples_are_python_and_use_names_that_there_are(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
        for name in re.findall(r"\bc2i_fast\.([A-Za-z_]\w*)", block):
            assert hasattr(c2i_fast, name), name


MODULES = [m.name for m in pkgutil.walk_packages(c2i_fast.__path__, "c2i_fast.") if not m.name.endswith("__main__")]
SOURCES = {name: Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8") for name in MODULES}
EXAMPLES = [name for name, text in SOURCES.items() if ">>> " in text and "doctest: +SKIP" not in text]


@pytest.fixture(scope="module")
def example_place(tmp_path_factory):
    """The files that examples speak of: a network under several names."""
    torch = pytest.importorskip("torch")
    import onnx

    from tests.cli.things import colour_net
    from tests.models.graphs import Graph

    place = tmp_path_factory.mktemp("examples")
    onnx.save(colour_net(10, space=(32, 32)), place / "resnet20.onnx")
    calibrator = {"c2i_fast": {"calibrator": 1}, "method": "temperature", "classes": 10, "meta": {}}
    calibrator["parameters"] = {"temperature": 2.0, "at_bound": None}
    (place / "cal.json").write_text(json.dumps(calibrator))
    done(
        "export", place / "resnet20.onnx", "--calibrator", place / "cal.json", "--out", place / "fused.onnx", "--quiet"
    )
    torch.manual_seed(0)
    from torch import nn

    layers = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    net = nn.Sequential(*layers).eval()
    batch = {0: torch.export.Dim("N")}
    program = torch.export.export(net, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=(batch,))
    torch.export.save(program, place / "net.pt2")
    from safetensors.torch import save_file

    save_file(net.state_dict(), place / "resnet20.safetensors")
    from c2i_fast.models.onnx_files import read_onnx

    model, _ = read_onnx(Graph(13, (1, 3, 32, 32), name="input").classifier().bytes())
    images = np.random.default_rng(0).random((4, 3, 32, 32), np.float32)
    return place, {"np": np, "Path": Path, "net": net, "model": model, "images": images}


@pytest.mark.slow
@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_in_docstrings_are_true(module, example_place, monkeypatch):
    place, names = example_place
    if module in ("c2i_fast.models.named_models", "c2i_fast.models.source"):
        pytest.importorskip("torchvision")
    monkeypatch.chdir(place)
    loaded = importlib.import_module(module)
    extra = {} if module.startswith("c2i_fast.models") else {"np": np}
    if module.startswith("c2i_fast.models"):
        extra = {name: value for name, value in names.items() if not hasattr(loaded, name)}
        extra |= {n: getattr(importlib.import_module("c2i_fast.models.onnx_files"), n) for n in ("read_onnx",)}
        extra |= {"Preprocessing": c2i_fast.Preprocessing}
    result = doctest.testmod(loaded, extraglobs=extra)
    assert result.attempted
    assert not result.failed
    assert Path(os.getcwd()) == place
