"""SHA-256 of what a source says and holds, so that a resumed run can refuse other images or maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from c2i_fast.data.records import Records

MOST_BYTES = 1 << 30
_CHUNK = 1 << 20


def of_files(about: object, paths: Sequence[Path]) -> str:
    """Returns SHA-256 in hex over `about` (as JSON) and the files' sizes and contents.

    Above 1 GiB in total it is over sizes and modification times instead, and starts with `stat:`. A file that cannot be
    read has size −1 and no content: it is an error where it is needed, and may be skipped there.
    """
    stats = [_size_and_time(path) for path in paths]
    sizes = [size for size, _ in stats]
    if sum(sizes) > MOST_BYTES:
        return _stat_digest([about, stats])
    digest = hashlib.sha256(_json([about, sizes]))
    for path in paths:
        for chunk in _chunks(path):
            digest.update(chunk)
    return digest.hexdigest()


def of_records(about: object, path: Path, key: str, count: int) -> str:
    """Returns the same of the first `count` records of the array `key` in an .npz.

    Records left out by a limit do not matter, and neither does the compression.
    """
    with Records(path, key) as records:
        if count * records.record_bytes > MOST_BYTES:
            return _stat_digest([about, _size_and_time(path)])
        digest = hashlib.sha256(_json([about, records.dtype.str, records.record_shape]))
        for index in range(count):
            digest.update(records.read(index).tobytes())
    return digest.hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError:
        return


def _stat_digest(content: object) -> str:
    return "stat:" + hashlib.sha256(_json(content)).hexdigest()


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
