"""The small arrays beside a large one in an .npz: one id, label or target per record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from c2i_fast.data.names import checked_ids
from c2i_fast.data.records import Records
from c2i_fast.errors import InputError


def read_ids(path: Path, total: int) -> tuple[str, ...]:
    """Returns `ids` as text, checked to be `total` distinct relative names."""
    values = _column(path, "ids", total, "USiu", "text or integers")
    texts = (v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else str(v) for v in values)
    return checked_ids(texts, path)


def read_integers(path: Path, key: str, total: int) -> list[int]:
    """Returns the integers of `key`, one for each of `total` records."""
    return [int(value) for value in _column(path, key, total, "iu", "integers")]


def _column(path: Path, key: str, total: int, kinds: str, what: str) -> NDArray[Any]:
    with Records(path, key) as records:
        if records.shape != (total,) or records.dtype.kind not in kinds:
            raise InputError(
                f"{records.where}: expected {what} of shape ({total},), one each, got {records.dtype} {records.shape}; "
                "save it so"
            )
        return records.read_all()
