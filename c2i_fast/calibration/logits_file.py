"""Logits and labels from an `.npz`, for calibrating without a model."""

from __future__ import annotations

import os
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.checks import check_labels, check_logits
from c2i_fast.errors import InputError


def load_logits(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Returns `logits` (N, K), as stored, and `labels` int64 (N,) of an `.npz`. Pickled objects are never loaded.

    Raises:
        InputError: no such file, no zip archive, an array missing, of objects, or of a shape or content that
            `check_logits` and `check_labels` refuse; with the path.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read the logits {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(_expected(path, "not such an archive")) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(_expected(path, "a single array"))
    with archive:
        logits, labels = _member(archive, "logits", path), _member(archive, "labels", path)
    try:
        rows = check_logits(logits)
        return rows, check_labels(labels, rows)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _member(archive: np.lib.npyio.NpzFile, name: str, path: str | os.PathLike[str]) -> NDArray[Any]:
    if name not in archive.files:
        raise InputError(_expected(path, f"the arrays {', '.join(archive.files) or '(none)'}"))
    try:
        member: NDArray[Any] = archive[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: {name} is damaged or holds Python objects; save it as numbers ({error})") from error
    return member


def _expected(path: str | os.PathLike[str], came: str) -> str:
    return f"expected {path} to be an .npz with logits (N, K) and labels (N,), got {came}; write it with numpy.savez"
