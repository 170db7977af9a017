"""Files that were changed behind our back: noticed in one line, never a traceback, never other numbers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest

from tests.cli.things import rows, run


def one_line(answer) -> str:
    assert answer.code == 1, answer.err
    (said,) = answer.err.splitlines()
    assert len(said) < 500
    return said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channels", "3"),
        ("channels", 0),
        ("space", [16, {}]),
        ("space", 5),
        ("classes", 3.5),
        ("classes", True),
        ("batch", "all"),
        ("activation", "relu"),
        ("class_names", [1, 2, 3]),
        ("preprocessing", "none"),
        ("preprocessing.size", [16.0, 16]),
        ("preprocessing.mean", ["0.5"]),
        ("preprocessing.std", [float("inf")]),
        ("preprocessing.std", [0]),
        ("preprocessing.drop_class", 2**70),
        ("preprocessing.outputs", "odds"),
        ("version", 2),
        ("more", 1),
    ],
)
def test_a_contract_that_cannot_be(fused, npz, tmp_path, field, value):
    graph = onnx.load(fused)
    content = json.loads(graph.metadata_props[0].value)
    *outer, last = field.split(".")
    (content[outer[0]] if outer else content)[last] = value
    graph.metadata_props[0].value = json.dumps(content)
    onnx.save(graph, tmp_path / "fused.onnx")
    answer = run("score", tmp_path / "fused.onnx", "--images", npz, "--controls", "--out", tmp_path / "run", "--quiet")
    assert "fused.onnx: the contract in the file cannot be read (" in one_line(answer)
    assert "; export it again" in answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("settings", 5),
        ("settings", {"magic": 1}),
        ("measures.0.metric", "delation"),
        ("measures.0.protocols", ["0123456789abcdef"]),
        ("measures", 3),
        ("settings.metrics", [[1]]),
        ("settings.metrics", 3.5),
        ("protocols", [{"metric": "deletion"}]),
        ("protocols", [1]),
        ("protocols.0.intervals", 16),
        ("protocols.0.name", ["c2i"]),
        ("protocols.0.baseline", "black"),
        ("hashes", None),
        ("images", "many"),
        ("activation", None),
    ],
)
def test_a_run_json_that_was_changed(kept, cal, tmp_path, field, value):
    copy = shutil.copytree(kept, tmp_path / "copy")
    content = json.loads((copy / "run.json").read_text())
    place = content
    *outer, last = field.split(".")
    for name in outer:
        place = place[int(name)] if name.isdecimal() else place[name]
    place[last] = value
    (copy / "run.json").write_text(json.dumps(content))
    one_line(run("rescore", copy, "--calibrator", cal))
    assert not list(copy.glob("scores/rescore-*"))


def test_bits_that_flip_in_a_run_change_no_number(kept, cal, tmp_path):
    """Either the damage is named, or it was where no number lies."""
    copy = shutil.copytree(kept, tmp_path / "copy")
    expected = run("rescore", copy, "--calibrator", cal, "--json")
    values = rows(copy, expected.json["prefix"])
    rng = np.random.default_rng(0)
    files = sorted([*kept.glob("logits/*.parquet"), *kept.glob("scores/*.parquet")])
    noticed = 0
    for _ in range(60):
        original = files[rng.integers(len(files))]
        damaged = bytearray(original.read_bytes())
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        place = copy / original.relative_to(kept)
        place.write_bytes(damaged)
        answer = run("rescore", copy, "--calibrator", cal, "--force", "--json")
        if answer.code:
            one_line(answer)
            noticed += 1
        else:
            assert rows(copy, answer.json["prefix"]) == values
        shutil.copy(original, place)
    assert noticed > 20


def test_maps_and_images_whose_bytes_flip_never_show_a_traceback(fused, npz, maps, tmp_path):
    rng = np.random.default_rng(0)
    codes = set()
    for number in range(40):
        given = {"--images": npz, "--maps": maps}
        option = list(given)[number % 2]
        damaged = bytearray(given[option].read_bytes())
        for place in rng.integers(0, 400 if number % 4 < 2 else len(damaged), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        given[option] = tmp_path / "damaged.npz"
        given[option].write_bytes(damaged)
        options = [part for pair in given.items() for part in pair]
        answer = run("score", fused, *options, "--limit", "2", "--out", tmp_path / f"run-{number}", "--quiet")
        codes.add(answer.code)
        assert answer.code == 0 or one_line(answer)
        assert (tmp_path / f"run-{number}").exists() == (answer.code == 0)
    assert codes == {0, 1}
