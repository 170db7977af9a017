"""CUDA C++ → cubin by NVRTC, for an architecture that is named and need not be here; cached."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.kernels.sources import cache_folder, source_path, sources_digest
from c2i_fast.resources import resource

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
STANDARD = "c++17"
LOG_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a compiled kernel takes of a multiprocessor.

    Attributes:
        registers: a thread.
        spilled: bytes a thread that did not fit in registers and go through memory.
        shared: bytes a block.
    """

    registers: int
    spilled: int
    shared: int


def compile_kernel(source: str, architecture: str, folder: Path | None = None) -> bytes:
    """Returns the cubin of `kernels/<source>.cu` for an architecture, from the cache where it is there.

    The key covers sources, flags, architecture and compiler. A cache that cannot be written to is said so once and
    done without.

    Args:
        source: a name of `KERNELS`.
        architecture: such as `sm_90`.
        folder: the cache; default `cache_folder()`.

    Raises:
        MissingDependencyError: cuda-core or NVRTC is not installed.
        EngineError: The compiler refuses the architecture or the source; the message carries its log.
    """
    path = (folder or cache_folder()) / f"{source.replace('/', '-')}-{architecture}-{_key(source, architecture)}.cubin"
    try:
        return path.read_bytes()
    except OSError:
        code, _ = build(source, architecture)
    _keep(path, code)
    return code


def build(source: str, architecture: str) -> tuple[bytes, dict[str, Usage]]:
    """Returns the cubin and what each of its kernels uses, compiled afresh.

    Raises:
        MissingDependencyError, EngineError: as `compile_kernel`.
    """
    program_class, options_class = _compiler()
    if not re.fullmatch(r"sm_\d+[af]?", architecture):
        raise EngineError(f"an architecture is named like sm_90, got {architecture!r}")
    log = io.StringIO()
    text = source_path(source).read_text(encoding="utf-8")
    try:
        options = options_class(
            name=f"{source}.cu",
            arch=architecture,
            std=STANDARD,
            fma=False,
            include_path=[str(resource("kernels"))],
            ptxas_options=["-v"],
        )
        code = bytes(program_class(text, "c++", options).compile("cubin", logs=log).code)
    except Exception as error:  # cuda.core and NVRTC raise classes of their own, without a common base
        raise EngineError(f"{source}.cu does not compile for {architecture}: {_gist(str(error))}") from error
    if not code:
        raise EngineError(f"{source}.cu compiled to nothing for {architecture}")
    return code, usage(log.getvalue())


def usage(log: str) -> dict[str, Usage]:
    """Returns what ptxas reports for every kernel.

    Example:
        >>> usage("Compiling entry function 'f', 0 bytes spill stores, Used 32 registers, 64 bytes smem")["f"]
        Usage(registers=32, spilled=0, shared=64)
    """
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        if registers is None:
            continue
        spilled = re.search(r"(\d+) bytes spill stores", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.partition("'")[0]] = Usage(
            registers=int(registers[1]),
            spilled=int(spilled[1]) if spilled else 0,
            shared=int(shared[1]) if shared else 0,
        )
    return found


def compiler_version() -> str:
    """Returns NVRTC's version, such as `13.1`."""
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise MissingDependencyError("cuda-core", "cuda") from error
    status, major, minor = nvrtc.nvrtcVersion()
    if int(status):
        raise EngineError(f"NVRTC does not say its version (error {int(status)})")
    return f"{major}.{minor}"


def _compiler() -> tuple[type, type]:
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise MissingDependencyError("cuda-core", "cuda") from error
    return Program, ProgramOptions


def _key(source: str, architecture: str) -> str:
    parts = (sources_digest(), source, architecture, STANDARD, "fma=0", compiler_version())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _keep(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = Path(scratch) / path.name
            made.write_bytes(code)
            os.replace(made, path)
    except OSError as error:
        warnings.warn(f"compiled kernels cannot be kept in {path.parent}: {error.strerror}", stacklevel=3)


def _gist(log: str) -> str:
    lines = [line for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return "\n".join(errors[:LOG_LINES])
