"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.types import EngineConfig, Feeds, Floats

try:
    import onnxruntime as ort
except ImportError as error:
    raise MissingDependencyError("onnxruntime", "cpu") from error

ONLY_ERRORS = 3


class OnnxRuntimeSession:
    """An ONNX graph opened by ONNX Runtime; the same shapes and threads give the same bits.

    Raises:
        EngineError: The graph cannot be opened, or refuses its inputs.
    """

    def __init__(self, graph: bytes | Path, config: EngineConfig) -> None:
        self.config = config
        options = ort.SessionOptions()
        options.log_severity_level = ONLY_ERRORS
        if config.threads:
            options.intra_op_num_threads = config.threads
        source = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            raise EngineError(f"onnxruntime {ort.__version__} cannot open the graph: {first_line(error)}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name."""
        try:
            answers = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            raise EngineError(f"onnxruntime refused to run: {first_line(error)}") from error
        return dict(zip(self._outputs, answers, strict=True))


def first_line(error: Exception) -> str:
    """Returns what an error says first: onnxruntime's go on for pages."""
    return str(error).strip().splitlines()[0][:300]
