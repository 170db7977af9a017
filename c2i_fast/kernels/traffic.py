"""What crosses the link between host and device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes to and from a device, and launches on it, so far."""

    up: int = 0
    down: int = 0
    launches: int = 0
