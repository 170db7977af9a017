"""Binary and multi-label classifiers through every command."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image
from scipy.special import expit

from tests.cli.test_calibrate import network
from tests.cli.things import colour_net, done, pictures, rows, run, write_maps

COUNT = 40


def drawn(net, images, seed=0):
    """Labels from the network's own sigmoid at a third of its logits: it is three times too sure."""
    z = network(net, images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    rng = np.random.default_rng(seed)
    return z, (z / 3 + rng.logistic(size=z.shape) > 0).astype(np.int64)


@pytest.fixture(scope="module", params=[1, 3], ids=["binary", "labels"])
def made(request, tmp_path_factory):
    """A foreign network with logits about 0, images, labels and maps."""
    folder = tmp_path_factory.mktemp("sigmoid")
    model = colour_net(request.param, scale=60.0)
    images, _ = pictures(COUNT, seed=1)
    onnx.save(model, folder / "net.onnx")
    z = network(folder / "net.onnx", images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255))
    bias = onnx.numpy_helper.from_array(-z.mean(axis=0).astype(np.float32), "bias")
    model.graph.initializer.append(bias)
    model.graph.node[-1].output[0] = "uncentred"
    model.graph.node.append(onnx.helper.make_node("Add", ["uncentred", "bias"], ["scores"]))
    onnx.save(model, folder / "net.onnx")
    z, labels = drawn(folder / "net.onnx", images)
    labels[0], labels[1] = 0, 1
    ids = [f"i{number:02d}" for number in range(COUNT)]
    np.savez(folder / "images.npz", images=images, labels=labels, ids=np.array(ids))
    np.savez(folder / "logits.npz", logits=z, labels=labels)
    write_maps(folder / "maps.npz", ids, size=4)
    done(
        "calibrate", folder / "net.onnx", "--activation", "sigmoid", "--images", folder / "images.npz",
        "--method", "platt", "--out", folder / "cal.json",
    )  # fmt: skip
    done(
        "export", folder / "net.onnx", "--activation", "sigmoid", "--calibrator", folder / "cal.json",
        "--out", folder / "fused.onnx", "--scorer",
    )  # fmt: skip
    return folder, z, labels


def test_calibrate_from_images_and_from_logits_agree(made, tmp_path):
    folder, z, _labels = made
    out = ("--method", "platt", "--out", tmp_path / "a.json", "--json")
    whole = done(
        "calibrate", folder / "net.onnx", "--activation", "sigmoid", "--images", folder / "images.npz", *out
    ).json
    fast = done("calibrate", "--logits", folder / "logits.npz", "--activation", "sigmoid", *out, "--force").json
    for side in ("before", "after"):
        assert whole[side] == pytest.approx(fast[side], rel=1e-4)
        assert set(whole[side]) >= {"nll", "ece", "brier", "accuracy", "ece_worst", "exact_match"}
    assert whole["activation"] == fast["activation"] == "sigmoid"
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["meta"]["activation"] == "sigmoid"
    assert stored["classes"] == z.shape[1]


def test_auto_measures_and_diagram(made, tmp_path):
    folder, _, _ = made
    answer = done(
        "calibrate", "--logits", folder / "logits.npz", "--activation", "sigmoid", "--method", "auto", "--measure",
        "all", "--out", tmp_path / "a.json", "--diagram", tmp_path / "d.svg",
    )  # fmt: skip
    for words in ("binary NLL, mean over labels", "ECE of the worst label", "all labels right at 0.5", "ece-debiased"):
        assert words in answer.out
    assert all((tmp_path / name).read_text().count("<svg") == 1 for name in ("d.svg", "d-raw.svg"))


def test_the_fused_file_is_the_sigmoid_of_the_map(made):
    folder, z, _ = made
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "fused.onnx", providers=["CPUExecutionProvider"])
    images, _ = pictures(COUNT, seed=1)
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    logits, p = session.run(["logits", "probabilities"], {"pixels": pixels})
    learnt = json.loads((folder / "cal.json").read_text())["parameters"]
    np.testing.assert_allclose(logits, z, atol=1e-4)
    np.testing.assert_allclose(p, expit(z * learnt["slopes"] + learnt["intercepts"]), atol=1e-5)


def scored(folder, out, *options):
    return run(
        "score", folder / "fused.onnx", "--images", folder / "images.npz", "--maps", f"ours={folder / 'maps.npz'}",
        "--set", "intervals=4", "--out", out, "--json", *options,
    )  # fmt: skip


