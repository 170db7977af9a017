"""Weights from files: what fits goes in, what does not is counted and named, and nothing is unpickled."""

from __future__ import annotations

import os

import pytest

from c2i_fast.errors import InputError
from c2i_fast.models.weights import load_weights, weights_sha256

torch = pytest.importorskip("torch", reason="torch is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
from tests.models import nets  # noqa: E402


def _other():
    net = nets.small()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1
    return net


def _save(state, path):
    (safetensors_torch.save_file if path.suffix == ".safetensors" else torch.save)(state, path)
    return path


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt", "net.pth"])
def test_weights_of_every_kind_of_file_go_in(tmp_path, name):
    source, net = _other(), nets.small()
    load_weights(net, _save(source.state_dict(), tmp_path / name))
    assert weights_sha256(net) == weights_sha256(source)


def test_what_training_scripts_put_around_weights_is_understood(tmp_path):
    source, net = _other(), nets.small()
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}
    load_weights(net, _save(wrapped, tmp_path / "checkpoint.pt"))
    assert weights_sha256(net) == weights_sha256(source)


def test_counters_of_training_steps_may_be_missing(tmp_path):
    source, net = _other(), nets.small()
    state = {key: value for key, value in source.state_dict().items() if not key.endswith("num_batches_tracked")}
    load_weights(net, _save(state, tmp_path / "net.pt"))
    assert weights_sha256(net) == weights_sha256(source)


def test_mismatches_are_counted_and_the_first_named(tmp_path):
    state = nets.small(classes=7).state_dict()
    for key in [key for key in state if key.startswith("norm.")]:
        state[f"batch_{key}"] = state.pop(key)
    net = nets.small()
    before = weights_sha256(net)
    with pytest.raises(InputError) as caught:
        load_weights(net, _save(state, tmp_path / "net.pt"))
    message = str(caught.value)
    assert "(9 tensors)" in message
    assert "4 missing (norm.weight, norm.bias, norm.running_mean, …)" in message
    assert "5 not expected (batch_norm.weight, batch_norm.bias, batch_norm.running_mean, …)" in message
    assert "2 of another shape (head.weight, head.bias)" in message
    assert weights_sha256(net) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.pt", None, r"there is no weights file .*missing\.pt"),
        ("net.bin", b"", r"must be a \.safetensors, \.pt or \.pth file, got net\.bin"),
        ("net.safetensors", b"not one", "is not a safetensors file"),
        ("net.pt", b"not one", "does not hold tensors alone"),
    ],
)
def test_files_that_hold_no_weights_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_weights(nets.small(), tmp_path / name)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.zeros(3)])
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    with pytest.raises(InputError, match="must hold a state_dict"):
        load_weights(nets.small(), _save(content, tmp_path / "net.pt"))


def test_a_pickle_is_not_run(tmp_path):
    marker = tmp_path / "marker"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    with pytest.raises(InputError, match="is not unpickled"):
        load_weights(nets.small(), _save({"conv.weight": Bomb()}, tmp_path / "net.pt"))
    assert not marker.exists()


def test_the_hash_tells_class_names_types_and_values_apart():
    hashes = {weights_sha256(nets.small()), weights_sha256(_other()), weights_sha256(nets.small(classes=6))}
    hashes |= {weights_sha256(nets.small().double()), weights_sha256(torch.nn.ModuleList(nets.small()))}
    assert len(hashes) == 5
