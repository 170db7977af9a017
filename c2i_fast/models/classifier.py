"""What a classifier is before any engine has seen it: a contract, a graph and, where it came from torch, a module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2i_fast.types import GraphContract

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

NORMALISED = "normalised"
NETWORK_OUTPUT = "network_output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A network as it was found, with all that is needed to fuse it; what `load_classifier` returns.

    Attributes:
        name: as the user wrote it.
        contract: `classes` is K, counted after `preprocessing.drop_class` leading classes are left out.
        backbone: returns the network alone as an ONNX graph: one input `normalised` float32 (N, C, *space), one output
            `network_output` float32 (N, K + drop_class), exactly what the network returns. Opset 13 or newer, without
            documentation, metadata or traces of where it was made; N is symbolic unless `contract.batch` fixes it.
            Made on the first call and kept: clone it before editing.
        module: the same map in torch, in eval mode, for gradients and the torch engine; None for ONNX files.
        notes: what a careful user should be told, a sentence each.
    """

    name: str
    contract: GraphContract
    backbone: Callable[[], ir.Model]
    module: torch.nn.Module | None = None
    notes: tuple[str, ...] = ()