def test_score_follows_each_label_and_rescore_reads_them_again(made, tmp_path):
    folder, z, labels = made
    refused = scored(folder, tmp_path / "run", "--target", "label")
    assert refused.code == 1
    assert "images have no label to follow, i00 among them" in refused.err
    assert not (tmp_path / "run").exists()
    answer = scored(folder, tmp_path / "run", "--target", "label", "--on-error", "skip", "--keep-logits")
    assert answer.code == 0, answer.err
    bare = {f"i{n:02d}" for n in np.flatnonzero(labels.sum(axis=1) == 0)}
    assert {name for name, _ in answer.json["skipped"]} == bare
    table = rows(tmp_path / "run")
    kept = [r for r in table if (r["metric"], r["readout"]) == ("deletion", "raw")]
    expected = [(f"i{n:02d}", k) for n in range(COUNT) for k in np.flatnonzero(labels[n])]
    assert [(r["image"], r["target"]) for r in kept] == expected
    learnt = json.loads((folder / "cal.json").read_text())["parameters"]
    for row in table:
        if row["metric"] == "deletion":
            k, number = row["target"], int(row["image"][1:])
            raw = row["readout"] == "raw"
            value = z[number, k] * (1 if raw else learnt["slopes"][k]) + (0 if raw else learnt["intercepts"][k])
            assert row["curve"][0] == pytest.approx(expit(value), abs=1e-4)
    by_image = [np.mean([r["value"] for r in kept if r["image"] == i]) for i in dict.fromkeys(i for i, _ in expected)]
    line = next(s for s in answer.json["scores"] if (s["metric"], s["readout"]) == ("deletion", "raw"))
    assert line["mean"] == pytest.approx(np.mean(by_image), rel=1e-12)
    assert line["n"] == len(by_image)
    again = done("rescore", tmp_path / "run", "--calibrator", folder / "cal.json", "--json").json
    assert again["scores"] == answer.json["scores"]


def test_a_run_of_labels_resumes_to_the_same_rows(made, tmp_path):
    folder, _, _ = made
    options = ("--target", "label", "--on-error", "skip", "--part-passes", "60")
    assert scored(folder, tmp_path / "whole", *options).code == 0
    assert scored(folder, tmp_path / "cut", *options).code == 0
    parts = sorted((tmp_path / "cut" / "scores").glob("part-*"))
    for part in parts[2:]:
        part.unlink()
    assert scored(folder, tmp_path / "cut", "--target", "label", "--on-error", "skip", "--resume").code == 0
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_bench_and_explain_take_such_heads(made, tmp_path):
    folder, _, labels = made
    answer = done(
        "explain", folder / "net.onnx", "--activation", "sigmoid", "--images", folder / "images.npz", "--limit", 2,
        "--method", "rise", "--masks", 40, "--grid", 3, "--out", tmp_path / "maps", "--json",
    )  # fmt: skip
    assert answer.json["methods"][0]["maps"] == 2
    assert np.ptp(np.load(tmp_path / "maps" / "rise" / "i00.npy")) > 0
    if labels.shape[1] > 1:
        refused = run(
            "explain", folder / "fused.onnx", "--images", folder / "images.npz", "--method", "center",
            "--target", "label", "--out", tmp_path / "other",
        )  # fmt: skip
        assert "needs one label an image" in refused.err


@pytest.mark.parametrize(
    ("command", "message", "code"),
    [
        ("export {net} --activation tanh --out {out}", "--activation must be one of softmax, sigmoid", 2),
        ("export {fused} --activation softmax --out {out}", "fused file with a sigmoid head", 2),
        ("calibrate {fused} --images {images} --method vector --out {cal}", "vector is for softmax heads", 1),
        ("calibrate {fused} --images {images} --measure ece-classwise --out {cal}", "is for softmax heads: every", 1),
        ("calibrate --logits {z} --activation sigmoid --method isotonic --out {cal}", "isotonic is for softmax", 1),
        ("calibrate --logits {z} --method platt --out {cal}", "platt is for sigmoid heads", 1),
        ("score {fused} --images {images} --maps {maps} --readout softmax --out {out}", "no read-out 'softmax'", 1),
    ],
)
def test_what_does_not_fit_the_head_is_refused_in_a_line(made, tmp_path, command, message, code):
    folder, _, _ = made
    names = {name: folder / f"{name}.onnx" for name in ("net", "fused")}
    names |= {"images": folder / "images.npz", "maps": folder / "maps.npz", "z": folder / "logits.npz"}
    names |= {"out": tmp_path / "out.onnx", "cal": tmp_path / "cal.json"}
    answer = run(*command.format(**names).split())
    assert (answer.code, message in answer.err) == (code, True), answer.err
    assert len(answer.err.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_a_softmax_of_one_output_is_refused_and_a_softmax_calibrator_too(made, tmp_path):
    folder, z, _ = made
    answer = run("export", folder / "net.onnx", "--calibrator", folder / "cal.json", "--out", tmp_path / "o.onnx")
    assert answer.code == 1
    one = "one output a label is --activation sigmoid"
    assert (one if z.shape[1] == 1 else "platt is for sigmoid heads") in answer.err


def test_a_csv_of_several_labels(made, tmp_path):
    folder, _, labels = made
    images, _ = pictures(COUNT, seed=1)
    lines = ["file,label"]
    for number, own in enumerate(labels[:6]):
        Image.fromarray(images[number]).save(tmp_path / f"{number}.png")
        cell = str(own[0]) if labels.shape[1] == 1 else ";".join(map(str, np.flatnonzero(own)))
        lines.append(f"{number}.png,{cell}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    command = ("calibrate", folder / "fused.onnx", "--method", "identity", "--json", "--fit-fraction", "0.5")
    a = done(*command, "--images", tmp_path / "list.csv", "--out", tmp_path / "a.json").json
    b = done(*command, "--images", folder / "images.npz", "--limit", 6, "--out", tmp_path / "b.json").json
    assert a["before"] == pytest.approx(b["before"], rel=1e-5)
