"""Features of a named layer through any engine, without torch: the network cut at a value of its graph.

A cut network is a classifier like any other, whose "logits" are the layer's values. So masked passes on every device
give features of masked images, and nothing else had to learn of layers.

    normalised ─► network … [layer] ─► (tokens to channels) ─► (mean over the grid) ─► flatten ─► network_output
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from c2i_fast.errors import EngineError, InputError
from c2i_fast.export.open import open_passes
from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.classifier import NETWORK_OUTPUT, NORMALISED, Classifier
from c2i_fast.models.running import have_onnxruntime, run_values
from c2i_fast.types import Doubles, EngineConfig, Tap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What reads (N, C, *space) by definition, whatever came before.
_SPATIAL = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization", "InstanceNormalization", "LRN"}
# What may leave the layout (N, C, *space); all else between two tensors of one rank keeps it.
_BREAKING = {"MatMul", "Gemm", "Reshape", "Transpose", "Flatten", "Softmax", "Einsum", "Gather", "Attention", "Expand"}
_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
_EXTRA_TOKENS = 16  # class, distillation and register tokens that may stand before those of the patches


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxLayer:
    """A value of the graph that can be tapped.

    Attributes:
        name: of the value.
        node: the name of the node that makes it, which serves as well.
        op: what that node is.
        shape: (C, *grid) of one image, or (C,) of a vector.
        tokens: how many of its leading tokens belong to no patch; None where it is no sequence of tokens.
    """

    name: str
    node: str
    op: str
    shape: tuple[int, ...]
    tokens: int | None = None

    @property
    def has_grid(self) -> bool:
        """Whether it says where in the image something is."""
        return math.prod(self.shape[1:]) > 1


def onnx_layers(classifier: Classifier) -> list[OnnxLayer]:
    """Returns what can be tapped of a classifier's graph, in the order in which it is computed.

    Feature maps (C, *grid); tokens of a transformer, whose grid is that of the last feature map before them; vectors.

    Raises:
        InputError: The size of the images is open, so that no layer has a known one.

    Example:
        >>> [layer.name for layer in onnx_layers(load_classifier("net.onnx")) if layer.has_grid]  # doctest: +SKIP
        ['conv1', 'relu1']
    """
    contract = classifier.contract
    if None in contract.space:
        raise InputError("the layers' sizes depend on the images', which this model leaves open; say --size")
    model = _inferred(classifier)
    rank = 2 + len(contract.space)
    spatial = {model.graph.inputs[0]}
    layers: list[OnnxLayer] = []
    grid: tuple[int, ...] = ()
    for node in model.graph:
        value = node.outputs[0]
        shape = _shape_of(value)
        if shape is None or value.dtype not in _FLOATS or not any(v and _follows(v) for v in node.inputs):
            continue
        tokens = None
        if len(shape) == rank and _is_spatial(node, spatial):
            spatial.add(value)
            grid = shape[2:] if math.prod(shape[2:]) > 1 else grid
            one = shape[1:]
        elif len(shape) == 2:
            one = shape[1:]
        elif len(shape) == 3 and grid and 0 <= shape[1] - math.prod(grid) <= _EXTRA_TOKENS:
            tokens, one = shape[1] - math.prod(grid), (shape[2], *grid)
        else:
            continue
        layers.append(OnnxLayer(name=value.name or "", node=node.name or "", op=node.op_type, shape=one, tokens=tokens))
    return layers


def find_layer(layers: Sequence[OnnxLayer], name: str | None, *, grid: bool = True) -> OnnxLayer:
    """Returns the layer of that name; None takes the last one with a grid.

    Args:
        layers: from `onnx_layers`.
        name: of a value or of the node that makes it.
        grid: whether a vector will not do.

    Raises:
        InputError: There is none; the nearest names are offered.
    """
    usable = [layer for layer in layers if layer.has_grid or not grid]
    with_grid = [layer for layer in layers if layer.has_grid]
    if name is None:
        if not with_grid:
            raise InputError("no layer of this model has a grid to look at; use rise or occlusion")
        return with_grid[-1]
    for layer in layers:
        if name in (layer.name, layer.node):
            if layer not in usable:
                raise InputError(f"layer {name!r} gives {layer.shape} an image, expected a grid (channels, h, w)")
            return layer
    names = list(dict.fromkeys(n for layer in usable for n in (layer.name, layer.node) if n))
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or [layer.name for layer in usable[-5:]]
    raise InputError(f"the model's graph has no layer {name!r} of use here; near it: {', '.join(close)}")


def tapped(classifier: Classifier, layer: OnnxLayer, *, pooled: bool = False) -> Classifier:
    """Returns the network up to a layer as a classifier whose logits are that layer's values, one row an image.

    Args:
        classifier: what is cut; it stays as it is.
        layer: from `onnx_layers`.
        pooled: the mean over the grid, (C,), instead of all values, (C·∏grid,) in row order.
    """
    contract = classifier.contract
    model = cut(classifier.backbone(), NORMALISED, layer.name)
    graph, tape = model.graph, Tape()
    value = graph.outputs[0]
    value.name = f"{layer.name}_tapped"
    if value.dtype not in (None, ir.DataType.FLOAT):
        value = tape.op("Cast", [value], {"to": ir.DataType.FLOAT})
    if layer.tokens is not None:
        value = tape.op("Transpose", [value], {"perm": [0, 2, 1]})
        bounds = [layer.tokens, np.iinfo(np.int64).max, 2]
        ends = [tape.initializer(ir.tensor([n], ir.DataType.INT64), f"c2i_fast/tap_{i}") for i, n in enumerate(bounds)]
        value = tape.op("Slice", [value, *ends])
    pooling = pooled and layer.has_grid
    if pooling:
        value = tape.op("GlobalAveragePool", [value])
    value = tape.op("Flatten", [value], {"axis": 1})
    for number, node in enumerate(tape.nodes):
        node.name = f"c2i_fast/tap/{node.op_type}_{number}"
        node.outputs[0].name = f"{node.name}_output"
    value.name, value.type = NETWORK_OUTPUT, ir.TensorType(ir.DataType.FLOAT)
    graph.extend(list(tape.nodes))
    for constant in tape.initializers:
        graph.register_initializer(constant)
    graph.outputs[:] = [value]
    size = layer.shape[0] if pooling else math.prod(layer.shape)
    declare(model, contract.batch, (contract.channels, *contract.space), size)
    preprocessing = replace(contract.preprocessing, drop_class=0, outputs="logits")
    made = replace(
        contract, classes=size, preprocessing=preprocessing, class_names=None, calibrator=None, activation="softmax"
    )
    return Classifier(name=f"{classifier.name}:{layer.name}", contract=made, backbone=lambda: model)


class OnnxTaps:
    """Taps of one classifier, each opened as masked passes on first use and kept.

    Args:
        classifier: whose layers are read.
        config: the engine that runs the passes. torch runs no graph, so it cannot be cut.
        say: told what the engine has to say.
    """

    def __init__(
        self, classifier: Classifier, config: EngineConfig, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self._classifier, self._config, self._say = classifier, config, say
        self._layers: list[OnnxLayer] | None = None
        self._opened: dict[tuple[str, bool], Tap] = {}

    def features(self, layer: str | None) -> Tap:
        """Returns the tap of a layer with a grid; None: the last one that has it. Answers are (N, C·∏grid)."""
        return self._open(find_layer(self._all(), layer), pooled=False)

    def embedding(self, layer: str | None) -> Tap:
        """Returns the tap of a layer as one vector an image, (N, C): a grid is averaged. None: as `features`."""
        return self._open(find_layer(self._all(), layer, grid=False), pooled=True)

    def linear_head(self) -> tuple[str, Doubles]:
        """Returns the layer whose mean a linear head reads, and that head's weights (K, C); see `linear_head`."""
        from c2i_fast.export.linear_head import linear_head

        return linear_head(_inferred(self._classifier), self._classifier.contract.preprocessing.drop_class)

    def _all(self) -> list[OnnxLayer]:
        if self._layers is None:
            self._layers = onnx_layers(self._classifier)
        return self._layers

    def _open(self, layer: OnnxLayer, *, pooled: bool) -> Tap:
        if self._config.engine == "torch":
            raise EngineError("layers are read through an ONNX engine; give --engine onnxruntime or openvino")
        key = layer.name, pooled
        if key not in self._opened:
            passes = open_passes(tapped(self._classifier, layer, pooled=pooled), self._config, self._say)
            shape = layer.shape[:1] if pooled else layer.shape
            self._opened[key] = Tap(layer=layer.name, shape=shape, passes=passes)
        return self._opened[key]


