"""What every calibrator does with its learnt attributes: ask whether they are there, and distrust them from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from c2i_fast.errors import InputError, NotFittedError
from c2i_fast.types import Doubles

LARGEST_WEIGHT = 1e4  # nothing fitted comes near; times the largest logit it still fits float32


def require_fitted(calibrator: object, attribute: str) -> Any:
    """Returns the learnt attribute; `NotFittedError` before `fit`."""
    if not hasattr(calibrator, attribute):
        name = type(calibrator).__name__
        raise NotFittedError(f"this {name} has learnt nothing yet; call fit(logits, labels) first")
    return getattr(calibrator, attribute)


def check_keys(parameters: Mapping[str, Any], required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    """Raises an `InputError` for unknown or missing parameters."""
    if set(parameters) - set(optional) != set(required):
        came = ", ".join(sorted(map(str, parameters))) or "none"
        also = f" and, optionally, {', '.join(optional)}" if optional else ""
        raise InputError(f"expected the parameters {', '.join(required)}{also}; got {came}")


def read_array(
    value: object,
    name: str,
    shape: tuple[int | None, ...],
    lowest: float = -LARGEST_WEIGHT,
    highest: float = LARGEST_WEIGHT,
) -> Doubles:
    """Returns nested lists of numbers as float64; None in `shape` is any length.

    Raises:
        InputError: something else than numbers, another shape, or a number outside lowest..highest (NaN is).

    Example:
        >>> read_array([[1, 2]], "weights", (1, None))
        array([[1., 2.]])
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        array = np.asarray(None)
    expected = "×".join("any" if size is None else str(size) for size in shape) or "one number"
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if array.dtype.kind not in "iuf" or not fits:
        raise InputError(f"expected {name} to be numbers ({expected}), got {value!r:.60}; fit it again")
    if not ((array >= lowest) & (array <= highest)).all():  # NaN compares false
        raise InputError(f"expected {name} within {lowest:g}..{highest:g}, got {value!r:.60}; fit it again")
    return array.astype(np.float64)


def read_bound(value: object, names: tuple[str, ...]) -> str | None:
    """Returns the stored name of the bound that was hit, or None."""
    if value is None or (isinstance(value, str) and value in names):
        return value
    raise InputError(f"expected at_bound to be {', '.join(names)} or null, got {value!r:.40}")
