"""A classifier's graphs, opened by an engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2i_fast.engines import ENGINES
from c2i_fast.engines.select import EngineChoice, choose_engine
from c2i_fast.types import EngineConfig, Precision, Session

if TYPE_CHECKING:
    import onnx_ir as ir

    from c2i_fast.models.classifier import Classifier

# Protobuf refuses messages of 2 GiB; weights above this travel beside the graph in a file of their own.
INLINE_BYTES = 2**31 - 2**26


class GraphOpener:
    """Opens the classifier's `fused`, `select` and `blend` graphs with one engine; what `MaskedPasses` is built on.

    The calibrator stays out: scoring reads every read-out from raw logits, in float64.
    """

    def __init__(self, classifier: Classifier, config: EngineConfig) -> None:
        self.classifier = classifier
        self.config = config
        self._folders: list[tempfile.TemporaryDirectory[str]] = []

    def __call__(self, kind: str, step_type: str = "") -> Session:
        """Returns an opened graph; `step_type` is the scorer graph's step-map type."""
        if self.config.engine == "torch":
            graph: Any = self._torch_graph(kind)
        else:
            graph = self.serialised(onnx_graph(self.classifier, kind, step_type))
        return ENGINES[self.config.engine](graph, self.config)

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


def engine_for(
    classifier: Classifier,
    engine: str = "auto",
    *,
    precision: Precision = "fp32",
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
) -> EngineChoice:
    """Returns the engine for this classifier, and why; see `choose_engine`."""
    module = classifier.module
    if module is not None:
        weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    else:
        weights = weight_bytes(classifier.backbone())
    return choose_engine(
        engine,
        precision=precision,
        device=device,
        threads=threads,
        batch_size=batch_size,
        has_module=module is not None,
        passes_elements=classifier.contract.elements,
        weight_bytes=weights,
    )


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
