"""Classifiers from fused graphs that this package wrote: the contract is in the file."""

from __future__ import annotations

from math import isfinite

import onnx_ir as ir

from c2i_fast.errors import ContractError, InputError
from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.classifier import NETWORK_OUTPUT, NORMALISED, Classifier
from c2i_fast.types import GraphContract

KEY = "c2i_fast.contract"


def is_fused(model: ir.Model) -> bool:
    """Returns whether the graph carries a contract of ours."""
    return KEY in model.metadata_props


def from_fused(model: ir.Model, *, name: str) -> Classifier:
    """Returns the classifier in a fused graph: its contract, and as backbone what lies between the two named values.

    Args:
        model: the graph, as `read_onnx` returns it; it stays as it is.
        name: as the user wrote it.

    Raises:
        ContractError: the contract cannot be read, or the graph does not hold what it promises.
        InputError: a scorer graph.

    Example:
        >>> from_fused(read_onnx("fused.onnx")[0], name="fused.onnx").contract.calibrator["method"]
        'temperature'
    """
    contract = _contract(model, name)
    names = {value.name for node in model.graph for value in node.outputs}
    missing = [wanted for wanted in (NORMALISED, NETWORK_OUTPUT) if wanted not in names]
    if missing:
        raise ContractError(f"{name} carries a contract but has no value {' and '.join(missing)}; export it again")
    backbone = cut(model, NORMALISED, NETWORK_OUTPUT)
    dropped = contract.preprocessing.drop_class
    declare(backbone, contract.batch, (contract.channels, *contract.space), contract.classes + dropped)
    return Classifier(name=name, contract=contract, backbone=lambda: backbone)


def _contract(model: ir.Model, name: str) -> GraphContract:
    try:
        contract = GraphContract.from_json(model.metadata_props[KEY])
        _check(contract)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{name}: the contract in the file cannot be read ({error}); export it again") from error
    if contract.step_map_dtype is not None:
        raise InputError(f"{name} is a scorer graph, which takes step maps; give the fused graph it was made from")
    return contract


def _check(contract: GraphContract) -> None:
    """Raises a `TypeError` or `ValueError` where a value is not of its kind: the file may come from anyone."""
    prep = contract.preprocessing
    sizes = [
        contract.channels,
        contract.classes,
        *(size for size in (*contract.space, contract.batch) if size is not None),
    ]
    if not all(_whole(size, 1) for size in (*sizes, *(prep.size or ()))) or not _whole(prep.drop_class, 0):
        raise TypeError("sizes and counts must be whole numbers")
    numbers = (*prep.mean, *prep.std, 1.0 if prep.crop is None else prep.crop)
    if not all(isinstance(n, int | float) and isfinite(n) for n in numbers) or not isinstance(prep.bgr, bool):
        raise TypeError("preprocessing must be finite numbers")
    if contract.activation not in ("softmax", "sigmoid") or prep.outputs not in ("logits", "probabilities"):
        raise ValueError(f"unknown activation {contract.activation!r} or outputs {prep.outputs!r}")
    if contract.activation == "softmax" and contract.classes < 2:
        raise ValueError("a softmax of one class")
    if contract.precision not in ("fp32", "fp16", "int8"):
        raise ValueError(f"unknown precision {contract.precision!r}")
    if not all(isinstance(name, str) for name in contract.class_names or ()):
        raise TypeError("class names must be text")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31
