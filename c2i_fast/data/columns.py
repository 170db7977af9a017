"""The small arrays beside a large one in an .npz: one id, label or target per record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from c2i_fast.data.label_sets import label_sets
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


def read_labels(path: Path, total: int, classes: int | None, *, any_number: bool) -> list[tuple[int, ...]]:
    """Returns `labels`: one integer a record, or where any number of labels is allowed also (N, K) of 0 and 1."""
    if not any_number:
        return [(label,) for label in read_integers(path, "labels", total)]
    with Records(path, "labels") as records:
        if records.dtype.kind not in "iubf" or records.shape[0] != total:
            raise InputError(
                f"{records.where}: expected 0 and 1 of shape ({total}, {classes}), or one integer each, got "
                f"{records.dtype} {records.shape}; save it so"
            )
        values, where = records.read_all(), str(records.where)
    return label_sets(values, total, values.shape[-1] if classes is None else classes, where)


def _column(path: Path, key: str, total: int, kinds: str, what: str) -> NDArray[Any]:
    with Records(path, key) as records:
        if records.shape != (total,) or records.dtype.kind not in kinds:
            raise InputError(
                f"{records.where}: expected {what} of shape ({total},), one each, got {records.dtype} {records.shape}; "
                "save it so"
            )
        return records.read_all()
