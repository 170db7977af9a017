"""Which pictures a folder holds, in an order no operating system can change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from c2i_fast.data.names import checked_ids, some
from c2i_fast.errors import InputError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_pictures(folder: Path) -> tuple[tuple[str, ...], list[str] | None]:
    """Returns the sorted ids of the pictures, and the sorted sub-folders when each of these is a class (else None).

    Hidden files and folders are left out. Class folders are searched at any depth.

    Raises:
        InputError: when there is no picture, or when pictures lie both beside and inside sub-folders.
    """
    ids = checked_ids(files_below(folder, EXTENSIONS), folder)
    if not ids:
        raise InputError(
            f"{folder}: expected pictures ({' '.join(EXTENSIONS)}), in it or in one sub-folder per class; "
            "found none; name another folder, a CSV or an .npz"
        )
    inside = [name for name in ids if "/" in name]
    if not inside:
        return ids, None
    if len(inside) < len(ids):
        beside = [name for name in ids if "/" not in name]
        raise InputError(
            f"{folder}: expected pictures either in the folder or in one sub-folder per class, but {some(beside, 1)} "
            f"lies beside {some(inside, 1)}; move one kind away, or list the pictures in a CSV with file,label"
        )
    return ids, sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def files_below(folder: Path, extensions: tuple[str, ...]) -> list[str]:
    """Returns the sorted paths, relative to `folder` and with `/`, of all visible files with one of the extensions."""
    found = (path for path in _walk(folder, follow_links=True) if path.name.lower().endswith(extensions))
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _walk(folder: Path, *, follow_links: bool) -> Iterator[Path]:
    """Yields every visible file.

    Linked folders are followed at the first level, where a class may be one; deeper links could lead round in circles.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder}: expected a folder that can be read, but {error.strerror}; mend it") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=follow_links):
            yield from _walk(Path(entry.path), follow_links=False)
        elif not entry.is_dir():
            yield Path(entry.path)
