"""Weights of torch modules: reading them from files, and naming them by a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.errors import InputError, MissingDependencyError
from c2i_fast.models.running import first_line

if TYPE_CHECKING:
    import torch

SHOWN = 3  # names listed of each kind of mismatch
UNUSED = "num_batches_tracked"  # counts training steps, which converters of weights leave out


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Puts the weights of a file into a module; every name and shape must fit.

    A `state_dict` entry around them and a `module.` before every name, as training scripts leave them, are understood.

    Args:
        module: changed in place.
        path: `.safetensors`, or `.pt` or `.pth` holding tensors alone.

    Raises:
        InputError: no such file, another kind of file, or names and shapes that do not fit.

    Example:
        >>> load_weights(net, Path("resnet20.safetensors"))
    """
    found = _read(path)
    expected = module.state_dict()
    missing = [key for key in expected if key not in found and not key.endswith(UNUSED)]
    surplus = [key for key in found if key not in expected]
    differing = [key for key in expected if key in found and found[key].shape != expected[key].shape]
    if missing or surplus or differing:
        parts = (_count("missing", missing), _count("not expected", surplus), _count("of another shape", differing))
        raise InputError(
            f"{path} does not fit the network ({len(expected)} tensors): {'; '.join(filter(None, parts))}; "
            "give the weights of this very architecture"
        )
    module.load_state_dict(dict(found), strict=False)


def _count(what: str, keys: list[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > SHOWN else ""
    return f"{len(keys)} {what} ({', '.join(keys[:SHOWN])}{more})"


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        content: object = _read_safetensors(path)
    elif path.suffix in (".pt", ".pth"):
        content = _read_torch(path)
    else:
        raise InputError(f"weights must be a .safetensors, .pt or .pth file, got {path.name}")
    return _unwrapped(content, path)


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "torch") from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file: {first_line(error)}") from error


def _read_torch(path: Path) -> object:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise half a dozen kinds
        raise InputError(
            f"{path} does not hold tensors alone, and is not unpickled: {first_line(error)}; "
            "save the state_dict with safetensors or torch.save"
        ) from error


def _unwrapped(content: object, path: Path) -> Mapping[str, torch.Tensor]:
    import torch

    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path} must hold a state_dict, tensors by name; got {type(content).__name__}")
    if all(key.startswith("module.") for key in content):
        return {key.removeprefix("module."): value for key, value in content.items()}
    return content


def weights_sha256(module: torch.nn.Module) -> str:
    """Returns the SHA-256 of a module's class and of its weights: names, types, shapes and bytes."""
    digest = hashlib.sha256(type(module).__qualname__.encode())
    for key, tensor in sorted(module.state_dict().items()):
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
