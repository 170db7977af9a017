"""The families beside curves through `c2i_fast.score`, on a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast import Preprocessing, score
from c2i_fast.metrics import PRESETS
from tests import nets

PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.5))
RANDOM = ("faithfulness-correlation", "faithfulness-estimate", "mu-fidelity", "sensitivity-n")
MASK = ("average-drop", "average-gain", "increase-in-confidence")


@pytest.fixture(scope="module")
def rows():
    """A linear net over 3×16×16, and its own relevance (its slope × the distance from the mean colour) as a map."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(3, 768)) / 20
    net = nets.linear_net(matrix, np.zeros(3), 3, (16, 16), preprocessing=PREPROCESSING)
    images = rng.random((3, 3, 16, 16)).astype(np.float32)
    mean, std = (np.asarray(v, np.float64).reshape(3, 1, 1) for v in PREPROCESSING.channel_stats(3))
    maps = []
    for image in images:
        normalised = (image - mean) / std
        slope = matrix[np.argmax(matrix @ normalised.ravel())].reshape(3, 16, 16)
        maps.append((slope * normalised).sum(axis=0))
    found = score(
        net,
        images,
        {"own": np.array(maps), "flat": np.zeros((3, 16, 16))},
        metrics=(*RANDOM, *MASK, "infidelity"),
        overrides={"runs": "20"},
        engine="onnxruntime",
        threads=1,
    )
    logits = score(
        net, images, {"own": np.array(maps)}, metrics=RANDOM, readouts=("logit",), engine="onnxruntime", threads=1
    )
    return found, logits


def test_a_linear_nets_own_relevance_correlates_perfectly_with_its_logit(rows):
    """In float32, through the engine: the drop without a set is its relevance."""
    values = {(r.metric, r.image): r.value for r in rows[1].rows}
    assert len(values) == 12
    assert all(value == pytest.approx(1, abs=1e-3) for value in values.values())


def test_passes_are_shared_by_methods_and_counted(rows):
    found, _ = rows
    asked = {r.metric: r.passes for r in found.rows}
    assert asked == {
        "faithfulness-correlation": 21,
        "faithfulness-estimate": 257,
        "mu-fidelity": 21,
        "sensitivity-n": 8 + 160,
        "infidelity": 21,
        **dict.fromkeys(MASK, 2),
    }
    # the second method adds no pass: its sets are the same, and its mask of ones is the clean image
    distinct = 1 + 20 + 256 + 20 + 160 + 20 + 1
    assert found.run <= 3 * distinct < found.requested


def test_a_zero_map_says_so_in_every_row_and_means_stay_numbers(rows):
    for row in (r for r in rows[0].rows if r.method == "flat"):
        expected = "zero map: correlation undefined" if row.metric in RANDOM else None
        expected = {"infidelity": "zero map"}.get(row.metric, expected or "constant map")
        assert row.warnings == (expected,)
        assert np.isfinite(row.value)
        assert (row.value == 0) == (row.metric != "infidelity")


def test_values_are_within_their_bounds(rows):
    from c2i_fast.metrics import METRICS

    for row in rows[0].rows:
        low, high = METRICS[row.metric].bounds
        assert low <= row.value <= high


@pytest.mark.parametrize("preset", ["opticam", "torchcam", "xplique", "tomsett", "quantus-faithfulness", "c2i"])
def test_every_preset_with_a_family_scores(preset):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    family = {*RANDOM, *MASK, "infidelity"} & set(PRESETS[preset])
    assert family
    net = nets.conv_net(3, (16, 16), 4)
    images = np.random.default_rng(0).random((1, 3, 16, 16)).astype(np.float32)
    found = score(net, images, images[:, 0], metrics=sorted(family), preset=preset, engine="onnxruntime", threads=1)
    assert {row.metric for row in found.rows} == family
    assert {row.protocol for row in found.rows} == {preset}
