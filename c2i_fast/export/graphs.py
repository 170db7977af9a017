"""A classifier's backbone, dressed three ways: fused (images in), scorer (plans in), blend (soft masks in).

    pixels ─► normalise ─► [normalised] backbone [network_output] ─► logits ─► calibrator ─► probabilities

The two values in brackets keep their names in every graph, so a fused file can be taken apart again. Masks are made
after the normalisation of `start` and `end`, once for a plan and not once for a pass: a select commutes with any map
of single pixels, so the result is the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from c2i_fast.types import SIGMOID_MARGIN, GraphContract

if TYPE_CHECKING:
    from c2i_fast.calibration.interface import GraphCalibrator

CONTRACT_KEY = "c2i_fast.contract"
FRACTION = "perturbed_fraction"
NORMALISED, NETWORK_OUTPUT = "normalised", "network_output"
IR_VERSION = 10

Kind = Literal["fused", "select", "blend"]
STEP_TYPES = {"uint8": ir.DataType.UINT8, "uint16": ir.DataType.UINT16, "int32": ir.DataType.INT32}


class _Builder:
    """A tape with the few verbs these graphs need; every constant gets a name of its own."""

    def __init__(self, prefix: str) -> None:
        self.tape = Tape()
        self.prefix = prefix
        self._constants = 0

    def constant(self, value: NDArray[Any], label: str = "constant") -> ir.Value:
        self._constants += 1
        name = f"{self.prefix}/{label}_{self._constants}"
        return self.tape.initializer(ir.tensor(np.ascontiguousarray(value), name=name), name)

    def ints(self, *values: int) -> ir.Value:
        return self.constant(np.asarray(values, np.int64))

    def op(self, kind: str, *inputs: ir.Value, name: str | None = None, **attributes: Any) -> ir.Value:
        value = self.tape.op(kind, list(inputs), attributes or None)
        value.name = name
        return value


def _input(name: str, kind: ir.DataType, *shape: str | int | None) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(kind))


def _normalise(build: _Builder, pixels: ir.Value, contract: GraphContract, name: str | None = None) -> ir.Value:
    """(pixel − mean) / std, then BGR; an Identity where there is nothing to do, so that the named value exists."""
    prep, value = contract.preprocessing, pixels
    mean, std = prep.channel_stats(contract.channels)
    per_channel = (-1, *(1,) * len(contract.space))
    if mean.any():
        value = build.op("Sub", value, build.constant(mean.reshape(per_channel), "mean"))
    if (std != 1).any():
        value = build.op("Div", value, build.constant(std.reshape(per_channel), "std"))
    if prep.bgr:
        value = build.op("Gather", value, build.ints(*range(contract.channels)[::-1]), axis=1)
    return build.op("Identity", value, name=name) if name or value is pixels else value


def _head(
    build: _Builder,
    output: ir.Value,
    contract: GraphContract,
    calibrator: GraphCalibrator | None,
    fraction: ir.Value | None,
) -> tuple[ir.Value, ir.Value]:
    """Returns raw logits (N, K) and calibrated probabilities (N, K) of the network's output, in fp32.

    `fraction` is λ of each row, (N,), for a calibrator that needs it.
    """
    prep, value = contract.preprocessing, output
    if prep.drop_class:
        last = build.ints(np.iinfo(np.int64).max)
        value = build.op("Slice", value, build.ints(prep.drop_class), last, build.ints(1))
    if prep.outputs == "probabilities" and contract.activation == "sigmoid":
        ends = (SIGMOID_MARGIN, 1 - SIGMOID_MARGIN)
        value = build.op("Clip", value, *(build.constant(np.asarray(end, np.float32), "margin") for end in ends))
        absent = build.op("Sub", build.constant(np.asarray(1, np.float32), "one"), value)
        value = build.op("Sub", build.op("Log", value), build.op("Log", absent))
    elif prep.outputs == "probabilities":
        tiny = build.constant(np.asarray(np.finfo(np.float32).tiny, np.float32), "tiny")
        value = build.op("Log", build.op("Max", value, tiny))
    logits = build.op("Identity", value)
    calibrated = calibrator.to_graph(build.tape, logits, fraction) if calibrator else logits
    if contract.activation == "sigmoid":
        return logits, build.op("Sigmoid", calibrated)
    return logits, build.op("Softmax", calibrated, axis=-1)


def fused_graph(backbone: ir.Model, contract: GraphContract, calibrator: GraphCalibrator | None) -> ir.Model:
    """Returns the fused graph: `pixels` (N, C, *space) → `logits` (N, K) raw, `probabilities` (N, K) calibrated.

    A calibrator that depends on the perturbed fraction adds the input `perturbed_fraction` float32 (N,).
    """

    def prologue(build: _Builder) -> tuple[list[ir.Value], ir.Value]:
        pixels = _input("pixels", ir.DataType.FLOAT, contract.batch or "N", contract.channels, *contract.space)
        return [pixels], _normalise(build, pixels, contract, NORMALISED)

    return _dress(backbone, contract, calibrator, prologue, per_plan=None)


def scorer_graph(
    backbone: ir.Model, contract: GraphContract, calibrator: GraphCalibrator | None, step_type: str = "uint8"
) -> ir.Model:
    """Returns the scorer graph: `start`, `end`, `step_map`, `steps` (N, S) → `logits`, `probabilities` (N, S, K).

    Element p of image (i, j) shows `end` where step_map[i, p] < steps[i, j], else `start`. A calibrator that depends on
    the perturbed fraction adds the input `perturbed_fraction` float32 (N, S).
    """
    space, axes = contract.space, len(contract.space)

    def prologue(build: _Builder) -> tuple[list[ir.Value], ir.Value]:
        start, end = _ends(contract)
        step_map = _input("step_map", STEP_TYPES[step_type], "N", "M", *space)
        steps = _input("steps", ir.DataType.INT32, "N", "S")
        when = build.op("Cast", step_map, to=ir.DataType.FLOAT)
        if contract.preprocessing.bgr:  # the ends below are reversed already; a map of one channel stays as it is
            backwards = [build.ints(n) for n in (-1, np.iinfo(np.int64).min, 1, -1)]
            when = build.op("Slice", when, *backwards)
        when = build.op("Unsqueeze", when, build.ints(1))
        now = build.op("Cast", steps, to=ir.DataType.FLOAT)
        now = build.op("Unsqueeze", now, build.ints(*range(2, 3 + axes)))
        shown = [build.op("Unsqueeze", _normalise(build, v, contract), build.ints(1)) for v in (end, start)]
        masked = build.op("Where", build.op("Less", when, now), *shown)
        return [start, end, step_map, steps], _flatten(build, masked, contract)

    return _dress(backbone, contract, calibrator, prologue, per_plan="steps")


def blend_graph(backbone: ir.Model, contract: GraphContract, calibrator: GraphCalibrator | None) -> ir.Model:
    """Returns the graph of soft masks: `start`, `end`, `grids` (N, S, *g), `axis_d` (N, S, size_d, g_d) → (N, S, K).

    Image (i, j) is start·(1−m) + end·m with m the grid spread along each axis by its matrix.
    """
    space = contract.space

    def prologue(build: _Builder) -> tuple[list[ir.Value], ir.Value]:
        start, end = _ends(contract)
        grids = _input("grids", ir.DataType.FLOAT, "N", "S", *(f"G{d}" for d in range(len(space))))
        matrices = [_input(f"axis_{d}", ir.DataType.FLOAT, "N", "S", s, f"G{d}") for d, s in enumerate(space)]
        mask = build.op("Unsqueeze", _spread(build, grids, matrices), build.ints(2))
        low, high = _normalise(build, start, contract), _normalise(build, end, contract)
        change = build.op("Unsqueeze", build.op("Sub", high, low), build.ints(1))
        masked = build.op("Add", build.op("Unsqueeze", low, build.ints(1)), build.op("Mul", mask, change))
        return [start, end, grids, *matrices], _flatten(build, masked, contract)

    return _dress(backbone, contract, calibrator, prologue, per_plan="grids")


def _ends(contract: GraphContract) -> tuple[ir.Value, ir.Value]:
    shape = ("N", contract.channels, *contract.space)
    return _input("start", ir.DataType.FLOAT, *shape), _input("end", ir.DataType.FLOAT, *shape)


def _spread(build: _Builder, grids: ir.Value, matrices: list[ir.Value]) -> ir.Value:
    """(N, S, *g) → (N, S, *space): one matrix product for each axis."""
    if len(matrices) == 1:
        column = build.op("Unsqueeze", grids, build.ints(-1))
        return build.op("Squeeze", build.op("MatMul", matrices[0], column), build.ints(-1))
    rows = build.op("MatMul", matrices[0], grids)
    return build.op("MatMul", rows, build.op("Transpose", matrices[1], perm=[0, 1, 3, 2]))


def _flatten(build: _Builder, masked: ir.Value, contract: GraphContract) -> ir.Value:
    """(N, S, C, *space) → (N·S, C, *space), under the backbone's input name."""
    if None in contract.space:
        image = build.op("Slice", build.op("Shape", masked), build.ints(2), build.ints(np.iinfo(np.int64).max))
        shape = build.op("Concat", build.ints(-1), image, axis=0)
    else:
        shape = build.ints(-1, contract.channels, *(s for s in contract.space if s))
    return build.op("Reshape", masked, shape, name=NORMALISED)


