"""Classifiers from ONNX files that somebody else wrote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from c2i_fast.errors import ContractError, InputError
from c2i_fast.models.answers import count_classes, refuse_mixing
from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.classifier import Classifier
from c2i_fast.models.dynamic_batch import freed
from c2i_fast.models.geometry import settle
from c2i_fast.models.opset import upgraded
from c2i_fast.models.outputs import choose_output, flatten_output
from c2i_fast.models.running import Run, example_images, first_line, have_onnxruntime, opened
from c2i_fast.types import Activation, Floats, GraphContract, Preprocessing


def from_onnx(
    model: ir.Model,
    *,
    name: str,
    sha256: str,
    preprocessing: Preprocessing | None = None,
    output: str | None = None,
    activation: Activation = "softmax",
) -> Classifier:
    """Returns the classifier a foreign ONNX graph holds, run once to see that it is one. The graph stays as it is.

    Graphs older than opset 13 are brought to it. A fixed batch is made dynamic where that is proved to change nothing,
    else `contract.batch` keeps it and a note says so.

    Args:
        model: the graph, as `read_onnx` returns it.
        name: as the user wrote it.
        sha256: of where it came from.
        preprocessing: None is none at all; a size is only needed where the graph leaves it open.
        output: the value that holds the logits; None takes the only output.
        activation: what makes them probabilities.

    Raises:
        InputError: not one float32 image input (N, C, *space), no single (N, K) output of logits, a contradicting size.
        ContractError: the graph cannot be run, brought to opset 13, or mixes the images of a batch.

    Example:
        >>> model, sha256 = read_onnx("resnet20.onnx")
        >>> from_onnx(model, name="resnet20.onnx", sha256=sha256).contract.classes
        10
    """
    declared = _declared(_only_input(model, name), name)
    settled, image, notes = settle(name, declared.channels, declared.space, preprocessing)
    value = choose_output(model, output, settled, name, activation)
    backbone = cut(model, str(declared.value.name), str(value.name))
    declare(backbone, declared.batch, image)
    images = example_images(max(3, declared.batch or 0), image, settled)
    backbone = upgraded(backbone, images[: declared.batch or 2], name)
    backbone, batch, batch_notes = _freed(backbone, declared.batch, images)
    classes = _classes(backbone, batch, images, settled, name, activation)
    declare(backbone, batch, image, classes + settled.drop_class)
    contract = GraphContract(
        channels=image[0],
        space=image[1:],
        classes=classes,
        preprocessing=settled,
        activation=activation,
        opset=backbone.opset_imports[""],
        source_sha256=sha256,
        batch=batch,
    )
    return Classifier(name=name, contract=contract, backbone=lambda: backbone, notes=notes + batch_notes)


@dataclass(frozen=True, slots=True)
class _Declared:
    """The input as the graph declares it; None is a dynamic size."""

    value: ir.Value
    batch: int | None
    channels: int
    space: tuple[int | None, ...]


def _only_input(model: ir.Model, name: str) -> ir.Value:
    real = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(real) == 1:
        return real[0]
    names = ", ".join(str(value.name) for value in real) or "none"
    raise InputError(
        f"{name}: a classifier has one image input, this graph has {len(real)}: {names}; export it with the image alone"
    )


def _declared(value: ir.Value, name: str) -> _Declared:
    if value.dtype != ir.DataType.FLOAT:
        raise InputError(
            f"{name}: input {value.name!r} must be float32, got {value.dtype}; export it in fp32 "
            "(--precision makes it smaller later)"
        )
    shape = tuple(_size(size) for size in value.shape) if value.shape is not None else ()
    if len(shape) not in (3, 4):
        raise InputError(f"{name}: input {value.name!r} must be (N, C, H, W) or (N, C, T), got {_text(value)}")
    if len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3):
        raise InputError(
            f"{name}: input {value.name!r} is {_text(value)}, channels last; export it channels first, (N, C, H, W)"
        )
    if shape[1] is None:
        raise InputError(f"{name}: input {value.name!r} is {_text(value)}; export it with a fixed number of channels")
    return _Declared(value=value, batch=shape[0], channels=shape[1], space=shape[2:])


def _size(size: object) -> int | None:
    """Some exporters write 0 or −1 for a dynamic size."""
    return size if isinstance(size, int) and size > 0 else None


def _text(value: ir.Value) -> str:
    if value.shape is None:
        return "no shape at all"
    return "(" + ", ".join(str(size) for size in value.shape) + ")"


def _freed(model: ir.Model, batch: int | None, images: Floats) -> tuple[ir.Model, int | None, tuple[str, ...]]:
    if batch is None:
        return model, None, ()
    free = freed(model, batch, images) if have_onnxruntime() else None
    if free is not None:
        return free, None, ()
    why = "no other could be proved to answer the same" if have_onnxruntime() else "onnxruntime is needed to free it"
    return model, batch, (f"the graph runs at batches of {batch}, the last one padded: {why}",)


def _classes(
    backbone: ir.Model,
    batch: int | None,
    images: Floats,
    preprocessing: Preprocessing,
    name: str,
    activation: Activation,
) -> int:
    run = _checked(backbone, name)
    count = batch or 2
    together = run(images[:count])
    if together.ndim > 2 and set(together.shape[2:]) == {1}:
        flatten_output(backbone)
        together = together.reshape(together.shape[:2])
    classes = count_classes(together, count, preprocessing, name, activation)
    if batch is None and have_onnxruntime():  # the reference mixes batches itself: BatchNormalization before opset 14
        refuse_mixing(run(images[:1]).reshape(1, -1), together, name)
    if batch is not None and batch > 1:  # what an image answers must not hang on its place in the batch
        last = run(np.roll(images[:count], 1, axis=0))[-1:].reshape(1, -1)
        refuse_mixing(last, np.roll(together, 1, axis=0)[-1:], name)
    return classes


def _checked(backbone: ir.Model, name: str) -> Run:
    """Returns a function that runs the graph; where it cannot be opened or run, that is said in one line."""
    try:
        graph = opened(backbone)
    except Exception as error:  # runtimes have error classes of their own, none of them public
        raise ContractError(f"{name} cannot be opened: {first_line(error)}") from error

    def run(images: Floats) -> Floats:
        try:
            return graph(images)
        except Exception as error:
            raise ContractError(f"{name} cannot be run on {images.shape}: {first_line(error)}") from error

    return run
