"""What a command is given in these tests: a network of three colours, pictures of 16×16, and how a command is run."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

CLASSES, SIDE = 3, 16
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What a command left behind: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as strict JSON: NaN and Infinity are no JSON."""

        def refuse(token: str) -> None:
            raise AssertionError(f"{token} in the JSON")

        return json.loads(self.out, parse_constant=refuse)


def run(*arguments: object) -> Answer:
    """Runs a command in this process. A bug's traceback comes through as the exception itself."""
    from c2i_fast.cli.app import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return Answer(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Answer:
    """Runs a command that must succeed."""
    answer = run(*arguments)
    assert answer.code == 0, answer.err
    return answer


def colour_net(
    classes: int = CLASSES,
    space: Sequence[int | str] = (SIDE, SIDE),
    *,
    channels: int = 3,
    softmax: bool = False,
    extra_input: bool = False,
    extra_output: bool = False,
    batch: int | str = "N",
    scale: float = 40.0,
) -> onnx.ModelProto:
    """Convolution → ReLU → mean → linear: class k likes channel k, and every channel a little of its own texture."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, channels, *(3,) * len(space))) * 0.01
    kernel[np.arange(channels), np.arange(channels)] += 0.2
    matrix = rng.normal(size=(8, classes)) * 0.02
    matrix[np.arange(min(channels, classes)), np.arange(min(channels, classes))] += 1
    arrays = {"kernel": kernel, "matrix": matrix * scale}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1] * 2 * len(space)),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, *space])]
    result = "scores"
    if softmax:
        nodes.append(helper.make_node("Softmax", [result], ["shares"], axis=1))
        result = "shares"
    if extra_input:
        inputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [batch, classes]))
        nodes.append(helper.make_node("Mul", [result, "mask"], ["masked"]))
        result = "masked"
    outputs = [result, "flat"] if extra_output else [result]
    graph = helper.make_graph(
        nodes,
        "colours",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, None]) for name in outputs],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a tinted square, uint8 (N, 16, 16, 3), and its colour (N,); a few are called by another's name."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 200, (count, SIDE, SIDE, 3))
    labels = np.arange(count) % CLASSES
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        top, left = rng.integers(0, SIDE - 6, 2)
        image[top : top + 6, left : left + 6, label] = 255
        if number % 5 == 4:
            labels[number] = (label + 1) % CLASSES
    return images.astype(np.uint8), labels


def write_folder(folder: Path, count: int, seed: int = 0, *, labelled: bool = True) -> Path:
    """Pictures as PNG files, in one sub-folder per class or in one folder."""
    for number, (image, label) in enumerate(zip(*pictures(count, seed), strict=True)):
        place = folder / str(label) if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03d}.png")
    return folder


def write_maps(path: Path, ids: Sequence[str], *, seed: int = 0, size: int = SIDE) -> Path:
    """Random maps of these ids, as an .npz."""
    np.savez(path, maps=np.random.default_rng(seed).random((len(ids), size, size), np.float32), ids=np.array(ids))
    return path


def rows(run_path: Path, prefix: str = "part") -> list[dict[str, Any]]:
    """Every row of a run, in order."""
    parts = sorted((run_path / "scores").glob(f"{prefix}-?????.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def means(answer: Answer) -> dict[tuple[str, str, str], float]:
    """(method, metric, read-out) → mean of a command's JSON."""
    return {(s["method"], s["metric"], s["readout"]): s["mean"] for s in answer.json["scores"]}
