"""`export`: the written files run in plain ONNX Runtime and answer as the network and NumPy do."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import softmax

from tests.cli.things import colour_net, done, run

IMAGES = np.random.default_rng(5).random((5, 3, 16, 16), np.float32)


def answer(path, **feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def network(path, images):
    (logits,) = answer(path, image=images.astype(np.float32)).values()
    return logits


@pytest.fixture
def exported(net, tmp_path):
    def make(*options, model=net):
        out = tmp_path / "fused.onnx"
        return out, done("export", model, "--out", out, "--json", "--force", *options).json

    return make


def test_the_json_keeps_its_keys(exported, cal):
    out, content = exported("--calibrator", cal)
    assert set(content) >= {"path", "contract", "precision", "verify"}
    assert set(content["verify"]) == {"max_abs_dlogit", "max_abs_dprob", "top1_agreement", "batches"}
    assert content["path"] == str(out)
    assert content["precision"] == "fp32"
    assert content["verify"]["top1_agreement"] == 1
    assert len(content["verify"]["batches"]) > 1
    stored = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert json.loads(stored["c2i_fast.contract"]) == content["contract"]


def test_the_graph_is_the_network_with_its_calibrator(exported, net, cal):
    out, _ = exported("--calibrator", cal)
    temperature = json.loads(cal.read_text())["parameters"]["temperature"]
    given = answer(out, pixels=IMAGES)
    np.testing.assert_allclose(given["logits"], network(net, IMAGES), rtol=1e-6)
    np.testing.assert_allclose(given["probabilities"], softmax(given["logits"] / temperature, axis=1), atol=1e-6)
    assert np.abs(given["probabilities"] - softmax(given["logits"], axis=1)).max() > 0.05


def test_without_a_calibrator_the_probabilities_are_raw(exported):
    given = answer(exported()[0], pixels=IMAGES)
    np.testing.assert_allclose(given["probabilities"], softmax(given["logits"], axis=1), atol=1e-6)


def test_any_batch_runs(exported):
    out, _ = exported()
    whole = answer(out, pixels=IMAGES)["logits"]
    singles = [answer(out, pixels=IMAGES[i : i + 1])["logits"][0] for i in range(len(IMAGES))]
    np.testing.assert_allclose(whole, singles, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "feed"),
    [
        (("--mean", "0.1,0.2,0.3"), lambda x: x - np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1)),
        (("--std", "0.5"), lambda x: x / 0.5),
        (("--mean", "0.1,0.2,0.3", "--std", "0.2,0.3,0.4", "--bgr"), None),
        (("--bgr",), lambda x: x[:, ::-1]),
        (("--recipe", "torchvision-imagenet", "--size", "16"), None),
    ],
)
def test_preprocessing_is_inside(exported, net, options, feed):
    if feed is None and "--bgr" in options:
        mean, std = (np.array(v).reshape(3, 1, 1) for v in ([0.1, 0.2, 0.3], [0.2, 0.3, 0.4]))
        expected = ((IMAGES - mean) / std)[:, ::-1]
    elif feed is None:
        mean, std = (np.array(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        expected = (IMAGES - mean) / std
    else:
        expected = feed(IMAGES)
    given = answer(exported(*options)[0], pixels=IMAGES)["logits"]
    np.testing.assert_allclose(given, network(net, expected), rtol=1e-4, atol=1e-4)
    assert np.abs(given - network(net, IMAGES)).max() > 0.01


def test_leading_classes_are_dropped(exported, net):
    given = answer(exported("--drop-class", "1")[0], pixels=IMAGES)
    np.testing.assert_allclose(given["logits"], network(net, IMAGES)[:, 1:], rtol=1e-6)
    assert given["probabilities"].sum(axis=1) == pytest.approx(np.ones(5))


def test_probabilities_are_turned_back_into_logits(exported, tmp_path):
    onnx.save(colour_net(softmax=True, scale=10), tmp_path / "softmax.onnx")
    given = answer(exported("--outputs", "probabilities", model=tmp_path / "softmax.onnx")[0], pixels=IMAGES)
    shares = network(tmp_path / "softmax.onnx", IMAGES)
    np.testing.assert_allclose(given["logits"], np.log(shares), atol=1e-5)
    np.testing.assert_allclose(given["probabilities"], shares, atol=1e-6)


def test_the_output_that_is_named_is_followed(exported, tmp_path):
    onnx.save(colour_net(softmax=True, scale=10), tmp_path / "softmax.onnx")
    inner = answer(exported("--output", "scores", model=tmp_path / "softmax.onnx")[0], pixels=IMAGES)["logits"]
    np.testing.assert_allclose(softmax(inner, axis=1), network(tmp_path / "softmax.onnx", IMAGES), atol=1e-5)


def test_an_open_size_is_settled(exported, tmp_path):
    onnx.save(colour_net(space=("H", "W")), tmp_path / "open.onnx")
    _, content = exported("--size", "12,20", model=tmp_path / "open.onnx")
    assert content["contract"]["space"] == [12, 20]
    assert content["contract"]["preprocessing"]["size"] == [12, 20]


def test_the_crop_is_part_of_the_contract(exported):
    _, content = exported("--size", "16", "--crop", "0.8")
    assert content["contract"]["preprocessing"]["crop"] == 0.8


def test_a_fused_file_takes_another_calibrator(exported, fused, tmp_path, cal):
    content = json.loads(cal.read_text())
    content["parameters"]["temperature"] = 1.5
    (tmp_path / "other.json").write_text(json.dumps(content))
    out, _ = exported("--calibrator", tmp_path / "other.json", model=fused)
    given = answer(out, pixels=IMAGES)
    np.testing.assert_allclose(given["probabilities"], softmax(given["logits"] / 1.5, axis=1), atol=1e-6)


def test_the_scorer_graph_makes_its_masks_as_numpy_does(exported, cal, tmp_path):
    out, content = exported("--calibrator", cal, "--scorer", "--mean", "0.2", "--std", "0.5")
    scorer = tmp_path / "fused.scorer.onnx"
    assert content["scorer"] == str(scorer)
    rng = np.random.default_rng(0)
    start, end = rng.random((2, 2, 3, 16, 16), np.float32)
    step_map = rng.integers(0, 10, (2, 1, 16, 16)).astype(np.uint8)
    steps = np.array([[0, 4, 10], [1, 7, 9]], np.int32)
    masked = np.where(step_map[:, None] < steps[:, :, None, None, None], end[:, None], start[:, None])
    expected = answer(out, pixels=masked.reshape(6, 3, 16, 16))
    given = answer(scorer, start=start, end=end, step_map=step_map, steps=steps)
    for name, values in expected.items():
        np.testing.assert_allclose(given[name].reshape(6, -1), values, rtol=1e-5, atol=1e-6)
    assert np.ptp(given["probabilities"]) > 0.01, "the masks matter"


def test_the_seed_draws_random_weights(exported, tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "drawn.py").write_text(
        textwrap.dedent(
            """
            from torch import nn
            def net():
                return nn.Sequential(nn.Flatten(), nn.Linear(768, 3))
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    logits = {
        seed: answer(exported("--size", "16", "--seed", seed, model="drawn:net")[0], pixels=IMAGES)["logits"].copy()
        for seed in ("0", "1")
    }
    assert np.abs(logits["0"] - logits["1"]).max() > 0.01
    again = answer(exported("--size", "16", "--seed", "0", model="drawn:net")[0], pixels=IMAGES)["logits"]
    np.testing.assert_array_equal(again, logits["0"])


