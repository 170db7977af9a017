"""The models that torchvision and timm know by name, with the preprocessing their published weights were made for."""

from __future__ import annotations

import difflib
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.models.running import first_line
from c2i_fast.models.weights import load_weights
from c2i_fast.types import Preprocessing

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torchvision", "timm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A network built by name.

    Attributes:
        preprocessing: the one of the library's own weights, also where others were loaded.
        channels: C, where the library says so.
        class_names: of the library's own weights.
    """

    module: torch.nn.Module
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


def build(name: str, *, weights: Path | None = None, download: bool = False, seed: int = 0) -> Named:
    """Returns the network `torchvision:NAME` or `timm:NAME`; its weights are random unless said otherwise.

    Args:
        name: library and name, with a colon between.
        weights: a local file.
        download: take the library's own weights, from the network where they are not cached.
        seed: of random weights; the global random state stays as it is.

    Raises:
        InputError: no model of that name, weights that do not fit, or a failing download.
        MissingDependencyError: without torch, torchvision or timm.

    Example:
        >>> build("torchvision:resnet18").preprocessing.crop
        0.875
    """
    library, _, model = name.partition(":")
    builder: Callable[[str, bool], Named] = {"torchvision": _torchvision, "timm": _timm}[library]
    _import("torch", "torch")
    import torch

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about initialisation and cache folders
        torch.manual_seed(seed)
        named = builder(model, download)
    if weights is not None:
        load_weights(named.module, weights)
    return named


def _torchvision(name: str, download: bool) -> Named:
    library = import_torchvision()
    _check_name("torchvision", name, library.models.list_models(module=library.models))
    weights = library.models.get_model_weights(name).DEFAULT
    # These two reorder the channel statistics inside, and only with pretrained weights unless told to.
    options = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = _fetched(name, download, lambda: library.models.get_model(name, weights=weights, **options))
    if module is None:
        module = library.models.get_model(name, weights=None, **options)
    transforms = weights.transforms()
    side, resized = transforms.crop_size[0], transforms.resize_size[0]
    return Named(
        module=module,
        preprocessing=Preprocessing(
            size=(side, side), crop=side / resized, mean=tuple(transforms.mean), std=tuple(transforms.std)
        ),
        class_names=tuple(weights.meta["categories"]),
        notes=_resize_note(name, transforms.interpolation.value),
    )


def _timm(name: str, download: bool) -> Named:
    import_torchvision()  # timm imports it, and cannot mend it
    library = _import("timm", "models")
    _check_name("timm", name, library.list_models(), library.is_model)
    module = _fetched(name, download, lambda: library.create_model(name, pretrained=True))
    if module is None:
        module = library.create_model(name, pretrained=False)
    config = library.data.resolve_model_data_config(module)
    channels, *size = config["input_size"]
    return Named(
        module=module,
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


def _fetched(name: str, download: bool, build: Callable[[], torch.nn.Module]) -> torch.nn.Module | None:
    if not download:
        return None
    try:
        return build()
    except Exception as error:  # every hub and every proxy fails in its own way
        raise InputError(f"the weights of {name} could not be downloaded ({first_line(error)}); use --weights FILE") from error


def _import(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingDependencyError(package, extra) from error


_declared: list[Any] = []  # a torch Library's declarations live as long as it does


def import_torchvision() -> Any:
    """Returns torchvision, also beside a CPU build of torch, where published wheels miss their compiled operators."""
    try:
        return _import("torchvision", "models")
    except RuntimeError as error:
        import torch

        if torch.version.cuda is not None or "torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    for module in [key for key in sys.modules if key.partition(".")[0] == "torchvision"]:
        del sys.modules[module]
    return _import("torchvision", "models")
