"""Making what a graph declares and what the user said about images into one: channels, size and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

UNNORMALISED = (
    "no normalisation was given: the network is fed pixels in [0, 1] as they are; "
    "--mean and --std or --recipe say otherwise"
)


def settle(
    name: str, channels: int, space: Sequence[int | None], preprocessing: Preprocessing | None
) -> tuple[Preprocessing, tuple[int, ...], tuple[str, ...]]:
    """Returns the preprocessing with its size filled in, (C, *space), and notes.

    Args:
        name: of the classifier, for messages.
        channels: C.
        space: what the graph declares; None is a dynamic size.
        preprocessing: what the user said; None is none at all.

    Raises:
        InputError: a size is missing or contradicts the graph, or mean and std have other channels.

    Example:
        >>> settle("net.onnx", 3, (32, 32), Preprocessing(std=(0.5,)))[1]
        (3, 32, 32)
    """
    given = preprocessing or Preprocessing()
    size = _size(name, space, given.size)
    statistics = max(len(given.mean), len(given.std))
    if statistics not in (1, channels):
        raise InputError(
            f"{name}: --mean and --std have {statistics} values, but the network takes {channels} channels"
        )
    notes = () if preprocessing else (UNNORMALISED,)
    return replace(given, size=size), (channels, *size), notes


def _size(name: str, space: Sequence[int | None], wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    if wanted is None:
        static = [size for size in space if size is not None]
        if len(static) < len(space):
            example = "224" if len(space) == 2 else "256"
            raise InputError(
                f"{name}: the graph leaves the image size open {_text(space)}; say it, e.g. --size {example}"
            )
        return tuple(static)
    if len(wanted) != len(space) or any(have not in (None, want) for have, want in zip(space, wanted, strict=True)):
        raise InputError(f"{name}: the graph takes images of {_text(space)}, but --size says {_text(wanted)}")
    return wanted


def _text(space: Sequence[int | None]) -> str:
    return "×".join("?" if size is None else str(size) for size in space)
