"""The kernel sources and what identifies them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from c2i_fast.resources import resource

KERNELS = ("mask_select", "mask_blend", "rank_steps", "readout")


def source_path(name: str) -> Path:
    """Returns the `.cu` file of a kernel."""
    return resource("kernels") / f"{name}.cu"


def sources_digest() -> str:
    """Returns SHA-256 in hex over all `.cu` and `.cuh` files, names included: part of every cache key."""
    digest = hashlib.sha256()
    for path in sorted(resource("kernels").rglob("*.cu*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def cache_folder() -> Path:
    """Returns the user's cache directory for compiled kernels (`XDG_CACHE_HOME`, else `~/.cache`); not created here."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2i-fast" / "kernels"
