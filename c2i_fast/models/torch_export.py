"""From torch to ONNX: the exporter called once, quietly, and what it writes about the author taken out."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from c2i_fast.errors import ContractError, MissingDependencyError
from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.running import first_line

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

OPSET = 20


def exported(
    program: torch.nn.Module | torch.export.ExportedProgram,
    image: tuple[int, ...],
    outputs: int,
    name: str,
    batch: int | None = None,
) -> ir.Model:
    """Returns a backbone: what torch's exporter makes of a network, tidied, its outer names and shapes as promised.

    Args:
        program: a module in eval mode, exported with a dynamic batch; or a program, which has its own.
        image: (C, *space).
        outputs: K + drop_class.
        name: of the classifier, for messages.
        batch: the fixed N of a program that has one.

    Raises:
        MissingDependencyError: without onnxscript.
        ContractError: the export fails, or its batch is not the one expected.

    Example:
        >>> exported(net, (3, 32, 32), 10, "net").graph.outputs[0].name
        'network_output'
    """
    import torch

    if isinstance(program, torch.nn.Module):
        # Two example images: with one the exporter may take the 1 for a constant.
        model = _run_exporter(program, (torch.zeros(2, *image),), name, dynamic_shapes=({0: "N"},))
    else:
        model = _run_exporter(program, (), name)
    source, result = model.graph.inputs[0], model.graph.outputs[0]
    rows = source.shape[0] if source.shape is not None else None
    if isinstance(rows, int) != (batch is not None):
        raise ContractError(f"{name}: the export fixed the batch at {rows}; keep literal batch sizes out of forward")
    backbone = cut(model, str(source.name), str(result.name))
    declare(backbone, batch, image, outputs)
    return backbone


def _run_exporter(
    program: torch.nn.Module | torch.export.ExportedProgram,
    images: tuple[torch.Tensor, ...],
    name: str,
    **options: Any,
) -> ir.Model:
    import torch

    if find_spec("onnxscript") is None:
        raise MissingDependencyError("onnxscript", "torch")
    try:
        with _silence():
            answer = torch.onnx.export(
                program, images, dynamo=True, opset_version=OPSET, external_data=False, verbose=False, **options
            )
    except Exception as error:  # the exporter passes on whatever tracing raised
        raise ContractError(
            f"{name} cannot be exported to ONNX: {first_line(_root(error))}; keep data-dependent branches out of "
            "forward, or give an ONNX file"
        ) from error
    assert answer is not None  # only the old exporter returns nothing
    return answer.model


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Holds back what the exporter prints and logs: a failure is raised, the rest is for its developers."""
    sink = io.StringIO()
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield
    finally:
        logging.disable(before)


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ is not None else error
