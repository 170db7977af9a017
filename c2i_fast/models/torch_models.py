"""Classifiers from torch modules: run once to see that they are one, exported to ONNX when the graph is asked for."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.models.answers import count_classes, refuse_mixing, within_unit
from c2i_fast.models.classifier import Classifier
from c2i_fast.models.geometry import settle
from c2i_fast.models.outputs import check_end
from c2i_fast.models.running import example_images, first_line
from c2i_fast.models.torch_export import OPSET, exported
from c2i_fast.models.weights import weights_sha256
from c2i_fast.types import Activation, Floats, GraphContract, Preprocessing

if TYPE_CHECKING:
    import torch


def need_torch() -> None:
    """Raises `MissingDependencyError` with the install line where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("torch", "torch") from error


def from_module(
    module: torch.nn.Module,
    *,
    name: str,
    preprocessing: Preprocessing | None = None,
    channels: int | None = None,
    class_names: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    activation: Activation = "softmax",
) -> Classifier:
    """Returns the classifier a module computes; the module itself stays as it is.

    What is kept is a copy on the CPU, in eval mode, whose weights need no gradient.

    Args:
        module: from (N, C, *space) float32 to (N, K + drop_class) float32.
        name: as the user wrote it.
        preprocessing: must hold the size; None is none at all.
        channels: C; None asks the statistics, then the first convolution.
        class_names: of the K classes, where known.
        notes: passed on.
        activation: what makes the answers probabilities.

    Raises:
        InputError: no size, weights that are not float32, or an answer that is not (N, K) logits.
        ContractError: the answer to an image depends on the images beside it; or, from `backbone`, a failing export.

    Example:
        >>> from_module(net, name="net", preprocessing=Preprocessing(size=(32, 32))).contract.space
        (32, 32)
    """
    need_torch()
    if any(part.training for part in module.modules()):
        notes = (*notes, f"{name} came in train mode; a copy in eval mode is used, batch-norm statistics as they are")
    module = _own(module, name)
    size = preprocessing.size if preprocessing else None
    if size is None:
        raise InputError(f"{name}: a torch module does not say how large its images are; say it, e.g. --size 224")
    channels = channels or _channels(module, preprocessing)
    settled, image, more = settle(name, channels, size, preprocessing)
    classes, bounded = ask(module, image, settled, name, activation)
    contract = GraphContract(
        channels=channels,
        space=size,
        classes=classes,
        preprocessing=settled,
        activation=activation,
        class_names=class_names if class_names and len(class_names) == classes else None,
        opset=OPSET,
        source_sha256=weights_sha256(module),
    )
    make = functools.cache(lambda: exported(module, image, classes + settled.drop_class, name))
    if (
        bounded and settled.outputs == "logits"
    ):  # rare for logits, so the graph, which is made only once, is worth a look
        check_end(make().graph.outputs[0], settled, name, activation)
    return Classifier(name=name, contract=contract, backbone=make, module=module, notes=(*notes, *more))


def _own(module: torch.nn.Module, name: str) -> torch.nn.Module:
    import torch

    try:
        module = copy.deepcopy(module)
    except Exception as error:  # hooks and parametrisations may hold what cannot be copied
        if module.training:
            raise InputError(f"{name} cannot be copied ({first_line(error)}); call .eval() on it before") from error
    for key, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise InputError(f"{name}: weights must be float32, {key} is {tensor.dtype}; call .float() on the module")
    return module.cpu().eval().requires_grad_(False)


def _channels(module: torch.nn.Module, preprocessing: Preprocessing | None) -> int:
    """Returns C: as many as the statistics have, else what the first convolution takes, else 3 for pictures."""
    import torch

    given = preprocessing or Preprocessing()
    if (statistics := max(len(given.mean), len(given.std))) > 1:
        return statistics
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d)
    first = next((part for part in module.modules() if isinstance(part, kinds)), None)
    return first.in_channels if first is not None else 3


def ask(
    module: torch.nn.Module,
    image: tuple[int, ...],
    preprocessing: Preprocessing,
    name: str,
    activation: Activation,
    batch: int | None = None,
) -> tuple[int, bool]:
    """Returns K and whether all answers lie in [0, 1], after running the module on random images and checking it.

    Args:
        module: in eval mode.
        image: (C, *space).
        preprocessing: says how the images are normalised and what the answer is.
        name: of the classifier, for messages.
        activation: what makes the answers probabilities.
        batch: the only N the module takes; None tries 2 and 1.

    Raises:
        InputError, ContractError: as `from_module`.
    """
    images = example_images(batch or 2, image, preprocessing)
    together = _answer(module, images, name)
    classes = count_classes(together, len(images), preprocessing, name, activation)
    if batch is None:
        refuse_mixing(_answer(module, images[:1], name), together, name)
    return classes, within_unit(together)


def _answer(module: torch.nn.Module, images: Floats, name: str) -> Floats:
    import torch

    try:
        with torch.no_grad():
            answer = module(torch.from_numpy(images))
    except Exception as error:
        raise InputError(
            f"{name}: the module refused an input of shape {images.shape}: {first_line(error)}; "
            "mend --size, or the channels of --mean and --std"
        ) from error
    if not isinstance(answer, torch.Tensor):
        raise InputError(f"{name}: the module must return one tensor (N, K), got {_described(answer)}")
    return np.asarray(answer.numpy())


def _described(answer: object) -> str:
    kind = type(answer).__name__
    if hasattr(answer, "logits"):
        return f"{kind}; wrap it in a module whose forward returns .logits"
    if isinstance(answer, dict):
        return f"{kind} with {', '.join(map(str, answer))}; wrap it in a module whose forward returns the logits"
    length = f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
    return f"{kind}{length}; wrap it in a module whose forward returns the logits"
