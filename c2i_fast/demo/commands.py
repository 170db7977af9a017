"""The command lines that do the demo's steps on its files; `--force` because the files are there already."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from c2i_fast.demo.train import PREPROCESSING

MODEL = "c2i_fast.demo.train:network"


def commands(out: Path, *, seed: int, methods: Sequence[str], masks: int) -> dict[str, str]:
    """Returns step → command for the steps that have one, in their order."""
    model = _model(out)
    seeded = ("--seed", seed) if seed else ()
    named = [part for method in methods for part in ("--method", method)]
    images = ("--images", out / "images.npz")
    return {
        "calibrate": _line(
            "calibrate", *model, "--images", out / "calibration.npz", "--out", out / "calibrator.json", *seeded
        ),
        "export": _line("export", *model, "--calibrator", out / "calibrator.json", "--out", out / "model.onnx"),
        "explain": _line("explain", *model, *images, *named, "--masks", masks, "--out", out / "maps", *seeded),
        "score": _line("score", out / "model.onnx", *images, "--maps", out / "maps", "--out", out / "run", *seeded),
    }


def _model(out: Path) -> tuple[object, ...]:
    """Returns the trained network as MODEL, with its weights and preprocessing."""
    assert PREPROCESSING.size is not None
    size = ",".join(map(str, PREPROCESSING.size))
    flags = ("--size", size, "--mean", PREPROCESSING.mean[0], "--std", PREPROCESSING.std[0])
    return (MODEL, "--weights", out / "network.safetensors", *flags)


def _line(*parts: object) -> str:
    return shlex.join(["c2i-fast", *map(str, parts), "--force"])
