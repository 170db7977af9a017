"""Installs TensorRT's Python bindings of both majors, without their libraries, into build/tensorrt-bindings/VERSION.

Some megabytes each; they cannot run anything, but they know every name. `python tests/fetch_tensorrt_bindings.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VERSIONS = ("10.16.1.11", "11.4.0.106")
FOLDER = Path(__file__).resolve().parents[1] / "build" / "tensorrt-bindings"


def main() -> int:
    """Installs what is not there yet; the exit status of the first pip that fails, else 0."""
    for version in VERSIONS:
        if (FOLDER / version / "tensorrt_bindings").is_dir():
            continue
        wanted = f"tensorrt-cu13-bindings=={version}"
        options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(FOLDER / version)]
        status = subprocess.run([sys.executable, "-m", "pip", "install", *options, wanted], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
