"""Where data shipped beside the code lies: the top-level `kernels/` and `export/`, or their copies in the wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def resource(kind: Literal["kernels", "export"]) -> Path:
    """Returns the folder: a checkout's top-level one, else `c2i_fast/_kernels` or `c2i_fast/_export`.

    A checkout is known by its pyproject.toml: another project's `kernels` may lie beside an installed package.
    """
    package = Path(__file__).parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / kind).is_dir():
        return checkout / kind
    return package / f"_{kind}"
