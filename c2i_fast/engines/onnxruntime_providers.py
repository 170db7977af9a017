"""ONNX Runtime on a GPU: sessions that run where they were asked to, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from c2i_fast.errors import EngineError, MissingDependencyError

try:
    import onnxruntime as ort
except ImportError as error:
    raise MissingDependencyError("onnxruntime", "gpu") from error

from c2i_fast.engines.onnxruntime import ONLY_ERRORS, first_line

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
KNOWN = {CUDA: "CUDA", TENSORRT: "TensorRT"}


def open_on(
    graph: bytes | Path,
    provider: str,
    options: Mapping[str, str],
    *,
    behind: Mapping[str, str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Any:
    """Returns an `InferenceSession` of a graph on a provider.

    Args:
        graph: ONNX bytes or a file.
        provider: `CUDAExecutionProvider` or `TensorrtExecutionProvider`.
        options: its options.
        behind: options of the CUDA provider, for what TensorRT leaves over.
        sizes: dynamic dimensions by name that are fixed.

    Raises:
        EngineError: The installed onnxruntime has no such provider, the provider does not load, or the graph is
            refused. ONNX Runtime itself would go on, silently, on the CPU.
    """
    name = KNOWN[provider]
    if provider not in ort.get_available_providers():
        raise EngineError(
            f"the installed onnxruntime {ort.__version__} has no {name}: remove it and run "
            "pip install 'c2i-fast[gpu]' (onnxruntime and onnxruntime-gpu overwrite each other)"
        )
    session_options = ort.SessionOptions()
    session_options.log_severity_level = ONLY_ERRORS
    for dimension, size in (sizes or {}).items():
        session_options.add_free_dimension_override_by_name(dimension, size)
    providers = [(provider, dict(options))] + ([(CUDA, dict(behind))] if behind is not None else [])
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        session = ort.InferenceSession(source, session_options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        raise EngineError(f"onnxruntime cannot open the graph on {name}: {first_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(f"onnxruntime's {name} provider did not load (its messages above say what is missing)")
    return session
