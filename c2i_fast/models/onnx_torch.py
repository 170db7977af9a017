"""A torch module of an ONNX classifier, so that a foreign file has gradients: through onnx2torch, and proved equal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import onnx_ir as ir

from c2i_fast.errors import InputError
from c2i_fast.models.running import difference, example_images, first_line, opened

if TYPE_CHECKING:
    import torch

    from c2i_fast.models.classifier import Classifier

TOLERANCE = 1e-4
_IMAGES = 3
_SIDE = 64  # of an axis that the graph leaves open
_OPERATOR = re.compile(r"operation_type='(\w+)', version=(\d+)")


def differentiable_module(classifier: Classifier, asking: str) -> torch.nn.Module:
    """Returns the classifier's own module, or one made of its graph, in eval mode: normalised images → network output.

    Args:
        classifier: from any source.
        asking: which method wants gradients, for messages.

    Raises:
        InputError: onnx2torch is not installed, has no form of an operator, or answers otherwise than the graph by more
            than 1e-4 of its largest answer on random images.
    """
    if classifier.module is not None:
        return classifier.module
    try:
        from onnx2torch import convert
    except ImportError as error:
        raise InputError(
            f"{asking} needs a torch model (torchvision:, timm:, .pt2 or a callable), not an ONNX file; onnx2torch "
            "makes one of many such files: pip install 'c2i-fast[foreign]'; or use rise, or maps made elsewhere"
        ) from error
    graph = classifier.backbone()
    try:
        module: torch.nn.Module = convert(ir.to_proto(graph)).eval().requires_grad_(False)
    except Exception as error:  # whatever a converter meets: it says which operator only for those it does not know
        found = _OPERATOR.search(str(error))
        which = f"operator {found[1]} (opset {found[2]})" if found else f"this graph ({first_line(error)})"
        raise InputError(
            f"{asking}: {which} is not differentiable here, for onnx2torch cannot make torch of it; use rise, or the "
            "torch model that the file came from"
        ) from error
    _check(module, graph, classifier, asking)
    return module


def _check(module: torch.nn.Module, graph: ir.Model, classifier: Classifier, asking: str) -> None:
    import torch

    contract = classifier.contract
    image = tuple(size or _SIDE for size in (contract.channels, *contract.space))
    images = example_images(contract.batch or _IMAGES, image, contract.preprocessing)
    expected = opened(graph)(images)
    with torch.no_grad():
        answers = module(torch.from_numpy(images)).numpy()
    apart = difference(answers, expected)
    if not apart <= TOLERANCE:
        raise InputError(
            f"{asking}: the torch form of this ONNX file answers otherwise by {apart:.1e} of its largest answer (at "
            f"most {TOLERANCE:.0e} is accepted), so it is not the file's; use rise, or the original torch model"
        )
