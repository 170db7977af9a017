"""`list`: every name there is, as a table or as JSON."""

from __future__ import annotations

import pytest

from c2i_fast.attribution import METHODS
from c2i_fast.calibration import CALIBRATORS
from c2i_fast.calibration.measures import MEASURES
from c2i_fast.cli.list import KINDS
from c2i_fast.engines import ENGINES
from c2i_fast.metrics import METRICS, PRESETS
from c2i_fast.perturb.baseline import BASELINES
from tests.cli.things import ROOT, done, run

REGISTRIES = {
    "metrics": METRICS,
    "presets": PRESETS,
    "methods": METHODS,
    "calibrators": CALIBRATORS,
    "measures": MEASURES,
    "baselines": BASELINES,
    "engines": ENGINES,
}


@pytest.mark.parametrize("what", KINDS)
def test_it_lists_what_is_registered_each_with_a_line(what):
    content = done("list", what, "--json").json
    recipes = sorted(path.stem for path in (ROOT / "export" / "recipes").glob("*.toml"))
    names = [entry["name"] for entry in content if "--device" not in entry["name"]]  # engines, on a GPU as well
    assert names == (list(REGISTRIES[what]) if what in REGISTRIES else recipes)
    assert all(set(entry) == {"name", "summary"} and len(entry["summary"]) > 5 for entry in content)


@pytest.mark.parametrize("what", KINDS)
def test_the_table_holds_the_same(what):
    answer = done("list", what, "--quiet")
    assert answer.err == ""
    for entry in done("list", what, "--json").json:
        assert entry["name"] in answer.out


def test_engines_say_whether_they_are_installed(monkeypatch):
    monkeypatch.setattr("c2i_fast.engines.select.find_spec", lambda name: None if name == "openvino" else object())
    lines = {entry["name"]: entry["summary"] for entry in done("list", "engines", "--json").json}
    assert lines["openvino"].endswith("; not installed")
    assert lines["onnxruntime"].endswith("; installed")


@pytest.fixture
def two_layers(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "net_of_layers.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 48, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    return "net_of_layers:net"


def test_layers_of_a_model_are_in_the_order_they_run(two_layers):
    answer = done("list", "layers", two_layers, "--size", "6,8", "--json")
    assert [(entry["name"], entry["summary"]) for entry in answer.json] == [
        ("0", "Conv2d, 6×6×8, grid, the default of CAM methods"),
        ("1", "ReLU, 6×6×8, grid"),
        ("2", "Flatten, 288, no grid"),
        ("3", "Linear, 3, no grid"),
    ]
    assert "came in train mode; a copy in eval mode is used" in answer.err


def test_layers_of_an_onnx_file_are_its_values_the_last_grid_being_the_default(net):
    rows = {row["name"]: row["summary"] for row in done("list", "layers", net, "--json").json}
    assert rows["features"] == "Conv, 8×16×16, grid"
    assert rows["active"] == "Relu, 8×16×16, grid, the default"
    assert rows["flat"].endswith("no grid")


def test_layers_need_a_model_and_other_lists_none(net):
    for words, code, said in [
        (("layers",), 2, "MODEL is missing"),
        (("methods", net), 2, "list methods takes no MODEL"),
    ]:
        answer = run("list", *words)
        assert answer.code == code
        assert said in " ".join(answer.err.split())
