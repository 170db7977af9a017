"""Logits and labels from an `.npz`, for calibrating without a model."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.checks import check_applies, check_labels, check_logits
from c2i_fast.errors import InputError
from c2i_fast.types import Activation


def load_logits(path: str | os.PathLike[str], activation: Activation = "softmax") -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns `logits` (N, K), as stored, and `labels` int64 (N,) of an `.npz`. Pickled objects are never loaded.

    Of a sigmoid head labels are bool (N, K), stored as 0 and 1; for K = 1 (N,) serves too.

    Raises:
        InputError: no such file, no zip archive, an array missing, of objects, or of a shape or content that
            `check_logits` and `check_labels` refuse; with the path.
    """
    try:
        with Path(path).open("rb") as stream:  # np.load itself leaves a damaged archive open
            logits, labels = _members(stream, path)
    except OSError as error:
        raise InputError(f"cannot read the logits {path}: {error.strerror or error}") from error
    try:
        if activation == "sigmoid":
            rows = check_logits(logits, least=1)
            return rows, check_applies(labels[:, None] if labels.ndim == rows.shape[1] == 1 else labels, rows)
        rows = check_logits(logits)
        return rows, check_labels(labels, rows)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _members(stream: BinaryIO, path: str | os.PathLike[str]) -> list[NDArray[Any]]:
    try:
        archive = np.load(stream, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(_expected(path, "no such archive")) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise InputError(_expected(path, "a single array"))
    if missing := {"logits", "labels"} - set(archive.files):
        came = ", ".join(archive.files) or "no arrays"
        raise InputError(_expected(path, f"{came} without {' and '.join(sorted(missing))}"))
    try:
        return [archive["logits"], archive["labels"]]
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is damaged or holds Python objects; save it as numbers ({error})") from error


def _expected(path: str | os.PathLike[str], came: str) -> str:
    return f"expected {path} to be an .npz with logits (N, K) and labels (N,), got {came}; write it with numpy.savez"
