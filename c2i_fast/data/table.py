"""A CSV with `file,label`: paths relative to it, labels as class indices or names, several joined by `;`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from c2i_fast.data.labels import ClassIndex, Labels
from c2i_fast.data.names import checked_ids, some
from c2i_fast.errors import InputError


def read_table(path: Path, index: ClassIndex, limit: int | None) -> tuple[tuple[str, ...], Labels | None]:
    """Returns the ids in the order of the rows, and their labels when there is a `label` column.

    Other columns are ignored; an empty file cell or label is an error with its line number, but for a label where an
    image may have none.

    Raises:
        InputError: no `file` column, no rows, a path that is absolute or leads out of the CSV's folder, a file that
            is not there (found now, not after an hour of scoring), a label that is neither index nor known name.
    """
    header, rows = read_rows(path)
    if "file" not in header:
        raise InputError(
            f"{path}: expected the columns file,label in the first line, but found {some(header) or 'nothing'}; "
            "name the column of paths 'file', and separate columns with commas"
        )
    rows = rows[:limit]
    if not rows:
        raise InputError(f"{path}: expected one row per picture below the first line, but there is none; add some")
    files = [_file(path, line, cells[header.index("file")]) for line, cells in rows]
    ids = checked_ids(files, path)
    missing = [name for name in ids if not (path.parent / name).is_file()]
    if missing:
        raise InputError(
            f"{path}: expected every file beside it (paths are relative to the CSV), but {len(missing)} of {len(ids)} "
            f"are not there: {some(missing, 3)}; mend the paths or take the rows out"
        )
    if "label" not in header:
        return ids, None
    return ids, [_labels(path, line, cells[header.index("label")], index) for line, cells in rows]


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the column names and, per non-empty row, its line number and one cell for each column.

    Raises:
        InputError: no CSV in UTF-8.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV in UTF-8, but {error}; save it again as CSV (UTF-8)") from error
    return header, [(line, row + [""] * (len(header) - len(row))) for line, row in rows]


def _file(path: Path, line: int, cell: str) -> str:
    if not cell.strip():
        raise InputError(f"{path}, line {line}: expected a path under 'file', but it is empty; take the row out")
    return PurePosixPath(cell.strip()).as_posix()


def _labels(path: Path, line: int, cell: str, index: ClassIndex) -> tuple[int, ...]:
    if index.any_number and not index.one_output and not cell.strip():
        return ()
    texts: Sequence[str] = [text.strip() for text in cell.split(";")]
    labels = [_number(text) if _number(text) is not None else index.find(text) for text in texts]
    if None in labels:
        raise InputError(
            f"{path}, line {line}: expected class indices such as 3 or 3;17, or class names known to the model, but "
            f"found {cell!r}; mend it, or leave the column 'label' out"
        )
    known = tuple(label for label in labels if label is not None)
    return tuple(sorted(set(known))) if index.any_number else known


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
