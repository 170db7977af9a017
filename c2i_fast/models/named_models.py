"""The models that torchvision and timm know by name, with the preprocessing their published weights were made for."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.models.running import first_line
from c2i_fast.models.weights import load_weights
from c2i_fast.types import Preprocessing

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a library says about one of its models and the weights it publishes for it.

    Attributes:
        preprocessing: of the published weights.
        channels: C.
        class_names: of the published weights, where the library knows them.
        notes: where our preprocessing is not quite theirs.
    """

    preprocessing: Preprocessing
    channels: int = 3
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def check_weights_given(name: str, weights: Path | None, random_weights: bool, download: bool) -> None:
    """Raises `InputError` unless exactly one of the three says where a named model's weights come from."""
    if sum((weights is not None, random_weights, download)) != 1:
        raise InputError(
            f"{name} needs weights, and names never download by themselves: give exactly one of --weights FILE, "
            "--download or --random-weights"
        )


def describe(name: str) -> Card:
    """Returns what the library says about `torchvision:NAME` or `timm:NAME`, without building or fetching it.

    Raises:
        InputError: no classifier of that name.
        MissingDependencyError: without torch, torchvision or timm.

    Example:
        >>> describe("torchvision:resnet18").preprocessing.crop
        0.875
    """
    library, _, model = name.partition(":")
    _import("torch", "torch")
    return _torchvision_card(model) if library == "torchvision" else _timm_card(model)


def build(name: str, *, weights: Path | None = None, download: bool = False, seed: int = 0) -> torch.nn.Module:
    """Returns the network `torchvision:NAME` or `timm:NAME`; its weights are random unless said otherwise.

    Args:
        name: one that `describe` knows.
        weights: a local file.
        download: take the library's own weights, from the network where they are not cached.
        seed: of random weights; the global random state stays as it is.

    Raises:
        InputError: weights that do not fit, or a failing download.

    Example:
        >>> build("torchvision:resnet18").fc.out_features
        1000
    """
    import torch

    library, _, model = name.partition(":")
    builder = _build_torchvision if library == "torchvision" else _build_timm
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about initialisation and cache folders
        torch.manual_seed(seed)
        try:
            module = builder(model, download)
        except Exception as error:  # every hub and every proxy fails in its own way
            if not download:
                raise
            raise InputError(f"{name} could not be downloaded ({first_line(error)}); use --weights FILE") from error
    if weights is not None:
        load_weights(module, weights)
    return module


def _build_torchvision(name: str, download: bool) -> torch.nn.Module:
    # These two reorder the channel statistics inside, which others do not, and only with published weights unless told.
    options = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module: torch.nn.Module = import_torchvision().models.get_model(
        name, weights="DEFAULT" if download else None, **options
    )
    return module


def _build_timm(name: str, download: bool) -> torch.nn.Module:
    import_torchvision()  # timm imports it, and cannot mend it
    module: torch.nn.Module = _import("timm", "models").create_model(name, pretrained=download)
    return module


def _torchvision_card(name: str) -> Card:
    models = import_torchvision().models
    _check_name("torchvision", name, models.list_models(module=models))
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    side, resized = transforms.crop_size[0], transforms.resize_size[0]
    return Card(
        preprocessing=Preprocessing(
            size=(side, side), crop=side / resized, mean=tuple(transforms.mean), std=tuple(transforms.std)
        ),
        class_names=tuple(weights.meta["categories"]),
        notes=_resize_note(name, transforms.interpolation.value),
    )


def _timm_card(name: str) -> Card:
    import_torchvision()
    timm = _import("timm", "models")
    _check_name("timm", name, timm.list_models(), timm.is_model)
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    channels, *size = config["input_size"]
    return Card(
        preprocessing=Preprocessing(
            size=tuple(size),
            crop=None if config["crop_mode"] == "squash" else config["crop_pct"],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
        ),
        channels=channels,
        notes=_resize_note(name, config["interpolation"]),
    )


def _resize_note(name: str, interpolation: str) -> tuple[str, ...]:
    if interpolation == "bilinear":
        return ()
    return (f"{name}'s own weights were evaluated with {interpolation} resizing; images are resized bilinearly here",)


def _check_name(
    library: str, name: str, known: Iterable[str], is_known: Callable[[str], bool] = lambda name: False
) -> None:
    """Raises `InputError` for an unknown name; timm also knows names with a tag behind a dot."""
    names = list(known)
    if name in names or (":" not in name and "/" not in name and is_known(name)):
        return
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise InputError(f"{library} has no classifier {name!r} among its {len(names)}{hint}")


def _import(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(package, extra) from error


_declared: list[object] = []  # a torch Library's declarations live as long as it does


def import_torchvision() -> ModuleType:
    """Returns torchvision, also beside a CPU build of torch, where published wheels miss their compiled operators."""
    try:
        return _import("torchvision", "models")
    except RuntimeError as error:
        import torch

        if torch.version.cuda is not None or "torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)
    for module in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
        del sys.modules[module]
    return _import("torchvision", "models")
