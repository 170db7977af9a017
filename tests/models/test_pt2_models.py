"""Exported programs: loaded where they hold data alone, refused where loading them would run code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.models import load_classifier
from c2i_fast.models.pt2_safety import refuse_code
from c2i_fast.types import Preprocessing
from tests.models import graphs

torch = pytest.importorskip("torch", reason="torch is not installed")
from tests.models import nets  # noqa: E402


def _saved(path, batch=None, space=None):
    """Writes `nets.small()` with a dynamic batch, or a fixed one."""
    sizes = {} if batch else {0: torch.export.Dim("batch", min=1, max=64)}
    sizes |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO} if space == "open" else {}
    example = torch.rand(batch or 2, 3, 8, 8)
    program = torch.export.export(nets.small().eval(), (example,), dynamic_shapes=(sizes or None,))
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory):
    return _saved(tmp_path_factory.mktemp("pt2") / "net.pt2")


def _expected(rows):
    with torch.no_grad():
        return nets.small().eval()(torch.from_numpy(rows)).numpy()


@pytest.mark.slow
def test_a_program_comes_back_as_module_and_as_graph(dynamic):
    classifier = load_classifier(dynamic)
    contract = classifier.contract
    assert (contract.channels, contract.space, contract.classes, contract.batch) == (3, (8, 8), nets.CLASSES, None)
    assert contract.source_sha256 == hashlib.sha256(dynamic.read_bytes()).hexdigest()
    assert "no normalisation" in classifier.notes[0]
    for count in (1, 3):
        rows = graphs.images(count)
        with torch.no_grad():
            np.testing.assert_allclose(classifier.module(torch.from_numpy(rows)), _expected(rows), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(graphs.answers(classifier.backbone(), rows), _expected(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_fixed_batch_stays_fixed(tmp_path):
    classifier = load_classifier(_saved(tmp_path / "net.pt2", batch=3))
    assert classifier.contract.batch == 3
    assert "batches of 3" in classifier.notes[-1]
    rows = graphs.images(3)
    backbone = classifier.backbone()
    assert list(backbone.graph.inputs[0].shape) == [3, 3, 8, 8]
    np.testing.assert_allclose(graphs.answers(backbone, rows), _expected(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_an_open_size_must_be_said_and_a_wrong_one_is_refused(tmp_path, dynamic):
    path = _saved(tmp_path / "net.pt2", space="open")
    with pytest.raises(InputError, match="leaves the image size open"):
        load_classifier(path)
    assert load_classifier(path, preprocessing=Preprocessing(size=(12, 10))).contract.space == (12, 10)
    with pytest.raises(InputError, match="takes images of 8×8, but --size says 9×9"):
        load_classifier(dynamic, preprocessing=Preprocessing(size=(9, 9)))


@pytest.mark.slow
def test_two_inputs_are_refused(tmp_path):
    class Two(torch.nn.Module):
        def forward(self, image, mask):
            return (image * mask).mean((2, 3))

    example = (torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8))
    torch.export.save(torch.export.export(Two(), example), tmp_path / "two.pt2")
    with pytest.raises(InputError, match="has 2: image, mask"):
        load_classifier(tmp_path / "two.pt2")


def test_what_is_no_program_is_refused(tmp_path):
    path = tmp_path / "net.pt2"
    with pytest.raises(InputError, match="there is no file"):
        load_classifier(path)
    path.write_text("a text")
    with pytest.raises(InputError, match=r"is not a file of torch\.export\.save"):
        load_classifier(path)
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="is not loaded"):
        load_classifier(path)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def _altered(path, to, change=lambda name, content: content, extra=()):
    """Copies an archive, entry by entry through `change`, and adds more."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        prefix = old.namelist()[0].partition("/")[0]
        for name in old.namelist():
            inner = name.partition("/")[2]
            new.writestr(name, change(inner, old.read(name)))
        for inner, content in extra:
            new.writestr(f"{prefix}/{inner}", content)
    return to


def _in_program(*changes):
    def change(name, content):
        if name != "models/model.json":
            return content
        program = json.loads(content)
        for act in changes:
            act(program)
        return json.dumps(program).encode()

    return change


def _refused(path, marker):
    with pytest.raises(InputError, match="is not loaded, because that could run code") as caught:
        load_classifier(path)
    assert not marker.exists()
    return str(caught.value)


def _evil(marker):
    return f"open({str(marker)!r}, 'w')"


def test_a_copy_without_changes_still_loads(tmp_path, dynamic):
    copied = _altered(dynamic, tmp_path / "copy.pt2")
    refuse_code(copied.read_bytes(), "copy.pt2")


