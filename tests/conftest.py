"""What every test may ask for. Tests that need shared assets or oracles skip, with a reason, where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: a failure is the change's and not the day's. HYPOTHESIS_PROFILE=explore draws anew.
settings.register_profile("steady", derandomize=True)
settings.register_profile("explore")
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

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
