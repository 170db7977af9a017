"""Inputs that many commands share, made once; no test may change them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.cli.things import colour_net, done, pictures, write_folder, write_maps

COUNT = 12


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="session")
def net(made) -> Path:
    """A bare ONNX file, 3×16×16 → 3 classes."""
    onnx.save(colour_net(), made / "net.onnx")
    return made / "net.onnx"


@pytest.fixture(scope="session")
def folder(made) -> Path:
    """Pictures in a sub-folder per class."""
    return write_folder(made / "val", COUNT)


@pytest.fixture(scope="session")
def npz(made) -> Path:
    """The same pictures as an .npz; ids are the index."""
    images, labels = pictures(COUNT)
    np.savez(made / "val.npz", images=images, labels=labels, targets=(labels + 1) % 3)
    return made / "val.npz"


@pytest.fixture(scope="session")
def maps(made) -> Path:
    """Maps for the .npz, from elsewhere."""
    return write_maps(made / "noise.npz", [str(number) for number in range(COUNT)])


@pytest.fixture(scope="session")
def cal(made, net, npz) -> Path:
    """A fitted temperature."""
    done("calibrate", net, "--images", npz, "--out", made / "cal.json", "--quiet")
    return made / "cal.json"


@pytest.fixture(scope="session")
def fused(made, net, cal) -> Path:
    """The fused file, calibrator included."""
    done("export", net, "--calibrator", cal, "--out", made / "fused.onnx", "--quiet")
    return made / "fused.onnx"


@pytest.fixture(scope="session")
def kept(made, net, npz, maps) -> Path:
    """A run with logits, in several parts."""
    options = ("--controls", "--keep-logits", "--part-passes", "600", "--quiet")
    done("score", net, "--images", npz, "--maps", maps, *options, "--out", made / "kept")
    return made / "kept"