def test_pickled_example_inputs_are_not_unpickled(tmp_path, dynamic):
    marker = tmp_path / "marker"
    stream = io.BytesIO()
    torch.save(Bomb(marker), stream)
    path = _altered(dynamic, tmp_path / "evil.pt2", lambda n, c: stream.getvalue() if n.endswith(".pt") else c)
    assert "sample_inputs/model.pt' holds more than tensors" in _refused(path, marker)
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever torch says after running it)
        torch.export.load(path)
    assert marker.exists()  # without the look inside, it would have run


def test_pickled_weights_are_not_unpickled(tmp_path, dynamic):
    marker = tmp_path / "marker"

    def change(name, content):
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
        return pickle.dumps(Bomb(marker)) if name == "data/weights/weight_0" else content

    assert "is pickled" in _refused(_altered(dynamic, tmp_path / "evil.pt2", change), marker)


@pytest.mark.parametrize(
    "name", ["data/constants/opaque_obj_0", "data/constants/custom_obj_0", "data/aotinductor/m/x.so"]
)
def test_other_kinds_of_entries_are_refused(tmp_path, dynamic, name):
    marker = tmp_path / "marker"
    path = _altered(dynamic, tmp_path / "evil.pt2", extra=[(name, pickle.dumps(Bomb(marker)))])
    assert f"it holds {name!r}" in _refused(path, marker)


def _set_size(text):
    def act(program):
        sizes = program["graph_module"]["graph"]["tensor_values"]["input"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = text

    return act


def test_sizes_are_arithmetic_and_nothing_else(tmp_path, dynamic):
    marker = tmp_path / "marker"
    for text in (
        _evil(marker),
        f"Symbol('s77') + {_evil(marker)}",
        "(lambda: 1)()",
        "[1 for x in s77]",
        "s77.__class__",
    ):
        path = _altered(dynamic, tmp_path / "evil.pt2", _in_program(_set_size(text)))
        assert "expr_str" in _refused(path, marker)
    path = _altered(dynamic, tmp_path / "fine.pt2", _in_program(_set_size("2*Symbol('s77', positive=True) // 2")))
    refuse_code(path.read_bytes(), "fine.pt2")


def test_a_tensor_called_metadata_hides_no_size(tmp_path, dynamic):
    marker = tmp_path / "marker"

    def rename(program):
        values = program["graph_module"]["graph"]["tensor_values"]
        values["metadata"] = values.pop("input")
        values["metadata"]["sizes"][0]["as_expr"]["expr_str"] = _evil(marker)

    assert "expr_str" in _refused(_altered(dynamic, tmp_path / "evil.pt2", _in_program(rename)), marker)


def _first_node(program):
    return program["graph_module"]["graph"]["nodes"][0]


@pytest.mark.parametrize(
    ("act", "where"),
    [
        (lambda p: _first_node(p).update(target="torch.serialization.os.system"), "target"),
        (lambda p: _first_node(p).update(target="_operator.call"), "target"),
        (lambda p: _first_node(p).update(name="x = open('marker', 'w')\n"), "name"),
        (lambda p: _first_node(p)["metadata"].update(stack_trace="line\ropen('marker', 'w')"), "metadata"),
        (lambda p: p.update(guards_code=["open('marker', 'w')"]), "guards_code"),
        (lambda p: p.update(guards_code=["L['x'].size()[0].__class__"]), "guards_code"),
        (lambda p: p["range_constraints"].update({"open('m')": {}}), "the name"),
        (
            lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(
                in_spec='[1, {"type": "os.path", "context": "null", "children_spec": []}]'
            ),
            "in_spec",
        ),
    ],
)
def test_names_operators_guards_and_traces_hold_no_code(tmp_path, dynamic, act, where):
    path = _altered(dynamic, tmp_path / "evil.pt2", _in_program(act))
    assert f"run code: {where}" in _refused(path, tmp_path / "marker")


def test_an_ordinary_guard_passes(tmp_path, dynamic):
    guards = ["(1 + (((-1) + L['x'].size()[3]) // 2)) != 1", "L['x'].size()[0] >= 2"]
    path = _altered(dynamic, tmp_path / "fine.pt2", _in_program(lambda p: p.update(guards_code=guards)))
    refuse_code(path.read_bytes(), "fine.pt2")


def test_an_archive_that_reads_two_ways_is_refused(tmp_path, dynamic):
    path = _altered(dynamic, tmp_path / "evil.pt2", extra=[("models/MODEL.json", b"{}")])
    assert "ambiguous" in _refused(path, tmp_path / "marker")
