"""Signals (N, C, T) go through the whole chain as pictures do."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from scipy.special import softmax

from tests.cli.things import colour_net, done, rows

COUNT, CHANNELS, LENGTH = 24, 3, 40


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    place = tmp_path_factory.mktemp("signals")
    rng = np.random.default_rng(0)
    signals = rng.normal(0, 1, (COUNT, CHANNELS, LENGTH)).astype(np.float32)
    labels = np.arange(COUNT) % 3
    for signal, label in zip(signals, labels, strict=True):
        start = rng.integers(0, LENGTH - 10)
        signal[label, start : start + 10] += 4
    labels[::6] = (labels[::6] + 1) % 3
    np.savez(place / "signals.npz", images=signals, labels=labels)
    onnx.save(colour_net(space=(LENGTH,), scale=15), place / "net.onnx")
    net, source = place / "net.onnx", place / "signals.npz"
    units = ("--mean", "0.1,0,-0.1", "--std", "2")
    done("calibrate", net, *units, "--images", source, "--out", place / "cal.json", "--quiet")
    done(
        "export", net, *units, "--calibrator", place / "cal.json", "--scorer", "--out", place / "fused.onnx", "--quiet"
    )
    methods = ("--method", "rise", "--masks", "50", "--method", "random", "--method", "center", "--method", "sobel")
    made = done("explain", place / "fused.onnx", "--images", source, *methods, "--out", place / "maps", "--json")
    options = ("--maps", place / "maps", "--keep-logits", "--json")
    scored = done("score", place / "fused.onnx", "--images", source, *options, "--out", place / "run")
    return place, signals, made.json, scored.json


def test_maps_are_as_long_as_their_signals(chain):
    place, _, made, _ = chain
    assert [m["maps"] for m in made["methods"]] == [COUNT] * 4
    for path in (place / "maps").rglob("*.npy"):
        values = np.load(path)
        assert values.shape == (LENGTH,)
        assert np.isfinite(values).all()
        assert np.ptp(values) > 0


def test_the_contract_is_of_one_axis(chain):
    place, *_ = chain
    (entry,) = [e for e in onnx.load(place / "fused.onnx").metadata_props if e.key == "c2i_fast.contract"]
    contract = json.loads(entry.value)
    assert contract["channels"] == CHANNELS
    assert contract["space"] == [LENGTH]


def test_a_curve_is_its_definition(chain):
    place, signals, *_ = chain
    session = onnxruntime.InferenceSession(place / "fused.onnx", providers=["CPUExecutionProvider"])
    mean = np.array([0.1, 0, -0.1], np.float32)[:, None]
    found = [r for r in rows(place / "run") if (r["method"], r["metric"]) == ("rise", "deletion")]
    for number in range(3):
        saliency = np.load(place / "maps" / "rise" / f"{number}.npy")
        order = sorted(range(LENGTH), key=lambda t: (-saliency[t], t))
        masked = []
        for k in range(33):
            image = signals[number].copy()
            changed = order[: k * LENGTH // 32]
            image[:, changed] = np.broadcast_to(mean, image.shape)[:, changed]
            masked.append(image)
        logits, calibrated = session.run(["logits", "probabilities"], {"pixels": np.stack(masked)})
        target = logits[0].argmax()
        curves = {r["readout"]: r["curve"] for r in found if r["image"] == str(number)}
        np.testing.assert_allclose(curves["raw"], softmax(logits.astype(float), axis=1)[:, target], atol=1e-5)
        np.testing.assert_allclose(curves["calibrated"], calibrated[:, target], atol=1e-5)


def test_rise_is_better_than_chance(chain):
    *_, scored = chain
    gaps = {s["method"]: s["mean"] for s in scored["scores"] if (s["metric"], s["readout"]) == ("gap", "calibrated")}
    assert gaps["rise"] > gaps["random"]


def test_rescoring_works_on_signals_too(chain, tmp_path):
    place, *_ = chain
    answer = done("rescore", place / "run", "--calibrator", place / "cal.json", "--json", "--force")
    assert rows(place / "run", answer.json["prefix"]) == rows(place / "run")