def _dress(
    backbone: ir.Model,
    contract: GraphContract,
    calibrator: GraphCalibrator | None,
    prologue: Callable[[_Builder], tuple[list[ir.Value], ir.Value]],
    per_plan: str | None,
) -> ir.Model:
    """Returns prologue → backbone → head as one model; `per_plan` names the input whose (N, S) shapes the outputs."""
    graph = backbone.clone().graph
    build = _Builder("c2i_fast")
    inputs, normalised = prologue(build)
    before = list(build.tape.nodes)
    ir.convenience.replace_all_uses_with(graph.inputs[0], normalised)
    graph.inputs[0].name = None
    network_output = graph.outputs[0]
    shape = ("N", "S") if per_plan else (contract.batch or "N",)
    fraction = None
    if calibrator is not None and calibrator.needs_perturbed_fraction:
        fraction = _input(FRACTION, ir.DataType.FLOAT, *shape)
        inputs = [*inputs, fraction]
        fraction = build.op("Reshape", fraction, build.ints(-1)) if per_plan else fraction
    logits, probabilities = _head(build, network_output, contract, calibrator, fraction)
    after_count = len(before)
    if per_plan:
        logits, probabilities = _per_plan(build, inputs, per_plan, contract.classes, logits, probabilities)
    _name(build)
    outputs = [
        _output(v, n, *shape, contract.classes) for v, n in ((logits, "logits"), (probabilities, "probabilities"))
    ]
    body = list(graph)
    graph.remove(body)
    initializers = [*graph.initializers.values(), *build.tape.initializers]
    graph.initializers.clear()
    fused = ir.Graph(
        inputs,
        outputs,
        nodes=[*before, *body, *list(build.tape.nodes)[after_count:]],
        initializers=initializers,
        opset_imports={"": contract.opset, **graph.opset_imports},
        name="c2i_fast",
    )
    return ir.Model(fused, ir_version=max(backbone.ir_version, IR_VERSION), producer_name="c2i-fast")


def _name(build: _Builder) -> None:
    """Names every new node and value: left to onnx_ir they are called as torch's exporter calls the backbone's."""
    for number, node in enumerate(build.tape.nodes):
        node.name = f"{build.prefix}/{node.op_type}_{number}"
        for value in node.outputs:
            value.name = value.name or f"{node.name}_output"


def _per_plan(
    build: _Builder, inputs: list[ir.Value], name: str, classes: int, *flat: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """(N·S, K) → (N, S, K)."""
    source = next(v for v in inputs if v.name == name)
    leading = build.op("Shape", source)
    shape = build.op("Concat", build.op("Slice", leading, build.ints(0), build.ints(2)), build.ints(classes), axis=0)
    logits, probabilities = (build.op("Reshape", value, shape) for value in flat)
    return logits, probabilities


def _output(value: ir.Value, name: str, *shape: str | int) -> ir.Value:
    value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(ir.DataType.FLOAT)
    return value
