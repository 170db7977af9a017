"""What crosses the link between host and device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Bytes to and from a device, launches asked of it one by one, and replays of recorded ones, so far."""

    up: int = 0
    down: int = 0
    launches: int = 0
    replays: int = 0
