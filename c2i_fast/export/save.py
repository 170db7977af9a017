"""A graph on disk: one file up to protobuf's limit, weights beside it above; there whole and checked, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir

from c2i_fast.export.graphs import CONTRACT_KEY
from c2i_fast.export.open import INLINE_BYTES, weight_bytes
from c2i_fast.types import GraphContract


def save_graph(
    model: ir.Model,
    path: Path,
    contract: GraphContract,
    *,
    check: Callable[[Path], None] = lambda path: None,
    inline_bytes: int = INLINE_BYTES,
) -> None:
    """Writes a graph with its contract, and only under its name once `check` has accepted it.

    Args:
        model: the graph; its metadata becomes the contract and nothing else.
        path: the final name; weights above `inline_bytes` go to `<name>.data` beside it.
        contract: stored as JSON under `c2i_fast.contract`.
        check: called with the file before it gets its name; whatever it raises leaves nothing behind.
        inline_bytes: for tests; the default is protobuf's limit.
    """
    model.metadata_props.clear()
    model.metadata_props[CONTRACT_KEY] = contract.to_json()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent))
    try:
        written = folder / path.name
        large = weight_bytes(model) >= inline_bytes
        ir.save(model, written, external_data=f"{path.name}.data" if large else None)
        check(written)
        for file in sorted(folder.iterdir(), key=lambda file: file == written):  # the graph last: it names the weights
            file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
