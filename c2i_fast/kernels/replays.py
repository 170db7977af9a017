"""Launches that repeat, recorded once and replayed at one go (CUDA graphs).

A network of fifty layers is as many launches a batch, each a few microseconds of the host's time: with small batches
the GPU waits for them. A replay is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from c2i_fast.errors import EngineError

MOST_KEPT = 32

Body = Callable[[], None]


@dataclass(slots=True)
class _Kept:
    held: object
    replay: Body | None = None


class Replays:
    """Runs bodies: the first time as they are, which also warms up all they use, the second time recorded.

    Args:
        capture: returns a body's replay, or None where bodies cannot be recorded; an `EngineError` where one could not.
        say: told once that recording failed; all goes on without.
    """

    def __init__(self, capture: Callable[[Body], Body | None], say: Callable[[str], None]) -> None:
        self._capture, self._say = capture, say
        self._on = True
        self._kept: dict[Hashable, _Kept] = {}

    def run(self, key: Hashable, held: object, body: Body) -> None:
        """Runs a body, or what is kept of it.

        Args:
            key: all that the body does but for the network: equal keys, equal launches.
            held: the network's input buffer, kept alive here; another object means that the network was set up anew.
            body: puts launches on the compute lane and does nothing else.
        """
        kept = self._kept.pop(key, None)
        if kept is None or kept.held is not held:
            kept = _Kept(held)
            body()
        else:
            if kept.replay is None and self._on:
                kept.replay = self._recorded(body)
            (kept.replay or body)()
        self._kept[key] = kept  # the last used last
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def clear(self) -> None:
        """Forgets all bodies."""
        self._kept.clear()

    def _recorded(self, body: Body) -> Body | None:
        try:
            replay = self._capture(body)
        except EngineError as error:
            self._say(f"going on without CUDA graphs: {error}")
            replay = None
        self._on = replay is not None
        return replay
