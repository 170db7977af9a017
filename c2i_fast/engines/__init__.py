"""What runs a graph. One engine a file; `select.py` says which one and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from c2i_fast.registry import Registry
from c2i_fast.types import EngineConfig, Session

# An engine opens a graph: ONNX bytes or a path for the ONNX engines, an nn.Module for torch.
ENGINES: Registry[Callable[[Any, EngineConfig], Session]] = Registry("engine")
ENGINES.add_lazy(
    "onnxruntime", "c2i_fast.engines.onnxruntime:OnnxRuntimeSession", "ONNX Runtime, CPU, fp32, fp16 and int8"
)
ENGINES.add_lazy("openvino", "c2i_fast.engines.openvino:OpenVinoSession", "OpenVINO, CPU, fp32, bf16 and int8")
ENGINES.add_lazy("torch", "c2i_fast.engines.torch:TorchSession", "PyTorch, CPU, fp32: the reference for torch models")

# Sessions on a GPU, which run scorer graphs; engines behind our kernels are opened by `c2i_fast.export.open`.
GPU_SESSIONS: Registry[Callable[[Any, EngineConfig], Session]] = Registry("engine")
GPU_SESSIONS.add_lazy(
    "onnxruntime-scorer",
    "c2i_fast.engines.onnxruntime_scorer:OnnxRuntimeCudaSession",
    "ONNX Runtime's CUDA provider, masks made in the graph",
)
GPU_SESSIONS.add_lazy(
    "onnxruntime-tensorrt",
    "c2i_fast.engines.onnxruntime_scorer:OnnxRuntimeTensorRtSession",
    "ONNX Runtime's TensorRT provider, masks made in the graph",
)
