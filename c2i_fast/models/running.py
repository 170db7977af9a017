"""Running an ONNX graph while it is being loaded, to see what it answers before anything relies on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from c2i_fast.types import Floats, Preprocessing

if TYPE_CHECKING:
    import onnxruntime

Run = Callable[[Floats], NDArray[Any]]

PROTOBUF_LIMIT = 2**31 - 2**20  # a message holds two gigabytes; a little is left for the nodes


def have_onnxruntime() -> bool:
    """Returns whether graphs run by ONNX Runtime here, and not by ONNX's own slow reference."""
    return find_spec("onnxruntime") is not None


def opened(model: ir.Model) -> Run:
    """Returns a function from the graph's input (N, C, *space) to its first output, any shape.

    ONNX Runtime where it is installed, else ONNX's reference evaluator. Whatever they raise is passed on.
    """
    name = str(model.graph.inputs[0].name)
    if not have_onnxruntime():
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(ir.to_proto(model))
        return lambda images: np.asarray(evaluator.run(None, {name: images})[0])  # type: ignore[index]
    session = _session(model)
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _session(model: ir.Model) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised; its log would say them a second time
    providers = ["CPUExecutionProvider"]
    size = sum(value.const_value.nbytes for value in model.graph.initializers.values() if value.const_value is not None)
    if size < PROTOBUF_LIMIT:
        return onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=providers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path, external_data="model.data")
        return onnxruntime.InferenceSession(path, options, providers=providers)


def run_values(model: ir.Model, values: Sequence[ir.Value], images: Floats) -> list[NDArray[Any]]:
    """Returns what inner values of a graph are on some images (N, C, *space), in one run. Needs ONNX Runtime."""
    names = [str(value.name) for value in values]
    watched = model.clone()
    inner = {value.name: value for node in watched.graph for value in node.outputs}
    watched.graph.outputs[:] = [inner[name] for name in names]
    return list(_session(watched).run(names, {str(model.graph.inputs[0].name): images}))


def example_images(count: int, image: tuple[int, ...], preprocessing: Preprocessing) -> Floats:
    """Returns random images (count, C, *space) as the network is fed them: uniform pixels, normalised."""
    pixels = np.random.default_rng(0).random((count, *image), dtype=np.float32)
    mean, std = preprocessing.channel_stats(image[0])
    column = (-1,) + (1,) * (len(image) - 1)
    images = (pixels - mean.reshape(column)) / std.reshape(column)
    return np.ascontiguousarray(images[:, ::-1] if preprocessing.bgr else images, dtype=np.float32)


def difference(answers: NDArray[Any], expected: NDArray[Any]) -> float:
    """Returns max |answers − expected| / max |expected|; infinite where shapes differ or a number is not finite.

    Example:
        >>> difference(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        0.5
    """
    if answers.shape != expected.shape or not (np.isfinite(answers).all() and np.isfinite(expected).all()):
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(answers - expected).max(initial=0.0)) / (scale or 1.0)


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message that says anything, at most 200 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
