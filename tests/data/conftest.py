"""Tiny files for the tests of sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture() -> Callable[..., Path]:
    """Saves a small RGB picture whose content is decided by `seed`, and returns its path."""

    def save(path: Path, seed: int = 0, size: tuple[int, int] = (6, 5), **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(values).save(path, **options)
        return path

    return save
