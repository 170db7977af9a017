"""Classifiers from programs saved by `torch.export.save`."""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from c2i_fast.errors import InputError
from c2i_fast.models.classifier import Classifier
from c2i_fast.models.geometry import settle
from c2i_fast.models.outputs import check_end
from c2i_fast.models.pt2_safety import refuse_code
from c2i_fast.models.running import first_line
from c2i_fast.models.torch_export import OPSET, exported
from c2i_fast.models.torch_models import ask, need_torch
from c2i_fast.types import Activation, GraphContract, Preprocessing

if TYPE_CHECKING:
    import torch


def from_pt2(
    path: Path, *, preprocessing: Preprocessing | None = None, activation: Activation = "softmax"
) -> Classifier:
    """Returns the classifier of an exported program. A batch fixed at export stays fixed, in `contract.batch`.

    Args:
        path: what `torch.export.save` wrote, after `module.eval()`.
        preprocessing: None is none at all; a size is only needed where the program leaves it open.
        activation: what makes the answers probabilities.

    Raises:
        InputError: not such a file, one that could run code on loading, or not one image input.
        ContractError: the answer to an image depends on the images beside it; or, from `backbone`, a failing export.

    Example:
        >>> from_pt2(Path("net.pt2")).contract.batch is None
        True
    """
    need_torch()
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    content, name = path.read_bytes(), str(path)
    program = _loaded(content, name)
    batch, channels, space = _declared(program, name)
    settled, image, notes = settle(name, channels, space, preprocessing)
    if batch is not None:
        notes += (f"the program runs at batches of {batch}, the last one padded; export it with a dynamic batch",)
    # Guards are checked by the contract; torch's own would refuse a batch of 1, which every program here answers.
    module = program.module(check_guards=False)
    classes, bounded = ask(module, image, settled, name, activation, batch)
    contract = GraphContract(
        channels=channels,
        space=image[1:],
        classes=classes,
        preprocessing=settled,
        activation=activation,
        opset=OPSET,
        source_sha256=hashlib.sha256(content).hexdigest(),
        batch=batch,
    )
    make = functools.cache(lambda: exported(program, image, classes + settled.drop_class, name, batch))
    if bounded and settled.outputs == "logits":
        check_end(make().graph.outputs[0], settled, name, activation)
    return Classifier(name=name, contract=contract, backbone=make, module=module, notes=notes)


def _loaded(content: bytes, name: str) -> torch.export.ExportedProgram:
    import torch

    refuse_code(content, name)
    try:
        return torch.export.load(io.BytesIO(content))  # the bytes that were looked at, not the file again
    except Exception as error:
        raise InputError(
            f"{name} cannot be loaded by torch {torch.__version__}: {first_line(error)}; "
            "save it again with torch.export.save"
        ) from error


def _declared(program: torch.export.ExportedProgram, name: str) -> tuple[int | None, int, tuple[int | None, ...]]:
    """Returns the batch, the channels and the space of the one input; None is a dynamic size."""
    import torch

    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise InputError(
            f"{name}: a classifier has one image input, this program has {len(names)}: {', '.join(map(str, names))}"
        )
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == names[0])
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.ndim not in (3, 4):
        raise InputError(f"{name}: the input must be float32 (N, C, H, W) or (N, C, T); export it so")
    batch, channels, *space = (size if isinstance(size, int) else None for size in value.shape)
    if channels is None:
        raise InputError(f"{name}: export it with a fixed number of channels")
    return batch, channels, tuple(space)
