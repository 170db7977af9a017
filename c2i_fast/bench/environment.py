"""Where a number was taken: without it a speed is a rumour."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from c2i_fast.engines.select import usable_cores

CPU_INFO = Path("/proc/cpuinfo")
# What decides how fast a precision is: AVX-512 for fp32, the bf16 and int8 dot products, and AMX tiles.
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def environment(threads: int | None, precision_used: str) -> dict[str, Any]:
    """Returns versions, CPU, cores, threads and date, as JSON.

    Args:
        threads: of the engine.
        precision_used: what the answers show it really computed in.
    """
    from c2i_fast.results.scoring import versions

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cpu_flags": cpu_flags(),
        "cores": usable_cores(),
        "cores_of_machine": os.cpu_count(),
        "threads": threads,
        "precision_used": precision_used,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "versions": versions(),
    }


def cpu_model() -> str:
    """Returns the CPU's name for itself."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Returns those of the CPU's abilities that speeds hang on; empty where they cannot be read."""
    return [flag for flag in TELLING_FLAGS if flag in _cpu_info("flags").split()]


def _cpu_info(key: str) -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
