"""How a foreign classifier wants its images, from flags or a recipe file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from math import isfinite
from pathlib import Path
from typing import Any, cast, get_args

from c2i_fast.errors import InputError, UsageError
from c2i_fast.resources import resource
from c2i_fast.types import Activation, Preprocessing

ACTIVATIONS: tuple[str, ...] = get_args(Activation)

_ABOUT = ("name", "note")  # said to the reader of a recipe, not to the program
_HEAD = "activation"  # in a recipe too, but of the head and not of the preprocessing


def parse_size(text: str, rank: int = 2) -> tuple[int, ...]:
    """Returns the size in `224` (all `rank` axes alike) or `224,200` (H, W).

    Example:
        >>> parse_size("224"), parse_size("224,200"), parse_size("256", rank=1)
        ((224, 224), (224, 200), (256,))
    """
    numbers = _numbers("--size", text, int, "224 or 224,200 (height, width)")
    size = numbers * rank if len(numbers) == 1 else numbers
    if len(size) != rank or min(size) < 1:
        raise UsageError(f"--size must be one positive integer or {rank} of them (height, width), got {text!r}")
    return size


def parse_channels(text: str, option: str = "--mean") -> tuple[float, ...]:
    """Returns one number per channel, or one that serves all.

    Example:
        >>> parse_channels("0.485,0.456,0.406")
        (0.485, 0.456, 0.406)
    """
    return _numbers(option, text, float, "0.485,0.456,0.406 or one number for all channels")


def _numbers(option: str, text: str, kind: Callable[[str], Any], example: str) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} must look like {example}, got {text!r}") from error


def preprocessing_from_options(
    *,
    size: str | None = None,
    crop: float | None = None,
    mean: str | None = None,
    std: str | None = None,
    bgr: bool | None = None,
    drop_class: int | None = None,
    outputs: str | None = None,
    recipe: str | Path | None = None,
    base: Callable[[], Preprocessing] | None = None,
) -> Preprocessing | None:
    """Returns what the flags say, over what the recipe says; None when nothing was given.

    Every argument is the flag of its name, as text where the flag takes a list; None means it was not given. `recipe`
    is the path of a TOML file, or the name of a shipped recipe. `base` is what the flags change where no recipe is
    given: the library's own preprocessing of a named model.
    """
    flags = {
        "size": None if size is None else parse_size(size),
        "crop": crop,
        "mean": None if mean is None else parse_channels(mean, "--mean"),
        "std": None if std is None else parse_channels(std, "--std"),
        "bgr": bgr,
        "drop_class": drop_class,
        "outputs": outputs,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    if recipe is None and not given:
        return None
    below = load_recipe(find_recipe(recipe)) if recipe is not None else base() if base else Preprocessing()
    try:
        return _build(asdict(below) | given)
    except ValueError as error:
        raise UsageError(f"preprocessing options: {error}") from error


def find_recipe(name_or_path: str | Path) -> Path:
    """Returns the file at this path, or the shipped recipe of this name; else an `InputError` lists what there is."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted((resource("export") / "recipes").glob("*.toml"))}
    if str(name_or_path) in shipped:
        return shipped[str(name_or_path)]
    close = difflib.get_close_matches(str(name_or_path), shipped, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(f"--recipe {name_or_path}: no such file, and no such recipe{hint}; shipped: {', '.join(shipped)}")


def load_recipe(path: str | Path) -> Preprocessing:
    """Returns the preprocessing in a TOML file whose keys are the fields of `Preprocessing`; all may be left out.

    `activation` may stand there too, see `activation_from_options`.
    `size = 224` is square, `size = [256]` a signal's; a single number for `mean` or `std` serves all channels. The keys
    `name` and `note` are for readers.

    Raises:
        InputError: no TOML, an unknown key, or a value of the wrong kind or range.
    """
    content = _toml(path)
    known = [field.name for field in fields(Preprocessing)]
    unknown = set(content) - {*known, *_ABOUT, _HEAD}
    if unknown:
        raise InputError(
            f"{path}: unknown key(s) {', '.join(sorted(unknown))}; known: {', '.join((*known, _HEAD, *_ABOUT))}"
        )
    try:
        return _build({key: _typed(key, value) for key, value in content.items() if key in known})
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def activation_from_options(activation: str | None, recipe: str | Path | None) -> Activation | None:
    """Returns what `--activation` says, else the `activation` of the recipe, else None.

    Raises:
        UsageError: neither softmax nor sigmoid on the command line.
        InputError: neither of them in the recipe.

    Example:
        >>> activation_from_options("sigmoid", None)
        'sigmoid'
    """
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise UsageError(f"--activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        return cast("Activation", activation)
    if recipe is None:
        return None
    path = find_recipe(recipe)
    stored = _toml(path).get(_HEAD)
    if stored is not None and stored not in ACTIVATIONS:
        raise InputError(f"{path}: activation must be softmax or sigmoid, got {stored!r}")
    return cast("Activation | None", stored)


def _toml(path: str | Path) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a recipe in TOML, but {error}; see export/recipes for examples") from error


def _typed(key: str, value: Any) -> Any:
    """Returns a recipe's value as the field wants it; another kind is a `ValueError`."""
    if key == "size":
        sizes = [value, value] if _is_number(value, int) else value
        if isinstance(sizes, list) and sizes and all(_is_number(s, int) for s in sizes):
            return tuple(sizes)
        raise ValueError(f"size must be an integer or a list of integers, got {value!r}")
    if key in ("mean", "std"):
        numbers = value if isinstance(value, list) else [value]
        if numbers and all(_is_number(n, int, float) for n in numbers):
            return tuple(float(n) for n in numbers)
        raise ValueError(f"{key} must be a number or a list of numbers, got {value!r}")
    kinds: Mapping[str, tuple[type, ...]] = {"crop": (int, float), "drop_class": (int,)}
    if key in kinds and not _is_number(value, *kinds[key]):
        raise ValueError(f"{key} must be a number, got {value!r}")
    if key == "bgr" and not isinstance(value, bool):
        raise ValueError(f"bgr must be true or false, got {value!r}")
    return value


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _build(content: Mapping[str, Any]) -> Preprocessing:
    """Returns the checked preprocessing; a value out of range is a `ValueError`."""
    preprocessing = Preprocessing(**content)
    if preprocessing.size is not None and (min(preprocessing.size) < 1 or len(preprocessing.size) > 2):
        raise ValueError(f"size must be one or two positive integers, got {list(preprocessing.size)}")
    if not all(map(isfinite, preprocessing.mean)):
        raise ValueError(f"mean must be finite, got {list(preprocessing.mean)}")
    if preprocessing.crop is not None and not 0 < preprocessing.crop <= 1:
        raise ValueError(f"crop must lie in (0, 1], got {preprocessing.crop}")
    if preprocessing.crop is not None and preprocessing.size is None:
        raise ValueError(f"crop {preprocessing.crop} needs a size to crop to")
    if preprocessing.drop_class < 0:
        raise ValueError(f"drop_class must not be negative, got {preprocessing.drop_class}")
    if preprocessing.outputs not in ("logits", "probabilities"):
        raise ValueError(f"outputs must be logits or probabilities, got {preprocessing.outputs!r}")
    return preprocessing
