"""What every test may ask for. Tests that need shared assets or oracles skip, with a reason, where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _shared(name: str) -> Path:
    path = ROOT.parent / "shared" / name
    if not path.is_dir():
        pytest.skip(f"shared/{name} is not beside this checkout")
    return path


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Outputs of other projects' own code on fixed inputs."""
    return _shared("oracles")


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real weights, images and signals."""
    return _shared("assets")
