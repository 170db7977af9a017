"""Engines and timings that were paid for already, in the user's cache directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from c2i_fast.engines.tensorrt_file import EngineKey, EngineRecord, read_engine, sidecar_path
from c2i_fast.errors import C2IError
from c2i_fast.kernels.sources import cache_folder
from c2i_fast.results.files import write_atomically, write_json


def tensorrt_cache_folder() -> Path:
    """Returns the folder beside that of the compiled kernels; not created here."""
    return cache_folder().with_name("tensorrt")


class EngineCache:
    """The cache; it is never in the way: what cannot be used or kept is said and done without.

    Args:
        folder: the directory; made when something is kept.
        say: told what is not used or not kept, and why.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self._say = say

    def find(self, key: EngineKey) -> tuple[EngineRecord, bytes] | None:
        """Returns the record and the engine of that key; None where there is none that can be used."""
        path = self._engine(key)
        if not path.exists():
            return None
        try:
            record, data = read_engine(path)
        except C2IError as error:
            self._say(f"the engine in the cache is built again: {error}")
            return None
        if record.key != key:
            self._say(f"the engine in the cache is built again: {path} is described as another one")
            return None
        return record, data

    def keep(self, record: EngineRecord, data: bytes) -> None:
        """Stores an engine."""
        self._keep(lambda: write_engine(self._engine(record.key), data, record))

    def timing(self, key: EngineKey) -> bytes:
        """Returns what builds by this TensorRT on such a GPU have measured so far, empty at first."""
        try:
            return self._timing(key).read_bytes()
        except OSError:
            return b""

    def keep_timing(self, key: EngineKey, timing: bytes) -> None:
        """Stores what builds have measured."""
        self._keep(lambda: write_atomically(self._timing(key), lambda made: made.write_bytes(timing)))

    def _keep(self, write: Callable[[], None]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write()
        except OSError as error:
            self._say(f"nothing is kept in the cache {self.folder}: {error.strerror}")

    def _engine(self, key: EngineKey) -> Path:
        return self.folder / f"{key.digest()}.engine"

    def _timing(self, key: EngineKey) -> Path:
        return self.folder / f"{key.tensorrt}-{key.architecture}.timing"


def write_engine(path: Path, data: bytes, record: EngineRecord) -> None:
    """Writes an engine and its description, both or neither: each gets its name once both are on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        made = folder / path.name
        write_json(sidecar_path(made), record.to_dict())
        write_atomically(made, lambda temporary: temporary.write_bytes(data))
        for file in (sidecar_path(made), made):
            file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
