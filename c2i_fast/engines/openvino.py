"""OpenVINO on the CPU, in fp32 or, by name, bf16 or int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.types import EngineConfig, Feeds, Floats

try:
    import openvino as ov
except ImportError as error:
    raise MissingDependencyError("openvino", "cpu") from error

# Named always: left alone, OpenVINO takes bf16 on a CPU that is fast at it, whatever the graph says.
# In an int8 graph the hint is about what lies outside of its Q/DQ pairs.
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
SHAPES_KEPT = 4


class OpenVinoSession:
    """An ONNX graph compiled by OpenVINO, once for each set of input shapes it meets (static shapes run faster).

    Raises:
        EngineError: The graph cannot be read or compiled, or the precision is not one of fp32, bf16 and int8.
    """

    def __init__(self, graph: bytes | Path, config: EngineConfig) -> None:
        if config.precision not in HINTS:
            raise EngineError(f"openvino runs fp32, bf16 and int8 here, not {config.precision}")
        self.config = config
        self._core = ov.Core()
        self._compiled: dict[tuple[tuple[str, tuple[int, ...]], ...], Any] = {}
        try:
            self._model = self._core.read_model(graph if isinstance(graph, bytes) else str(graph))
        except RuntimeError as error:
            raise EngineError(
                f"openvino {ov.__version__} cannot read the graph: {_gist(error)}; try --engine onnxruntime"
            ) from error
        # Taken now: compiling drops an Identity and gives its output the names of its input as well.
        self._outputs = [port.any_name for port in self._model.outputs]

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name; the first call with new shapes compiles."""
        shapes = tuple((name, array.shape) for name, array in feeds.items())
        if shapes not in self._compiled:
            if len(self._compiled) >= SHAPES_KEPT:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[shapes] = self._compile(dict(shapes))
        try:
            answers = self._compiled[shapes](dict(feeds), share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"openvino refused to run: {_gist(error)}") from error
        return dict(zip(self._outputs, answers.values(), strict=True))

    def _compile(self, shapes: dict[str, tuple[int, ...]]) -> Any:
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[self.config.precision],
        }
        if self.config.threads:
            options["INFERENCE_NUM_THREADS"] = self.config.threads
        model = self._model.clone()
        try:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            return self._core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            raise EngineError(
                f"openvino cannot compile the graph for {shapes}: {_gist(error)}; try --engine onnxruntime"
            ) from error


def _gist(error: Exception) -> str:
    return " ".join(str(error).split())[-300:]
