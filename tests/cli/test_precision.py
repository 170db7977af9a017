"""fp16 and int8 on the command line: exported, scored as estimates of fp32, timed, and refused where they cannot be."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.cli.things import done, means, pictures, rows, run

LOW = ("fp16", "int8")


@pytest.fixture(scope="module")
def converted(net, npz, cal, tmp_path_factory):
    """The fused file in each precision, calibrator included, and what export said."""
    place = tmp_path_factory.mktemp("precision")
    found = {}
    for precision in LOW:
        more = ("--calibration-images", npz, "--calibration-count", "8") if precision == "int8" else ()
        path = place / f"{precision}.onnx"
        options = ("--calibrator", cal, "--precision", precision, "--scorer", *more)
        found[precision] = path, done("export", net, *options, "--out", path, "--json", "--quiet").json
    return found


def answer(path, **feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def pixels() -> np.ndarray:
    return pictures(12)[0].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize(("precision", "apart"), [("fp16", 0.002), ("int8", 0.08)])
def test_an_exported_file_runs_in_plain_onnxruntime_and_is_close_to_fp32(converted, fused, precision, apart):
    path, content = converted[precision]
    assert content["precision"] == content["contract"]["precision"] == precision
    stored = json.loads(onnx.load(path).metadata_props[0].value)
    assert stored["precision"] == precision
    exact, low = answer(fused, pixels=pixels()), answer(path, pixels=pixels())
    assert low["probabilities"].dtype == np.float32
    difference = np.abs(low["probabilities"] - exact["probabilities"]).max()
    assert 0 < difference < apart
    assert 0 < content["verify"]["max_abs_dprob"] < 2 * apart
    assert path.with_suffix(".scorer.onnx").exists()


def test_calibration_count_and_seed_choose_the_images(net, npz, tmp_path):
    def file(*options) -> bytes:
        path = tmp_path / "q.onnx"
        given = ("--precision", "int8", "--calibration-images", npz)
        done("export", net, *given, "--out", path, "--quiet", "--force", *options)
        return path.read_bytes()

    assert file("--calibration-count", "2") == file("--calibration-count", "2")
    assert file("--calibration-count", "2") != file()
    assert file("--calibration-count", "2", "--seed", "5") != file("--calibration-count", "2")


@pytest.mark.parametrize("precision", LOW)
def test_scoring_is_an_estimate_that_a_subset_corrects(net, npz, maps, tmp_path, precision):
    line = ("score", net, "--images", npz, "--maps", maps, "--quiet", "--json")
    exact = done(*line, "--out", tmp_path / "whole", "--engine", "onnxruntime")
    low = done(*line, "--out", tmp_path / "low", "--precision", precision, "--engine", "onnxruntime", "--allow-drift")
    assert low.json["engine"]["precision"] == precision
    assert low.json["estimate"]["images"] == 12
    assert low.json["estimate"]["expected_share"] == {"fp16": 0.01, "int8": 0.05}[precision]
    assert json.loads((tmp_path / "low" / "run.json").read_text())["precision"] == precision
    assert len(rows(tmp_path / "low", "fp32")) == len(rows(tmp_path / "low"))
    plain, rounded = means(exact), means(low)
    for entry in low.json["scores"]:
        cell = entry["method"], entry["metric"], entry["readout"]
        assert 0 < abs(rounded[cell] - plain[cell]) < 0.02
        assert entry["corrected"]["mean"] == pytest.approx(plain[cell], abs=1e-9), "every image was scored twice"


@pytest.mark.parametrize("precision", LOW)
def test_the_table_says_what_shift_is_usual(net, npz, maps, tmp_path, precision):
    line = ("score", net, "--images", npz, "--maps", maps, "--precision", precision, "--out", tmp_path / "run")
    said = done(*line, "--allow-drift")
    usual = {"fp16": "1%", "int8": "5%"}[precision]
    assert f"(in {precision} up to {usual} is usual)" in said.out
    name = {"fp16": "onnxruntime fp16 (fp16 is ONNX Runtime's", "int8": " int8 (int8 on the CPU"}[precision]
    assert name in said.err


@pytest.mark.parametrize("precision", LOW)
def test_a_file_keeps_its_precision_and_that_is_said(converted, npz, maps, tmp_path, precision):
    path, _ = converted[precision]
    line = ("score", path, "--images", npz, "--maps", maps)
    said = done(*line, "--precision", "fp32", "--out", tmp_path / "run")
    assert f"the file is in {precision}, which applies whatever --precision says" in said.err
    own = done(*line, "--precision", precision, "--out", tmp_path / "own", "--json")
    assert own.json["engine"]["precision"] == precision
    assert "estimate" not in own.json, "there is no fp32 answer to estimate"
    assert [row["value"] for row in rows(tmp_path / "own")] == [row["value"] for row in rows(tmp_path / "run")]
    copied = run("export", path, "--out", tmp_path / "copy.onnx")
    assert copied.code == 0
    assert f"{precision}.onnx is in {precision}, and stays so whatever --precision says" in copied.err
    other = {"fp16": "int8", "int8": "fp16"}[precision]
    refused = run(*line, "--precision", other, "--out", tmp_path / "other")
    assert refused.code == 2
    assert f"this file is in {precision} and cannot be run in {other}" in refused.err
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("precision", LOW)
def test_bench_converts_and_compares_with_fp32(net, converted, precision):
    quick = ("--duration", "0.01", "--batch", "1", "--engine", "onnxruntime", "--json", "--quiet")
    content = done("bench", net, "--precision", precision, *quick).json
    assert content["precision"] == precision
    assert content["environment"]["precision_used"] == precision
    assert content["parity"]["max_abs_dprob"] > 0
    own = done("bench", converted[precision][0], *quick).json
    assert own["precision"] == own["environment"]["precision_used"] == precision


@pytest.mark.parametrize("precision", LOW)
def test_explain_and_calibrate_look_at_the_converted_network(net, npz, tmp_path, precision):
    more = ("--images", npz, "--quiet", "--engine", "onnxruntime")
    found = []
    for name in ("fp32", precision):
        out = tmp_path / name
        done("explain", net, *more, "--method", "rise", "--masks", "20", "--precision", name, "--out", out)
        done("calibrate", net, *more, "--precision", name, "--out", tmp_path / f"{name}.json")
        (maps,) = sorted(out.rglob("*.npz")) or [None]
        learnt = json.loads((tmp_path / f"{name}.json").read_text())["parameters"]["temperature"]
        found.append((np.load(maps)["maps"] if maps else out, learnt))
    assert found[0][1] != found[1][1]
    assert found[0][1] == pytest.approx(found[1][1], rel=0.2)


@pytest.mark.parametrize(
    ("options", "says", "code"),
    [
        (("--precision", "int8"), "--precision int8 needs images to calibrate on; give --calibration-images SRC", 2),
        (("--precision", "bf16"), "bf16 is no file format here", 2),
        (("--precision", "fp8"), "--precision must be one of fp32, fp16, int8; got 'fp8'", 2),
        (("--precision", "fp16", "--calibration-images", "x"), "are for --precision int8, not fp16", 2),
        (("--calibration-count", "4"), "are for --precision int8, not fp32", 2),
        (("--precision", "int8", "--calibration-images", "absent"), "absent", 1),
    ],
)
def test_export_is_asked_for_what_cannot_be(net, tmp_path, options, says, code):
    refused = run("export", net, "--out", tmp_path / "out.onnx", *options, "--quiet")
    assert refused.code == code
    (line,) = refused.err.splitlines()
    assert says in line
    assert not list(tmp_path.iterdir())
