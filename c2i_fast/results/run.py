"""The run directory: `run.json`, then parts of whole images, each atomic, so that a kill loses one part.

Images come in input order, with `--until-separated` in the random order of the seed.

run.json                      settings and provenance, written before the first part
scores/part-00000.parquet     one row for each image × method × metric × read-out
logits/part-00000.parquet     with --keep-logits: one row for each pass; curves-00000: which passes a curve is made of
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from c2i_fast.data.npy import one_line
from c2i_fast.errors import InputError
from c2i_fast.results.files import is_temporary, read_json, write_atomically, write_json
from c2i_fast.types import Curve, Score

SCORES = pa.schema(
    [
        ("image", pa.string()),
        ("method", pa.string()),
        ("protocol", pa.string()),
        ("protocol_hash", pa.string()),
        ("metric", pa.string()),
        ("readout", pa.string()),
        ("target", pa.int32()),
        ("value", pa.float64()),
        ("half_difference", pa.float64()),
        ("fractions", pa.list_(pa.float64())),
        ("curve", pa.list_(pa.float64())),
        ("passes", pa.int32()),
        ("warnings", pa.list_(pa.string())),
    ]
)
# What `run.json` must hold for a run to be continued or rescored.
MANIFEST = {"settings": dict, "hashes": dict, "protocols": list, "images": int, "activation": str}
PART_KEY = b"c2i_fast.part"
MAIN = "part"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInfo:
    """What a part file says of itself.

    Attributes:
        first, next: the input indices it covers, first ≤ i < next, skipped images included.
        requested, run: points asked for and masked images forwarded.
        skipped: (image id, reason) pairs.
        seconds: from the previous part's end to this one's.
    """

    first: int
    next: int
    images: int
    requested: int
    run: int
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0


class RunDirectory:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> dict[str, Any]:
        """`run.json`, read."""
        content = read_json(self.path / "run.json", "run (run.json)")
        if not isinstance(content, dict) or "settings" not in content:
            raise InputError(f"{self.path / 'run.json'} was not written by c2i-fast score")
        return content

    def whole_manifest(self) -> dict[str, Any]:
        """Returns `run.json` after checking that it holds what going on and rescoring need."""
        content = self.manifest
        for name, kind in MANIFEST.items():
            if not isinstance(content.get(name), kind):
                raise InputError(
                    f"{self.path / 'run.json'} has no usable {name!r}; the run is damaged, score it afresh"
                )
        return content

    def exists(self) -> bool:
        """Returns whether a run was begun here."""
        return (self.path / "run.json").exists()

    def begin(self, manifest: Mapping[str, Any], *, replace: bool) -> None:
        """Makes the folder and writes `run.json`; with `replace`, an older run's files go first."""
        if replace:
            self.clear()
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "run.json", manifest)
        (self.path / "scores").mkdir(exist_ok=True)

    def update(self, **entries: Any) -> None:
        """Adds entries to `run.json`."""
        write_json(self.path / "run.json", {**self.manifest, **entries})

    def clear(self) -> None:
        """Removes what a run wrote, and nothing else."""
        for folder in ("scores", "logits"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        (self.path / "run.json").unlink(missing_ok=True)

    def withdraw(self) -> None:
        """Removes a run that has come to nothing, and its folder if that is empty then."""
        self.clear()
        with suppress(OSError):
            self.path.rmdir()

    def sweep(self) -> None:
        """Removes what a kill left of files that were being written."""
        for folder in (self.path, self.path / "scores", self.path / "logits"):
            for entry in folder.iterdir() if folder.is_dir() else ():
                if is_temporary(entry):
                    entry.unlink(missing_ok=True)

    def write_part(
        self,
        number: int,
        scores: Iterable[Score],
        info: PartInfo,
        *,
        prefix: str = MAIN,
        kept: Mapping[str, pa.Table] | None = None,
    ) -> None:
        """Writes one part; kept logits go first, so that a part of scores always has its logits."""
        for name, kept_table in (kept or {}).items():
            (self.path / "logits").mkdir(exist_ok=True)
            _write(self.path / "logits" / f"{name}-{number:05d}.parquet", kept_table)
        (self.path / "scores").mkdir(exist_ok=True)
        table = score_table(scores).replace_schema_metadata({PART_KEY: json.dumps(_info_dict(info)).encode()})
        _write(self.path / "scores" / f"{prefix}-{number:05d}.parquet", table)

    def classes(self) -> int | None:
        """Returns K of the kept logits, None where none were kept."""
        for path in sorted((self.path / "logits").glob(f"{MAIN}-*.parquet")):
            kind = _schema(path).field("logits").type
            if hasattr(kind, "list_size"):  # a part of skipped images alone has none
                return int(kind.list_size)
        return None

    def parts(self, prefix: str = MAIN) -> list[Path]:
        """Returns the part files, in order; beyond 100 000 of them the numbers have more than five digits."""
        name = re.compile(rf"{re.escape(prefix)}-(\d{{5,}})\.parquet")
        found = ((name.fullmatch(path.name), path) for path in (self.path / "scores").glob(f"{prefix}-*.parquet"))
        return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]

    def infos(self, prefix: str = MAIN) -> list[PartInfo]:
        """Returns what the parts cover; parts that do not follow each other are an `InputError`."""
        infos = [read_info(path) for path in self.parts(prefix)]
        for number, (path, info) in enumerate(zip(self.parts(prefix), infos, strict=True)):
            expected = infos[number - 1].next if number else 0
            if info.first != expected or not path.stem.endswith(f"-{number:05d}"):
                raise InputError(f"{path} does not follow the part before it; the run is damaged, score it afresh")
        return infos

    def read(self, prefix: str = MAIN, columns: Sequence[str] = tuple(SCORES.names)) -> pa.Table:
        """Returns the rows of all parts."""
        paths = self.parts(prefix)
        if not paths:
            raise InputError(f"{self.path} holds no scores yet")
        return pa.concat_tables([read_table(path, columns).replace_schema_metadata() for path in paths])

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of all parts as tuples, one part in memory at a time."""
        for path in self.parts():
            table = read_table(path, columns)
            yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


def read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    """Returns these columns of a Parquet file of a run; a damaged one is an `InputError` that names it."""
    try:
        table = pq.read_table(path, columns=list(columns), page_checksum_verification=True)
        found = table.column_names  # no checksum covers them
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _damaged(path, error) from error
    if found != list(columns):
        raise _damaged(path, KeyError(f"its columns are {', '.join(found)}"))
    return table


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    reason = one_line(error).partition(". ")[0][:120]
    return InputError(f"{path} cannot be read ({reason}); the run is damaged, score it afresh")


def score_table(scores: Iterable[Score]) -> pa.Table:
    """Returns the scores as a table in the schema of `scores/*.parquet`."""
    rows = list(scores)
    empty = np.zeros(0)
    columns: dict[str, Any] = {
        name: [getattr(score, name) for score in rows]
        for name in SCORES.names
        if name not in ("fractions", "curve", "warnings")
    }
    columns["fractions"] = [s.curve.fractions if s.curve else empty for s in rows]
    columns["curve"] = [s.curve.values if s.curve else empty for s in rows]
    columns["warnings"] = [list(score.warnings) for score in rows]
    return pa.table(columns, schema=SCORES)


def table_scores(table: pa.Table) -> list[Score]:
    """Returns the rows of a table as scores."""
    return [
        Score(
            **{k: v for k, v in row.items() if k not in ("fractions", "curve", "warnings")},
            warnings=tuple(row["warnings"]),
            curve=Curve(fractions=np.asarray(row["fractions"]), values=np.asarray(row["curve"]))
            if row["curve"]
            else None,
        )
        for row in table.to_pylist()
    ]


def read_info(path: Path) -> PartInfo:
    """Returns what a part file says it covers."""
    try:
        content = json.loads((pq.read_schema(path).metadata or {})[PART_KEY])
    except (KeyError, ValueError, TypeError, OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a part of a run ({one_line(error)}); score it afresh") from error
    content["skipped"] = tuple((str(i), str(r)) for i, r in content["skipped"])
    return PartInfo(**content)


def _info_dict(info: PartInfo) -> dict[str, Any]:
    return {name: getattr(info, name) for name in PartInfo.__slots__}


def _write(path: Path, table: pa.Table) -> None:
    write_atomically(
        path, lambda temporary: pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    )
