"""Which strings may name an image: ids become file names in a run, so none may lead out of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from c2i_fast.errors import InputError


def id_fault(name: str) -> str | None:
    """Returns what is wrong with an image id, or None.

    Example:
        >>> id_fault("cats/1.jpg"), id_fault("../1.jpg")
        (None, "leads out of the folder with '..'")
    """
    path = PurePosixPath(name)
    if path.is_absolute() or PureWindowsPath(name).is_absolute():
        return "is an absolute path"
    if ".." in path.parts:
        return "leads out of the folder with '..'"
    if not path.parts or "\0" in name or path.as_posix() != name:
        return "is not a plain relative path"
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        return "is not valid UTF-8"
    return None


def checked_ids(ids: Iterable[str], where: object) -> tuple[str, ...]:
    """Returns the ids as a tuple; an unusable or repeated one is an `InputError` that names it and `where`."""
    names = tuple(ids)
    seen: set[str] = set()
    for name in names:
        fault = "occurs twice" if name in seen else id_fault(name)
        if fault is not None:
            raise InputError(f"{where}: expected distinct relative ids, but {name!r} {fault}; rename it")
        seen.add(name)
    return names


def keys_of(image_id: str) -> tuple[str, ...]:
    """Returns what a file may call an image, best first: its id, that without the extension, its name, its stem.

    Example:
        >>> keys_of("cats/1.jpg")
        ('cats/1.jpg', 'cats/1', '1.jpg', '1')
    """
    path = PurePosixPath(image_id)
    return (image_id, path.with_suffix("").as_posix(), path.name, path.stem) if path.name else (image_id,)


def some(names: Sequence[object], most: int = 5) -> str:
    """Returns the first few names for a message, and how many more there are.

    Example:
        >>> some(["a", "b", "c"], most=2)
        'a, b, … (3 in all)'
    """
    text = ", ".join(str(name) for name in names[:most])
    return text if len(names) <= most else f"{text}, … ({len(names)} in all)"
