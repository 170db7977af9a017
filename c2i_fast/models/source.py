"""The MODEL grammar: from what a user wrote to a classifier. Read this first."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from c2i_fast.errors import C2IError, InputError, UsageError
from c2i_fast.models.classifier import Classifier
from c2i_fast.types import Activation, Preprocessing

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

GRAMMAR = "torchvision:NAME, timm:NAME, PATH.onnx, PATH.pt2 or package.module:callable"


def load_classifier(
    model: str | Path | torch.nn.Module | ir.Model | bytes,
    *,
    preprocessing: Preprocessing | None = None,
    weights: str | Path | None = None,
    random_weights: bool = False,
    download: bool = False,
    output: str | None = None,
    activation: Activation | None = None,
    seed: int = 0,
) -> Classifier:
    """Returns the classifier a MODEL means, run once on random images to see that it is one.

    Args:
        model: `torchvision:NAME`, `timm:NAME`, a path ending in .onnx (fused by us or foreign) or .pt2,
            `package.module:callable` returning a torch module; or a torch module, an ONNX graph or its bytes.
        preprocessing: from pictures to what the network is fed, whole; None takes the library's own for a named model,
            the contract's for a fused file, else none at all. A size is needed where the model leaves it open.
        weights: a local file for a named model or a callable's module.
        random_weights: for benchmarks, drawn from `seed`.
        download: lets a named model fetch its library's weights.
        output: of a foreign ONNX graph, the value that holds the logits.
        activation: `softmax` (None is the same) or `sigmoid`; a fused file carries its own.
        seed: of whatever a named model or a callable draws.

    Raises:
        InputError: the model cannot be found, built or used as a classifier of images (N, C, *space).
        UsageError: options that have nothing to do with this kind of model.
        ContractError: a graph that breaks what it promises.
        MissingDependencyError: with the install line.

    Example:
        >>> load_classifier("torchvision:resnet18", random_weights=True).contract.classes
        1000
    """
    if not isinstance(model, str | Path):
        _refuse(type(model).__name__, weights=weights, random_weights=random_weights, download=download)
        return _from_object(model, preprocessing, output, activation)
    name = str(model)
    if name.endswith(".onnx"):
        _refuse(name, weights=weights, random_weights=random_weights, download=download)
        return _from_graph(name, Path(name), preprocessing, output, activation)
    _refuse(name, output=output)
    head: Activation = activation or "softmax"
    file = None if weights is None else Path(weights)
    if name.startswith(("torchvision:", "timm:")):
        return _from_name(name, preprocessing, file, random_weights, download, seed, head)
    _refuse(name, download=download)
    if name.endswith(".pt2"):
        _refuse(name, weights=weights, random_weights=random_weights)
        return _from_program(name, preprocessing, head)
    module, colon, function = name.rpartition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise InputError(f"{name!r} is no model; expected {GRAMMAR}")
    _refuse(name, random_weights=random_weights)
    return _from_callable(name, preprocessing, file, seed, head)


def _refuse(name: str, **options: object) -> None:
    for option, value in options.items():
        if value:
            raise UsageError(f"--{option.replace('_', '-')} says nothing about {name}; leave it out")


def _from_object(
    model: torch.nn.Module | ir.Model | bytes,
    preprocessing: Preprocessing | None,
    output: str | None,
    activation: Activation | None,
) -> Classifier:
    kind = type(model).__name__
    if _is_a("torch.nn", "Module", model):
        from c2i_fast.models.torch_models import from_module

        _refuse(kind, output=output)
        return from_module(
            cast("torch.nn.Module", model), name=kind, preprocessing=preprocessing, activation=activation or "softmax"
        )
    if isinstance(model, bytes) or _is_a("onnx_ir", "Model", model):
        return _from_graph("the ONNX graph", cast("ir.Model | bytes", model), preprocessing, output, activation)
    raise InputError(f"a {kind} is no model; expected {GRAMMAR}, a torch module or an ONNX graph")


def _is_a(package: str, attribute: str, thing: object) -> bool:
    """Returns whether a thing is of a class whose package it must itself have imported."""
    kind = getattr(sys.modules.get(package), attribute, None)
    return kind is not None and isinstance(thing, kind)


def _from_graph(
    name: str,
    source: Path | bytes | ir.Model,
    preprocessing: Preprocessing | None,
    output: str | None,
    activation: Activation | None,
) -> Classifier:
    from c2i_fast.models.fused_models import from_fused, is_fused
    from c2i_fast.models.onnx_files import hash_of, read_onnx
    from c2i_fast.models.onnx_models import from_onnx

    graph, sha256 = read_onnx(source) if isinstance(source, Path | bytes) else (source, hash_of(source))
    if not is_fused(graph):
        return from_onnx(
            graph,
            name=name,
            sha256=sha256,
            preprocessing=preprocessing,
            output=output,
            activation=activation or "softmax",
        )
    if preprocessing is not None or output is not None:
        raise UsageError(f"{name} is a fused file, which carries its own preprocessing and output; leave the flags out")
    fused = from_fused(graph, name=name)
    if activation not in (None, fused.contract.activation):
        raise UsageError(f"{name} is a fused file with a {fused.contract.activation} head; leave --activation out")
    return fused


def _from_name(
    name: str,
    preprocessing: Preprocessing | None,
    weights: Path | None,
    random_weights: bool,
    download: bool,
    seed: int,
    activation: Activation,
) -> Classifier:
    from c2i_fast.models.named_models import build, check_weights_given, describe
    from c2i_fast.models.torch_models import from_module

    check_weights_given(name, weights, random_weights, download)
    card = describe(name)
    return from_module(
        build(name, weights=weights, download=download, seed=seed),
        name=name,
        preprocessing=preprocessing or card.preprocessing,
        channels=card.channels,
        class_names=card.class_names,
        notes=card.notes if preprocessing is None else (),
        activation=activation,
    )


def _from_program(name: str, preprocessing: Preprocessing | None, activation: Activation) -> Classifier:
    from c2i_fast.models.pt2_models import from_pt2

    return from_pt2(Path(name), preprocessing=preprocessing, activation=activation)


def _from_callable(
    name: str, preprocessing: Preprocessing | None, weights: Path | None, seed: int, activation: Activation
) -> Classifier:
    from c2i_fast.models.torch_models import from_module, need_torch
    from c2i_fast.models.weights import load_weights

    need_torch()
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _called(name)
    if not isinstance(module, torch.nn.Module):
        raise InputError(f"{name} must return a torch.nn.Module, got {type(module).__name__}")
    if weights is not None:
        load_weights(module, weights)
    return from_module(module, name=name, preprocessing=preprocessing, activation=activation)


def _called(name: str) -> object:
    location, _, function = name.rpartition(":")
    try:
        with _current_directory():
            return getattr(importlib.import_module(location), function)()
    except C2IError:
        raise
    except Exception as error:  # whatever the user's own code raises
        raise InputError(f"{name} could not be called: {type(error).__name__}: {error}") from error


@contextmanager
def _current_directory() -> Iterator[None]:
    """Lets the user's own modules be imported, as `python -m` would."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
