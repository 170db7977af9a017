"""ReCalX by the commands: fitted, shipped, used as a MODEL, scored with, refused where it does not fit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime
import pytest

from c2i_fast.calibration.file import load_calibrator
from c2i_fast.calibration.recalx import level_of
from tests.cli.things import done, means, pictures, rows, run

OPTIONS = ("--method", "recalx", "--levels", "4", "--masks-per-level", "3", "--grid", "4", "--seed", "1")
KEYS = {"method", "parameters", "n_fit", "n_test", "before", "after", "argmax_preserving", "path"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    images, labels = pictures(30)
    path = tmp_path_factory.mktemp("recalx") / "val.npz"
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture(scope="module")
def fit(net, data):
    """The file, and what the command said in JSON."""
    out = data.parent / "recalx.json"
    return out, done("calibrate", net, "--images", data, *OPTIONS, "--out", out, "--json", "--quiet").json


@pytest.fixture(scope="module")
def shipped(net, fit):
    """The fused file and its scorer."""
    out = fit[0].with_name("shipped.onnx")
    done("export", net, "--calibrator", fit[0], "--out", out, "--scorer", "--quiet")
    return out


# ------------------------------------------------------------------------------------------------ calibrate


def test_the_json_keeps_its_keys_and_has_every_level(fit):
    content = fit[1]
    assert set(content) >= KEYS
    assert (content["method"], content["n_fit"], content["n_test"]) == ("recalx", 15, 15)
    learnt = content["parameters"]
    assert (learnt["levels"], learnt["baseline"], learnt["samples"]) == (4, "mean", [45] * 4)
    assert learnt["mask_law"] == {"law": "grid", "grid": [4, 4], "levels": 4, "masks_per_level": 3, "seed": 1}
    assert [row["level"] for row in content["masked"]["levels"]] == [0, 1, 2, 3]
    for row in content["masked"]["levels"]:
        for name in ("uncalibrated", "temperature", "recalx"):
            assert set(row[name]) == {"kl", "ece", "nll"}
            assert row[name]["nll"]["ci95"][0] < row[name]["nll"]["value"] < row[name]["nll"]["ci95"][1]
    assert set(content["masked"]["differences"]["worst"]) == {"uncalibrated", "temperature"}
    assert load_calibrator(fit[0], classes=3).parameters() == learnt


def test_batch_threads_and_company_do_not_change_it(net, data, fit, tmp_path):
    options = ("--batch-size", "7", "--threads", "1", "--workers", "1")
    again = done("calibrate", net, "--images", data, *OPTIONS, *options, "--out", tmp_path / "cal.json", "--json").json
    expected = fit[1]["parameters"]["inverse_temperatures"]
    np.testing.assert_allclose(again["parameters"]["inverse_temperatures"], expected, rtol=1e-4)


def test_every_option_matters(net, data, fit, tmp_path):
    changes = (("--masks-per-level", "4"), ("--grid", "8"), ("--levels", "3"), ("--images-per-level", "7"))
    changes += (("--baseline", "blur"), ("--seed", "2"), ("--fit-fraction", "0.7"), ("--limit", "20"))
    for change in changes:
        out = tmp_path / f"{change[0]}.json"
        done("calibrate", net, "--images", data, *OPTIONS, *change, "--out", out, "--quiet")
        other = json.loads(out.read_text())["parameters"]
        assert other["inverse_temperatures"] != fit[1]["parameters"]["inverse_temperatures"], change
    assert json.loads((tmp_path / "--baseline.json").read_text())["parameters"]["baseline"] == "blur"
    assert sum(json.loads((tmp_path / "--images-per-level.json").read_text())["parameters"]["samples"]) == 7 * 12


def test_the_table(net, data, tmp_path):
    answer = done("calibrate", net, "--images", data, *OPTIONS, "--out", tmp_path / "cal.json")
    for said in ("4 levels, baseline mean", "0% to 25%", "75% to 100%", "KL recalx", "paired", "KL: KL calibration"):
        assert said in answer.out
    whole = done("calibrate", net, "--images", data, *OPTIONS, "--fit-fraction", "1", "--out", tmp_path / "one.json")
    assert "nothing was held out" in whole.err
    assert "0% to 25%" in whole.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "recalx", "--method", "temperature"), "--method recalx stands alone"),
        (("--method", "recalx", "--measure", "nll"), "--method recalx stands alone"),
        (("--method", "recalx", "--diagram", "d.png"), "--method recalx stands alone"),
        (("--levels", "3"), "are for --method recalx"),
        (("--method", "temperature", "--baseline", "mean"), "are for --method recalx"),
        (("--method", "recalx", "--baseline", "nothing"), "nothing"),
        (("--method", "recalx", "--grid", "17"), "does not fit an axis of 16"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(net, data, tmp_path, words, said):
    answer = run("calibrate", net, "--images", data, *words, "--out", tmp_path / "cal.json", "--quiet")
    assert answer.code in (1, 2)
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "cal.json").exists()


def test_logits_have_no_masks_to_fit_on(tmp_path):
    np.savez(tmp_path / "z.npz", logits=np.eye(3, dtype=np.float32), labels=np.arange(3))
    answer = run("calibrate", "--logits", tmp_path / "z.npz", "--method", "recalx", "--out", tmp_path / "cal.json")
    assert answer.code == 2
    assert "takes no --logits" in answer.err


# ------------------------------------------------------------------------------------------------ export


def test_the_shipped_file_calibrates_by_the_fraction_it_is_told(net, data, fit, shipped):
    session = onnxruntime.InferenceSession(shipped)
    assert [i.name for i in session.get_inputs()] == ["pixels", "perturbed_fraction"]
    images = (np.load(data)["images"][:9].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    fractions = np.array([0, 0.1, 0.25, 0.26, 0.5, 0.6, 0.75, 0.9, 1], np.float32)
    logits, probabilities = session.run(None, {"pixels": images, "perturbed_fraction": fractions})
    calibrated = load_calibrator(fit[0]).transform(logits, fractions)
    expected = np.exp(calibrated - calibrated.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    beta = np.array(fit[1]["parameters"]["inverse_temperatures"])[level_of(fractions, 4)]
    np.testing.assert_allclose(calibrated, logits * beta[:, None], rtol=1e-12)
    again = session.run(["logits"], {"pixels": images, "perturbed_fraction": 1 - fractions})[0]
    np.testing.assert_array_equal(again, logits)


def test_the_scorer_takes_a_fraction_for_each_step(shipped, data):
    session = onnxruntime.InferenceSession(shipped.with_suffix(".scorer.onnx"))
    shapes = {i.name: i.shape for i in session.get_inputs()}
    assert shapes["perturbed_fraction"] == ["N", "S"]
    images = (np.load(data)["images"][:2].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)
    step_map = np.random.default_rng(0).integers(0, 5, (2, 1, 16, 16)).astype(np.uint8)
    steps = np.array([[0, 2, 5], [1, 3, 4]], np.int32)
    fractions = np.array([[(m < s).mean() for s in row] for m, row in zip(step_map, steps, strict=True)], np.float32)
    feeds = {"start": images, "end": images * 0, "step_map": step_map, "steps": steps}
    found = session.run(["probabilities"], feeds | {"perturbed_fraction": fractions})[0]
    fused = onnxruntime.InferenceSession(shipped)
    for i, j in np.ndindex(2, 3):
        shown = np.where(step_map[i] < steps[i, j], np.float32(0), images[i])[None]
        expected = fused.run(["probabilities"], {"pixels": shown, "perturbed_fraction": fractions[i, j : j + 1]})[0]
        np.testing.assert_allclose(found[i, j], expected[0], atol=1e-5)


def test_one_level_ships_without_the_fraction(net, data, tmp_path):
    done("calibrate", net, "--images", data, "--method", "recalx", "--levels", "1", "--out", tmp_path / "cal.json")
    done("export", net, "--calibrator", tmp_path / "cal.json", "--out", tmp_path / "one.onnx", "--quiet")
    assert [i.name for i in onnxruntime.InferenceSession(tmp_path / "one.onnx").get_inputs()] == ["pixels"]


# ------------------------------------------------------------------------------------------------ as a MODEL


def test_the_shipped_file_is_a_model_like_any_other(shipped, npz, tmp_path):
    done("explain", shipped, "--images", npz, "--method", "rise", "--masks", "8", "--out", tmp_path / "maps")
    done("score", shipped, "--images", npz, "--maps", tmp_path / "maps", "--out", tmp_path / "run", "--quiet")
    assert {row["readout"] for row in rows(tmp_path / "run")} == {"raw", "calibrated"}
    done("calibrate", shipped, "--images", npz, "--out", tmp_path / "t.json", "--quiet")
    done("export", shipped, "--calibrator", tmp_path / "t.json", "--out", tmp_path / "again.onnx", "--quiet")
    found = done("bench", shipped, "--batch", "1,2", "--duration", "0.02", "--threads", "1", "--json").json
    assert found["parity"]["max_abs_dprob"] < 1e-4


# ------------------------------------------------------------------------------------------------ score


@pytest.fixture(scope="module")
def scored(shipped, npz, maps):
    path = shipped.with_name("run")
    done("score", shipped, "--images", npz, "--maps", maps, "--keep-logits", "--out", path, "--quiet")
    return path


def test_every_point_is_read_at_its_own_fraction(scored, fit):
    """From the kept logits and λ, point by point."""
    import pyarrow.parquet as pq

    calibrator = load_calibrator(fit[0])
    kept = pq.read_table(scored / "logits" / "part-00000.parquet").to_pylist()
    curves = pq.read_table(scored / "logits" / "curves-00000.parquet").to_pylist()
    found = {(r["image"], r["metric"]): r for r in rows(scored) if r["readout"] == "calibrated"}
    of_scores = [curve for curve in curves if (curve["image"], curve["metric"]) in found]
    of_scores = [curve for curve in of_scores if curve["metric"] != "gap"]
    assert {curve["metric"] for curve in of_scores} == {"deletion", "insertion"}
    for curve in of_scores[:6]:
        own = [row for row in kept if row["image"] == curve["image"]]
        row = found[curve["image"], curve["metric"]]
        for value, number, share in zip(row["curve"], curve["passes"], curve["x"], strict=True):
            fraction = share if curve["metric"].startswith("deletion") else 1 - share
            assert own[number]["perturbed_fraction"] == pytest.approx(fraction, abs=1e-9)
            z = calibrator.transform([own[number]["logits"]], [own[number]["perturbed_fraction"]])[0]
            p = np.exp(z - z.max())
            assert value == pytest.approx(p[row["target"]] / p.sum(), abs=1e-12)


def test_areas_of_the_two_read_outs_are_said_not_to_compare(shipped, net, npz, maps, cal, scored, tmp_path):
    note = "never with another read-out's"
    assert note in done("score", shipped, "--images", npz, "--maps", maps, "--out", tmp_path / "a").out
    options = ("--images", npz, "--maps", maps, "--json")
    told = done("score", shipped, *options, "--out", tmp_path / "b").json
    assert note in told["notes"][0]
    assert {"lift", "readout"} >= set(told["scores"][0]) & {"lift", "readout", "difference"}
    alone = done("score", shipped, *options, "--readout", "calibrated", "--out", tmp_path / "c").json
    assert alone["notes"] == []
    assert done("score", net, "--calibrator", cal, *options, "--out", tmp_path / "d").json["notes"] == []


def test_another_baseline_is_refused_before_any_pass(shipped, npz, maps, tmp_path, monkeypatch):
    def fail(*arguments):
        raise AssertionError("an engine was opened")

    monkeypatch.setattr("c2i_fast.results.scoring.open_passes", fail)
    answer = run("score", shipped, "--images", npz, "--maps", maps, "--set", "baseline=blur", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "fitted for the baseline mean" in answer.err
    assert "--recalx-mismatch ok" in answer.err
    assert not (tmp_path / "run").exists()


def test_the_same_baseline_by_its_other_name_and_raw_alone_are_not_refused(shipped, npz, maps, tmp_path):
    common = ("--images", npz, "--maps", maps, "--metric", "deletion", "--quiet")
    done("score", shipped, *common, "--set", "baseline=zero", "--out", tmp_path / "zero")
    done("score", shipped, *common, "--set", "baseline=blur", "--readout", "raw", "--out", tmp_path / "raw")
    wrong = run("score", shipped, *common, "--recalx-mismatch", "maybe", "--out", tmp_path / "maybe")
    assert wrong.code == 1
    assert "refuse or ok" in wrong.err


def test_a_mismatch_that_is_ok_is_stored_and_resumed(shipped, npz, maps, tmp_path):
    common = ("score", shipped, "--images", npz, "--maps", maps, "--set", "baseline=blur", "--part-passes", "200")
    done(*common, "--recalx-mismatch", "ok", "--out", tmp_path / "run", "--quiet")
    whole = rows(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["recalx_mismatch"] == "ok"
    shutil.copytree(tmp_path / "run", tmp_path / "cut")
    for part in sorted((tmp_path / "cut" / "scores").glob("part-*.parquet"))[1:]:
        part.unlink()
    refused = run(*common, "--recalx-mismatch", "refuse", "--out", tmp_path / "cut", "--resume")
    assert refused.code == 2
    assert "--recalx-mismatch 'ok'" in refused.err
    done(*common, "--out", tmp_path / "cut", "--resume", "--quiet")
    assert rows(tmp_path / "cut") == whole


def test_rescore_reads_kept_logits_by_their_fractions(scored, fit, net, npz, maps, tmp_path):
    plain = ("--images", npz, "--maps", maps, "--keep-logits", "--quiet")
    done("score", net, *plain, "--out", tmp_path / "plain")
    answer = done("rescore", tmp_path / "plain", "--calibrator", fit[0], "--json")
    assert rows(tmp_path / "plain", answer.json["prefix"]) == rows(scored)
    assert "never with" in answer.json["notes"][0]
    assert means(answer)["noise", "gap", "calibrated"] != means(answer)["noise", "gap", "raw"]


def test_rescore_refuses_another_baseline_too(fit, net, npz, maps, tmp_path):
    options = ("--images", npz, "--maps", maps, "--set", "baseline=black", "--keep-logits", "--quiet")
    done("score", net, *options, "--out", tmp_path / "run")
    refused = run("rescore", tmp_path / "run", "--calibrator", fit[0])
    assert refused.code == 1
    assert "--recalx-mismatch ok" in refused.err
    done("rescore", tmp_path / "run", "--calibrator", fit[0], "--readout", "raw")
    done("rescore", tmp_path / "run", "--calibrator", fit[0], "--recalx-mismatch", "ok", "--force")
