"""`calibrate`: what it fits, what it says, and that every option matters."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from tests.cli.things import done, pictures, run, write_folder

KEYS = {"method", "parameters", "n_fit", "n_test", "before", "after", "argmax_preserving", "path"}
MEASURES = {"nll", "ece", "brier", "accuracy"}


def network(net, images):
    """Raw logits, by ONNX Runtime alone."""
    session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0].astype(np.float64)


@pytest.fixture(scope="module")
def many(made, net):
    """Enough images for an optimum inside the bounds; their .npz, logits and labels."""
    images, labels = pictures(60, seed=3)
    np.savez(made / "many.npz", images=images, labels=labels)
    return made / "many.npz", network(net, images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)), labels


@pytest.fixture
def fit(net, many, tmp_path):
    def run_it(*options, **other):
        source = other.get("images", many[0])
        command = ("calibrate", net, "--images", source, "--out", tmp_path / "cal.json", "--json", "--force", *options)
        return done(*command).json

    return run_it


def nll(logits, labels, temperature=1.0):
    z = logits / temperature
    return float(np.mean(logsumexp(z, axis=1) - z[np.arange(len(z)), labels]))


def test_the_json_keeps_its_keys(fit, tmp_path):
    content = fit()
    assert set(content) >= KEYS
    assert set(content["before"]) == set(content["after"]) == MEASURES
    assert content["method"] == "temperature"
    assert content["argmax_preserving"] is True
    assert content["path"] == str(tmp_path / "cal.json")
    assert content["n_fit"] == content["n_test"] == 30
    assert "methods" not in content


def test_the_temperature_is_the_minimum_of_the_negative_log_likelihood(fit, many):
    _, logits, labels = many
    content = fit("--fit-fraction", "1")
    best = minimize_scalar(lambda t: nll(logits, labels, t), bounds=(0.05, 20), method="bounded")
    assert content["parameters"]["temperature"] == pytest.approx(best.x, rel=1e-3)
    assert content["n_fit"] == 60
    assert content["n_test"] == 0
    assert content["before"] is None
    assert content["after"] is None


def test_the_measures_are_those_of_the_held_out_half(fit, many):
    _, logits, labels = many
    content = fit()
    everything, half = nll(logits, labels), content["before"]["nll"]
    assert half != pytest.approx(everything, abs=1e-6), "not those of all samples"
    swapped = fit("--seed", "5")
    assert swapped["before"]["nll"] != half
    assert 0 < content["after"]["nll"] < content["before"]["nll"], "the network is over-confident"


def test_the_file_carries_what_was_fitted_on_what(fit, tmp_path, net):
    content = fit("--seed", "3")
    stored = json.loads((tmp_path / "cal.json").read_text())
    assert stored["c2i_fast"] == {"calibrator": 1}
    assert stored["parameters"] == content["parameters"]
    assert stored["classes"] == 3
    assert {k: stored["meta"][k] for k in ("seed", "fit_fraction", "n_fit", "n_test")} == {
        "seed": 3,
        "fit_fraction": 0.5,
        "n_fit": 30,
        "n_test": 30,
    }


def test_saved_logits_give_what_the_images_give(fit, many, tmp_path):
    _, logits, labels = many
    np.savez(tmp_path / "logits.npz", logits=logits.astype(np.float32), labels=labels)
    options = ("--logits", tmp_path / "logits.npz", "--json", "--force")
    alone = done("calibrate", *options, "--out", tmp_path / "from-logits.json").json
    images = fit()
    assert alone["parameters"]["temperature"] == pytest.approx(images["parameters"]["temperature"], rel=1e-5)
    assert alone["before"]["nll"] == pytest.approx(images["before"]["nll"], abs=1e-5)


def test_a_folder_and_an_npz_of_the_same_pictures_agree(fit, tmp_path, net):
    images, labels = pictures(12)
    write_folder(tmp_path / "val", 12)
    order = np.lexsort((np.arange(12), labels))
    np.savez(tmp_path / "val.npz", images=images[order], labels=labels[order])
    folder, npz = (fit("--fit-fraction", "1", images=tmp_path / name) for name in ("val", "val.npz"))
    assert folder["parameters"] == npz["parameters"]


@pytest.mark.parametrize("same", [("--batch-size", "5"), ("--threads", "1"), ("--workers", "4"), ("--device", "cpu")])
def test_what_must_not_matter(fit, same):
    reference, other = fit(), fit(*same)
    assert other["parameters"]["temperature"] == pytest.approx(reference["parameters"]["temperature"], rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        ("--seed", "1"),
        ("--fit-fraction", "0.3"),
        ("--limit", "40"),
        ("--mean", "0.2"),
        ("--std", "0.5"),
        ("--size", "16", "--mean", "0,0,0.1"),
        ("--mean", "0,0,0.1", "--bgr"),
        ("--recipe", "torchvision-imagenet", "--size", "16"),
    ],
)
def test_what_must_matter(fit, change):
    assert fit(*change)["parameters"]["temperature"] != fit()["parameters"]["temperature"]


def test_limit_counts_images(fit):
    content = fit("--limit", "21")
    assert content["n_fit"] + content["n_test"] == 21


def test_engines_agree(fit):
    pytest.importorskip("openvino")
    temperature = fit("--engine", "openvino")["parameters"]["temperature"]
    assert temperature == pytest.approx(fit("--engine", "onnxruntime")["parameters"]["temperature"], rel=1e-4)


def test_of_several_methods_the_best_on_held_out_data_is_kept(fit):
    content = fit("--method", "identity", "--method", "temperature")
    assert content["method"] == "temperature"
    assert [m["method"] for m in content["methods"]] == ["identity", "temperature"]
    identity, temperature = content["methods"]
    assert identity["after"] == content["before"]
    assert temperature["after"] == content["after"]


def test_images_that_cannot_be_read_are_left_out_and_counted(net, tmp_path):
    write_folder(tmp_path / "val", 9)
    (tmp_path / "val" / "1" / "broken.jpg").write_text("no picture")
    options = ("--images", tmp_path / "val", "--out", tmp_path / "cal.json", "--json")
    answer = done("calibrate", net, *options, "--on-error", "skip")
    assert answer.json["n_fit"] + answer.json["n_test"] == 9
    assert answer.json["skipped"] == 1
    assert "skipped 1/broken.jpg: " in answer.err
    assert json.loads((tmp_path / "cal.json").read_text())["meta"]["skipped"] == 1


def test_the_table_and_quiet(net, npz, tmp_path):
    out = tmp_path / "deep" / "folder" / "cal.json"
    answer = done("calibrate", net, "--images", npz, "--out", out, "--quiet")
    assert out.exists()
    assert answer.err == ""
    for said in ("temperature", "held out", "before", "after", "NLL", "ECE", "Brier", "accuracy", f"wrote {out}"):
        assert said in answer.out
    spoken = done("calibrate", net, "--images", npz, "--out", out, "--force")
    assert "no normalisation was given" in spoken.err


def test_an_existing_file_is_replaced_with_force_only(net, npz, tmp_path):
    out = tmp_path / "cal.json"
    done("calibrate", net, "--images", npz, "--out", out)
    before = out.read_text()
    assert run("calibrate", net, "--images", npz, "--out", out, "--seed", "9").code == 1
    assert out.read_text() == before
    done("calibrate", net, "--images", npz, "--out", out, "--seed", "9", "--force")
    assert json.loads(out.read_text())["meta"]["seed"] == 9


def test_several_methods_and_the_warning_of_one_that_may_change_the_class(fit):
    content = fit("--method", "temperature", "--method", "vector", "--method", "ets")
    assert [each["method"] for each in content["methods"]] == ["temperature", "vector", "ets"]
    assert content["after"]["nll"] == min(each["after"]["nll"] for each in content["methods"])
    assert any("vector may change the predicted class" in note for note in content["notes"])


def test_auto_says_the_winner_and_by_how_much(fit, tmp_path):
    content = fit("--method", "auto")
    losses = [each["cross_validated_nll"] for each in content["methods"]]
    assert content["method"] == content["methods"][0]["method"]
    assert losses == sorted(losses)
    margin = f"{losses[1] - losses[0]:.4f} below {content['methods'][1]['method']}"
    assert any(f"auto chose {content['method']}" in note and margin in note for note in content["notes"])
    assert json.loads((tmp_path / "cal.json").read_text())["method"] == content["method"]


def test_the_table_names_what_was_learnt_and_does_not_print_matrices(net, many, tmp_path):
    said = done("calibrate", net, "--images", many[0], "--out", tmp_path / "m.json", "--method", "matrix").out
    assert "matrix: weights, bias" in said
    assert "may change the predicted class" in said


def test_measures_and_diagrams_are_of_the_held_out_images(net, many, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    options = ("--measure", "nll", "--measure", "smooth-ece", "--diagram", tmp_path / "r.png")
    found = done("calibrate", net, "--images", many[0], "--out", tmp_path / "c.json", *options, "--json").json
    assert list(found["measures"]) == ["nll", "smooth-ece"]
    assert found["measures"]["nll"]["after"]["value"] == pytest.approx(found["after"]["nll"], rel=1e-9)
    assert found["diagrams"] == [str(tmp_path / "r-raw.png"), str(tmp_path / "r.png")]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("r.png", "r-raw.png"))
    again = run("calibrate", net, "--images", many[0], "--out", tmp_path / "d.json", *options)
    assert again.code == 1
    assert "r.png" in again.err
    said = done("calibrate", net, "--images", many[0], "--out", tmp_path / "e.json", "--measure", "mce").out
    assert "mce" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--measure", "magic"), "magic"),
        (("--diagram", "r.pdf"), "--diagram must end in .png or .svg"),
        (("--measure", "nll", "--fit-fraction", "1"), "--fit-fraction below 1"),
    ],
)
def test_measures_and_diagrams_that_cannot_be_had(net, many, tmp_path, options, message):
    answer = run("calibrate", net, "--images", many[0], "--out", tmp_path / "c.json", *options)
    assert answer.code in (1, 2)
    assert message in answer.err
    assert not list(tmp_path.iterdir())
