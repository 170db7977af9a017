"""A classifier's graphs, opened by an engine."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from c2i_fast.engines import ENGINES, GPU_SESSIONS
from c2i_fast.engines.select import EngineChoice, choose_engine
from c2i_fast.errors import EngineError, UsageError
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.types import EngineConfig, GraphContract, Precision, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from c2i_fast.kernels.cuda import CudaDevice
    from c2i_fast.kernels.engine import DeviceEngine
    from c2i_fast.kernels.passes import CudaPasses
    from c2i_fast.models.classifier import Classifier

OpenedPasses: TypeAlias = "GraphPasses | CudaPasses"

# Protobuf refuses messages of 2 GiB; weights above this travel beside the graph in a file of their own.
INLINE_BYTES = 2**31 - 2**26


class GraphOpener:
    """Opens the classifier's `fused`, `select` and `blend` graphs with one engine; what `MaskedPasses` is built on.

    The calibrator stays out: scoring reads every read-out from raw logits, in float64.

    Raises:
        EngineError: fp16 or int8 is configured, and the classifier was not brought to it by `at_precision`.
    """

    def __init__(self, classifier: Classifier, config: EngineConfig) -> None:
        graph = config.engine != "torch"
        if graph and config.precision in ("fp16", "int8") and classifier.contract.precision != config.precision:
            raise EngineError(f"{classifier.name} is in {classifier.contract.precision}, not {config.precision}")
        self.classifier = classifier
        self.config = config
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def __call__(self, kind: str, step_type: str = "") -> Session:
        """Returns an opened graph; `step_type` is the scorer graph's step-map type."""
        if self.config.engine == "torch":
            graph: Any = self._torch_graph(kind)
        else:
            graph = self.serialised(onnx_graph(self.classifier, kind, step_type))
        sessions = GPU_SESSIONS if self.config.engine in GPU_SESSIONS else ENGINES
        return sessions[self.config.engine](graph, self.config)

    def _torch_graph(self, kind: str) -> Any:
        from c2i_fast.engines.torch import torch_graph

        assert self.classifier.module is not None  # choose_engine offers torch for torch models only
        return torch_graph(self.classifier.module, self.classifier.contract, kind, None)

    def serialised(self, model: ir.Model) -> bytes | Path:
        """Returns a graph as an engine takes it: bytes, or a file of this object's where it is too large for them."""
        import onnx_ir as ir

        if weight_bytes(model) < INLINE_BYTES:
            return bytes(ir.to_proto(model).SerializeToString())
        folder = tempfile.TemporaryDirectory(prefix="c2i-fast-")
        self._folders.append(folder)
        path = Path(folder.name) / "graph.onnx"
        ir.save(model, path, external_data="graph.onnx.data")
        return path


def open_passes(
    classifier: Classifier, config: EngineConfig, say: Callable[[str], None] = lambda line: None
) -> OpenedPasses:
    """Returns the masked passes of a configuration: masks in the graph on CPUs, by our kernels on GPUs.

    On a GPU the engines of `GPU_SESSIONS` make them in the graph as well.

    Raises:
        MissingDependencyError, EngineError: What the device needs is not there.
    """
    if config.device == "cpu" or config.engine in GPU_SESSIONS:
        return GraphPasses(GraphOpener(classifier, config), classifier.contract, config.batch_size)
    from c2i_fast.kernels.cuda import CudaDevice
    from c2i_fast.kernels.passes import CudaPasses

    device = CudaDevice()
    return CudaPasses(device, device_engine(classifier, config, device, say), classifier.contract, say)


def device_engine(
    classifier: Classifier, config: EngineConfig, device: CudaDevice, say: Callable[[str], None] = lambda line: None
) -> DeviceEngine:
    """Returns the classifier's network on a GPU, fed from its memory.

    Raises:
        MissingDependencyError, EngineError: The engine is not there, or refuses.
    """
    contract = classifier.contract
    if config.engine == "torch":
        from c2i_fast.engines.torch_cuda import TorchCudaEngine

        assert classifier.module is not None  # choose_engine offers torch for torch models only
        return TorchCudaEngine(classifier.module, contract, config, device)
    graph = GraphOpener(classifier, config).serialised(onnx_graph(classifier, "fused"))
    if config.engine == "onnxruntime":
        from c2i_fast.engines.onnxruntime_cuda import OnnxRuntimeCudaEngine

        return OnnxRuntimeCudaEngine(graph, contract, config, device)
    if config.engine == "tensorrt":
        from c2i_fast.engines.tensorrt import TensorRtEngine

        return TensorRtEngine.built(graph, contract, config, device, say)
    raise UsageError(f"{config.engine} does not run behind CUDA kernels; torch, onnxruntime and tensorrt do")


def engine_for(
    classifier: Classifier,
    engine: str = "auto",
    *,
    precision: Precision = "fp32",
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
) -> EngineChoice:
    """Returns the engine for this classifier, and why; see `choose_engine`. A file's own low precision is kept."""
    own = classifier.contract.precision
    precision = effective_precision(classifier.contract, precision)
    module = classifier.module
    if module is not None:
        weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    else:
        weights = weight_bytes(classifier.backbone())
    choice = choose_engine(
        engine,
        precision=precision,
        device=device,
        threads=threads,
        batch_size=batch_size,
        has_module=module is not None,
        passes_elements=classifier.contract.elements,
        weight_bytes=weights,
    )
    if own == "fp32":
        return choice
    return replace(choice, reason=f"{choice.reason}; the file is in {own}, which applies whatever --precision says")


def effective_precision(contract: GraphContract, asked: Precision) -> Precision:
    """Returns what is computed in: what is asked for, or what the file is in, where nothing else is asked for.

    Raises:
        UsageError: Another low precision is asked for: what was rounded once is not to be rounded otherwise.

    Example:
        >>> effective_precision(contract_of_an_int8_file, "fp32")  # doctest: +SKIP
        'int8'
    """
    own = contract.precision
    if own == "fp32" or asked in ("fp32", own):
        return asked if own == "fp32" else own
    raise UsageError(f"this file is in {own} and cannot be run in {asked}; give the fp32 model it was made from")


def onnx_graph(classifier: Classifier, kind: str, step_type: str = "uint8") -> ir.Model:
    """Returns the uncalibrated graph of that kind."""
    from c2i_fast.export.graphs import blend_graph, fused_graph, scorer_graph

    backbone, contract = classifier.backbone(), classifier.contract
    if kind == "select":
        return scorer_graph(backbone, contract, None, step_type)
    return (blend_graph if kind == "blend" else fused_graph)(backbone, contract, None)


def weight_bytes(model: ir.Model) -> int:
    """Returns the bytes of all initializers."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