def test_weights_go_into_the_module(exported, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    (tmp_path / "loaded.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3))\n"
    )
    monkeypatch.chdir(tmp_path)
    weight, bias = torch.randn(3, 768), torch.randn(3)
    torch.save({"1.weight": weight, "1.bias": bias}, tmp_path / "w.pt")
    out, _ = exported("--size", "16", "--weights", tmp_path / "w.pt", model="loaded:net")
    expected = IMAGES.reshape(5, -1) @ weight.numpy().T + bias.numpy()
    np.testing.assert_allclose(answer(out, pixels=IMAGES)["logits"], expected, atol=1e-3)


def test_the_table_and_quiet(net, tmp_path):
    out = tmp_path / "deep" / "fused.onnx"
    given = done("export", net, "--out", out, "--quiet", "--scorer")
    assert given.err == ""
    for said in ("verified against the original", "raw logit", "top-1 agreement", str(out), "fused.scorer.onnx"):
        assert said in given.out
    assert sorted(path.name for path in out.parent.iterdir()) == ["fused.onnx", "fused.scorer.onnx"]


def test_existing_files_are_replaced_with_force_only(net, cal, tmp_path):
    out = tmp_path / "fused.onnx"
    done("export", net, "--out", out, "--quiet")
    first = out.read_bytes()
    assert run("export", net, "--calibrator", cal, "--out", out).code == 1
    (tmp_path / "fused.scorer.onnx").write_text("mine")
    assert run("export", net, "--out", tmp_path / "fused.onnx", "--scorer").code == 1
    shutil.copy(out, tmp_path / "alone.onnx")
    assert out.read_bytes() == first
    done("export", net, "--calibrator", cal, "--out", out, "--force", "--quiet")
    assert out.read_bytes() != first
    assert (tmp_path / "fused.scorer.onnx").read_text() == "mine"


def test_a_graph_that_fails_its_check_is_not_written(net, tmp_path, monkeypatch):
    from c2i_fast.export.verify import BOUNDS

    monkeypatch.setitem(BOUNDS, "fp32", replace(BOUNDS["fp32"], logit=-1.0))
    given = run("export", net, "--out", tmp_path / "fused.onnx", "--quiet")
    assert given.code == 1
    assert "nothing was written" in given.err
    assert list(tmp_path.iterdir()) == []


def test_a_scorer_that_fails_its_check_leaves_no_file_at_all(net, tmp_path, monkeypatch):
    from c2i_fast.errors import ContractError

    def fail(*arguments):
        raise ContractError("the scorer disagrees; nothing was written")

    monkeypatch.setattr("c2i_fast.export.classifier.verify_scorer", fail)
    given = run("export", net, "--out", tmp_path / "fused.onnx", "--scorer", "--quiet")
    assert given.code == 1
    assert list(tmp_path.iterdir()) == []
