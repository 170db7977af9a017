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
from tests.cli.things import ROOT, done

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