def _inferred(classifier: Classifier) -> ir.Model:
    """Returns a copy of the backbone with the shape of every value that can be told, for one image (or its batch)."""
    from onnx_ir.passes.common import ShapeInferencePass

    model = classifier.backbone().clone()
    contract = classifier.contract
    declare(model, contract.batch or 1, (contract.channels, *contract.space))
    inferred: ir.Model = ShapeInferencePass(check_type=False)(model).model
    open_ones = [value for node in inferred.graph for value in node.outputs if value.name and _shape_of(value) is None]
    if open_ones and have_onnxruntime():  # shapes that the graph computes: seen by computing them
        image = np.zeros((contract.batch or 1, contract.channels, *(size or 1 for size in contract.space)), np.float32)
        for value, seen in zip(open_ones, run_values(inferred, open_ones, image), strict=True):
            if isinstance(seen, np.ndarray):  # and no sequence
                value.shape, value.dtype = ir.Shape(seen.shape), ir.DataType.from_numpy(seen.dtype)
    return inferred


def _shape_of(value: ir.Value) -> tuple[int, ...] | None:
    known = tuple(size for size in value.shape or () if isinstance(size, int))
    return None if value.shape is None or len(known) < len(value.shape) else known


def _follows(value: ir.Value) -> bool:
    """Whether a value is computed or fed, and no weight."""
    return not value.is_initializer()


def _is_spatial(node: ir.Node, spatial: set[ir.Value]) -> bool:
    if node.op_type in _SPATIAL:
        return True
    return node.op_type not in _BREAKING and any(value in spatial for value in node.inputs)
