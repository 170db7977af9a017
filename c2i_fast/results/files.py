"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2i_fast.errors import InputError

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a name beside `path` and moves the result there; nothing is left behind when it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # A name that is no UTF-8 holds lone surrogates, which JSON writes as escapes.
    data = text.encode("utf-8", "backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def read_json(path: Path, what: str) -> Any:
    """Returns the JSON of a file; `what` names it in the errors."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no {what} at {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable {what}: {error}") from error


def claim_output(path: Path, *, force: bool, what: str = "output") -> None:
    """Checks, before any work, that `path` may be written: not there yet (or `force`), in a writable folder.

    Raises:
        InputError: It exists, or nothing can be written there.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):  # Parquet and the engines cannot open such names
        raise InputError(f"{what} {path} is not valid UTF-8; choose another name")
    if path.exists() and not force and not is_empty_folder(path):
        raise InputError(f"{what} {path} exists; choose another name or give --force to replace it")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{what} {path} cannot be written: {folder} is not a writable folder")
    try:
        with tempfile.TemporaryFile(dir=folder):  # what permissions cannot tell: /proc, a quota, no inodes left
            pass
    except OSError as error:
        raise InputError(f"{what} {path} cannot be written: {folder} takes no file ({error.strerror})") from error


def claim_file(path: Path, *, force: bool) -> None:
    """Checks the same for an output that is one file: a folder or a device in its place is never replaced."""
    if path.exists() and not path.is_file():
        raise InputError(f"output {path} must be a file, but what is there is none; choose another name")
    claim_output(path, force=force)


def is_empty_folder(path: Path) -> bool:
    """Returns whether `path` is a folder with nothing in it; such a one may always be written into.

    What a kill left of a file that was being written counts as nothing.
    """
    return path.is_dir() and all(is_temporary(entry) for entry in path.iterdir())


def is_temporary(path: Path) -> bool:
    """Returns whether a kill left this file while `write_atomically` was at it."""
    return _TEMPORARY.fullmatch(path.name) is not None
