"""The whole quick demo once, end to end, and its commands once more on the files it left."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from c2i_fast.demo import pipeline
from c2i_fast.demo.pipeline import EXPLAINERS, QUICK, run_demo
from c2i_fast.demo.truth import mass_accuracy
from c2i_fast.errors import InputError, MissingDependencyError
from tests.cli.things import done, run

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Its folder, and what it printed."""
    for package in ("torch", "captum", "pytorch_grad_cam", "matplotlib", "onnxruntime"):
        pytest.importorskip(package, reason="the demo runs everything")
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, done("demo", "--quick", "--out", out)


@pytest.fixture(scope="module")
def content(demo):
    return json.loads((demo[0] / "demo.json").read_text())


def numbers(value):
    """Every number in nested JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for entry in value for number in numbers(entry)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.slow
def test_everything_is_written(demo, content):
    out, _ = demo
    names = "images.npz calibration.npz network.safetensors calibrator.json model.onnx run/run.json maps/explain.json"
    for name in names.split():
        assert (out / name).is_file(), name
    for method in EXPLAINERS:
        assert len(list((out / "maps" / method).glob("*.npy"))) == QUICK.images
    for path in content["figures"]:
        assert Path(path).read_bytes().startswith(PNG)
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_every_number_is_finite(content):
    assert all(math.isfinite(number) for number in numbers([content["truth"], content["score"]["scores"]]))


@pytest.mark.slow
def test_the_network_is_over_confident_and_calibration_mends_it(content):
    calibration = content["calibration"]
    assert calibration["parameters"]["temperature"] > 1.2
    assert calibration["after"]["nll"] < calibration["before"]["nll"]
    assert calibration["nll_change"]["ci95"][1] < 0  # not by chance
    assert calibration["after"]["ece"] < calibration["before"]["ece"]
    assert calibration["before"]["accuracy"] > 0.75


def answers(out: Path) -> list[np.ndarray]:
    """Logits and probabilities of the images, from plain ONNX Runtime with no help of this package."""
    import onnxruntime

    with np.load(out / "images.npz") as stored:
        pixels = np.moveaxis(stored["images"], -1, 1).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(out / "model.onnx")
    return session.run(["logits", "probabilities"], {"pixels": pixels})


@pytest.mark.slow
def test_the_graph_answers_softmax_of_logits_by_temperature(demo, content):
    logits, probabilities = answers(demo[0])
    weights = np.exp(logits / content["calibration"]["parameters"]["temperature"])
    np.testing.assert_allclose(probabilities, weights / weights.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.slow
def test_the_truth_is_that_of_the_maps_on_disk(demo, content):
    out, _ = demo
    with np.load(out / "images.npz") as stored:
        ids, masks = stored["ids"], stored["masks"]
    said = {(row["name"], row["measure"]): row["mean"] for row in content["truth"]["methods"]}
    for method in EXPLAINERS:
        maps = np.stack([np.load(out / "maps" / method / f"{name}.npy") for name in ids])
        assert said[method, "mass-accuracy"] == pytest.approx(mass_accuracy(maps, masks).mean())


@pytest.mark.slow
def test_what_explains_lies_on_the_shape_more_than_what_knows_nothing(content):
    said = {(row["name"], row["measure"]): row["mean"] for row in content["truth"]["methods"]}
    for method in ("rise", "gradient", "gradcam"):
        assert said[method, "top-precision"] > 2 * said["random", "top-precision"]


@pytest.mark.slow
def test_every_method_is_scored_both_ways(content):
    rows = {(row["method"], row["metric"], row["readout"]) for row in content["score"]["scores"]}
    metrics, readouts = ("deletion", "insertion", "gap"), ("raw", "calibrated")
    assert rows == {(m, k, r) for m in EXPLAINERS for k in metrics for r in readouts}
    assert content["score"]["images"] == QUICK.images


@pytest.mark.slow
def test_it_says_what_it_does_and_prints_the_table(demo, content):
    _, answer = demo
    for command in content["commands"].values():
        assert command in answer.err
    for method in EXPLAINERS:
        assert method in answer.out
    assert content["truth"]["verdict"]["mass-accuracy"] in answer.out
    assert max(map(len, answer.out.splitlines())) < 140


@pytest.mark.slow
def test_the_commands_it_prints_make_the_same_files(demo, content, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(demo[0], out)
    before = results(out)
    for name in ("calibrator.json", "model.onnx"):
        (out / name).unlink()  # the other steps refuse folders that are not theirs, so theirs stay
    for command in content["commands"].values():
        done(*shlex.split(command.replace(str(demo[0]), str(out)))[1:])
    after = results(out)
    assert list(before) == list(after)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, err_msg=name)


def results(out: Path) -> dict[str, np.ndarray]:
    """The temperature, the graph's answers, every map and every score."""
    temperature = json.loads((out / "calibrator.json").read_text())["parameters"]["temperature"]
    maps = {path.relative_to(out).as_posix(): np.load(path) for path in sorted((out / "maps").rglob("*.npy"))}
    scores = pq.read_table(out / "run" / "scores", columns=["image", "method", "metric", "readout", "value"])
    rows = np.array([tuple(row.values()) for row in scores.to_pylist()], dtype=object)
    return {
        "temperature": np.array(temperature),
        **dict(zip(("logits", "probabilities"), answers(out), strict=True)),
        **maps,
        "scores": rows,
    }


@pytest.mark.slow
def test_an_earlier_demo_is_kept_unless_force_is_given(demo):
    answer = run("demo", "--quick", "--out", demo[0])
    assert answer.code == 1
    assert "--force" in answer.err


def test_a_file_in_its_place_is_refused_even_with_force(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InputError, match="must be a folder"):
        run_demo(tmp_path / "demo", quick=True, force=True)
    assert (tmp_path / "demo").read_text() == "mine"


@pytest.mark.parametrize(
    ("absent", "named"),
    [({"torch"}, "torch"), ({"pytorch_grad_cam"}, "grad-cam"), ({"onnxruntime", "openvino"}, "onnxruntime")],
)
def test_what_is_missing_is_said_before_anything_is_written(absent, named, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None if name in absent else object())
    with pytest.raises(MissingDependencyError, match=rf"^{named} is not .*c2i-fast\[cpu,torch,explain,report\]"):
        run_demo(tmp_path / "demo", quick=True)
    assert not (tmp_path / "demo").exists()


def test_one_engine_is_enough(monkeypatch):
    monkeypatch.setattr(pipeline, "find_spec", lambda name: None if name == "onnxruntime" else object())
    pipeline.check_installed()
