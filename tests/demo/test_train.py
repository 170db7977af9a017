"""The network: reproducible, better than chance, and surer of itself than it may be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from c2i_fast.calibration.error import per_sample
from c2i_fast.demo.commands import MODEL
from c2i_fast.demo.pipeline import TRAIN
from c2i_fast.demo.tetromino import make_tetrominoes
from c2i_fast.demo.train import PREPROCESSING, WRONG_LABELS, _normalised, _with_errors, network, save_weights, train
from c2i_fast.errors import MissingDependencyError

torch = pytest.importorskip("torch", reason="the network is torch's")


def answers(module, data) -> np.ndarray:
    with torch.no_grad():
        return module(torch.from_numpy(_normalised(data))).numpy()


@pytest.fixture(scope="module")
def data():
    return make_tetrominoes(40, seed=0)


def test_grey_images_go_to_two_logits(data):
    assert answers(network().eval(), data).shape == (40, 2)


def test_mid_grey_is_fed_as_zero(data):
    normalised = _normalised(data)
    assert normalised.shape == (40, 1, 64, 64)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised, (np.moveaxis(data.images, -1, 1) / 255 - 0.5) / 0.25, atol=1e-5)


def test_a_share_of_the_labels_is_wrong(data):
    wrong = _with_errors(data, np.random.default_rng(0)) != data.labels
    assert wrong.sum() == round(WRONG_LABELS * 40)


def test_one_seed_makes_the_same_weights(data):
    first, again, other = (train(data, seed=seed, epochs=2).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_threads_and_random_numbers_of_the_caller_stay(data):
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    train(data, seed=0, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_it_is_returned_ready_to_answer(data):
    assert not train(data, seed=0, epochs=1).training


def test_the_weights_are_what_the_command_line_loads(data, tmp_path):
    from c2i_fast.models import load_classifier

    module = train(data, seed=0, epochs=1)
    save_weights(module, tmp_path / "network.safetensors")
    loaded = load_classifier(MODEL, preprocessing=PREPROCESSING, weights=tmp_path / "network.safetensors")
    assert (loaded.contract.classes, loaded.contract.channels, loaded.contract.space) == (2, 1, (64, 64))
    np.testing.assert_array_equal(answers(loaded.module, data), answers(module, data))


def test_gradcam_reads_the_last_convolution():
    from c2i_fast.attribution.layers import last_convolutional, trace

    layer = last_convolutional(trace(network(), torch.zeros(1, 1, 64, 64)))
    assert (layer.name, layer.shape) == ("features", (32, 8, 8))


@pytest.mark.parametrize("call", [network, lambda: train(make_tetrominoes(2, seed=0), seed=0)])
def test_without_torch_the_install_line_is_said(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"c2i-fast\[torch\]"):
        call()


@pytest.mark.slow
def test_it_learns_the_shapes_and_is_over_confident():
    data = make_tetrominoes(TRAIN + 600, seed=1)
    held_out = data.part(TRAIN, len(data))
    samples = per_sample(answers(train(data.part(0, TRAIN), seed=1), held_out), held_out.labels)
    assert samples.correct.mean() > 0.75
    assert samples.confidence.mean() > samples.correct.mean() + 0.02
