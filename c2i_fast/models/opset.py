"""Bringing old ONNX graphs to opset 13, and proving that they still answer the same."""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir

from c2i_fast.errors import ContractError, InputError
from c2i_fast.models.backbone import strip
from c2i_fast.models.running import difference, first_line, opened
from c2i_fast.types import Floats

OLDEST, TARGET = 7, 13
TOLERANCE = 1e-5


def upgraded(model: ir.Model, images: Floats, name: str) -> ir.Model:
    """Returns the graph at opset 13 where it was older, else the graph itself.

    Args:
        model: one input, one output, opset 7 or newer in the default domain.
        images: what both versions are run on, (N, C, *space).
        name: of the classifier, for messages.

    Raises:
        InputError: older than opset 7, or no default domain at all.
        ContractError: an operator cannot be converted, or the converted graph answers something else.

    Example:
        >>> upgraded(model, images, "net.onnx").opset_imports[""]
        13
    """
    version = model.opset_imports.get("", 0)
    if version < OLDEST:
        raise InputError(f"{name}: opset {version} is too old, {OLDEST} is the oldest read; export it again at 20")
    if version >= TARGET:
        return model
    newer = _converted(model, name)
    try:
        gap = difference(opened(newer)(images), opened(model)(images))
    except Exception as error:
        raise ContractError(_failure(model, name, first_line(error))) from error
    if gap > TOLERANCE:
        raise ContractError(_failure(model, name, f"its answers differ by {gap:.1e} of their range"))
    return newer


def _converted(model: ir.Model, name: str) -> ir.Model:
    try:
        proto = onnx.version_converter.convert_version(ir.to_proto(model), TARGET)
    except Exception as error:  # the converter raises RuntimeError, ConvertError and bare Exceptions
        raise ContractError(_failure(model, name, first_line(error))) from error
    newer = ir.from_proto(proto)
    strip(newer.graph)
    return newer


def _failure(model: ir.Model, name: str, reason: str) -> str:
    reason = reason.rpartition("failed: ")[2]  # what stands before is the converter's own source line
    culprits = sorted({node.op_type for node in model.graph if _is_named(node, reason)})
    which = f"operator {', '.join(culprits)}" if culprits else "one of its operators"
    return (
        f"{name}: opset {model.opset_imports['']} could not be brought to {TARGET} because of {which}: {reason}; "
        f"export it again at {TARGET} or newer"
    )


def _is_named(node: ir.Node, reason: str) -> bool:
    """Returns whether the converter's words are about this operator, by its name or by one of its attributes."""
    words = rf"\b{node.op_type}\b", *(rf"\b[Aa]ttribute {attribute}\b" for attribute in node.attributes)
    return any(re.search(word, reason) for word in words)
