"""Scorer graphs on ONNX Runtime's GPU providers: masks made in the graph, none of our kernels.

What the kernels are to be compared with on a GPU, and a way that needs no compiler.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from c2i_fast.engines.onnxruntime import first_line
from c2i_fast.engines.onnxruntime_providers import CUDA, TENSORRT, open_on
from c2i_fast.errors import EngineError
from c2i_fast.kernels.sources import cache_folder
from c2i_fast.types import EngineConfig, Feeds, Floats

# A TensorRT engine is built for one set of shapes; scoring uses two: the clean passes and all others.
SHAPES_KEPT = 4


class OnnxRuntimeCudaSession:
    """An ONNX graph on the CUDA provider, arrays in and arrays out.

    Raises:
        EngineError: The provider is not there, or refuses the graph.
    """

    def __init__(self, graph: bytes | Path, config: EngineConfig) -> None:
        self.config = config
        self._session = open_on(graph, CUDA, _cuda_options())

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name."""
        return _run(self._session, feeds)


class OnnxRuntimeTensorRtSession:
    """An ONNX graph on the TensorRT provider, an engine for each set of shapes.

    With dynamic shapes the provider would build again whenever one leaves the range it has seen, and hold memory for
    all of them at their largest at once. Engines are kept in the user's cache, but for graphs too large for a message,
    whose weights lie beside them. TF32 is left out of it as everywhere here, by the variable that all of
    NVIDIA's libraries read when they are loaded; the provider has no option of its own.

    Raises:
        EngineError: The provider is not there, or refuses the graph.
    """

    def __init__(self, graph: bytes | Path, config: EngineConfig) -> None:
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
        self.config, self._graph = config, graph
        self._dimensions = _dimensions(graph)
        self._sessions: dict[tuple[tuple[str, int], ...], Any] = {}
        # The provider tells engines apart by the graph alone: other weights must have another folder.
        home = cache_folder().parent / "onnxruntime-tensorrt"
        self._folder = home / hashlib.sha256(graph).hexdigest()[:16] if isinstance(graph, bytes) else None

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name; the first call with new shapes builds, which takes minutes."""
        sizes = {
            dimension: size
            for name, array in feeds.items()
            for dimension, size in zip(self._dimensions.get(name, ()), array.shape, strict=False)
            if dimension
        }
        key = tuple(sorted(sizes.items()))
        session = self._sessions.pop(key, None) or self._open(sizes)
        self._sessions[key] = session  # the last used last
        if len(self._sessions) > SHAPES_KEPT:
            del self._sessions[next(iter(self._sessions))]
        return _run(session, feeds)

    def _open(self, sizes: dict[str, int]) -> Any:
        options = {"device_id": "0"}
        if self._folder is not None:
            shapes = "-".join(f"{name}{size}" for name, size in sorted(sizes.items()))
            options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(self._folder / shapes)}
            options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(self._folder)}
        return open_on(self._graph, TENSORRT, options, behind=_cuda_options(), sizes=sizes)


def _cuda_options() -> dict[str, str]:
    return {"device_id": "0", "use_tf32": "0"}


def _dimensions(graph: bytes | Path) -> dict[str, list[str]]:
    """Returns the names of each input's dimensions, empty where one is a number."""
    import onnx

    model = (
        onnx.load_model_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph, load_external_data=False)
    )
    return {value.name: [d.dim_param for d in value.type.tensor_type.shape.dim] for value in model.graph.input}


def _run(session: Any, feeds: Feeds) -> dict[str, Floats]:
    names = [output.name for output in session.get_outputs()]
    try:
        answers = session.run(names, dict(feeds))
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        raise EngineError(f"onnxruntime refused to run: {first_line(error)}") from error
    return dict(zip(names, answers, strict=True))
