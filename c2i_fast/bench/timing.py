"""How a time is taken: warmed up, long enough, often enough, and in turns with what it is compared to.

Subjects are timed A B, B A, A B, … so that a machine that slows down or speeds up meanwhile moves all of them alike and
their ratios hold. Nothing here reads a clock of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from c2i_fast.types import Doubles

Clock = Callable[[], float]
Subject = Callable[[], object]
K = TypeVar("K")

CPU_TIMES = Path("/proc/stat")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRules:
    """How long and how often.

    Attributes:
        seconds: each subject is timed for at least so long, over all its turns.
        iterations: and at least so many times.
        warm_up_seconds: untimed calls before, for at least so long.
        warm_up_iterations: and at least so many.
        turns: rounds of A B C; every second one runs backwards.
    """

    seconds: float = 3.0
    iterations: int = 12
    warm_up_seconds: float = 0.3
    warm_up_iterations: int = 2
    turns: int = 4

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.iterations > 0 and self.turns > 0):
            raise ValueError(f"seconds, iterations and turns must be positive, got {self}")


def take_turns(subjects: Mapping[K, Subject], rules: TimingRules, clock: Clock = time.perf_counter) -> dict[K, Doubles]:
    """Returns the seconds of every timed call of every subject, float64 (calls,), in the order they were made.

    Example:
        >>> ticks = iter(range(1000))
        >>> rules = TimingRules(seconds=1, iterations=4, warm_up_seconds=0, turns=2)
        >>> take_turns({"a": lambda: None}, rules, clock=lambda: float(next(ticks)))["a"].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    for subject in subjects.values():
        _call_for(subject, rules.warm_up_seconds, rules.warm_up_iterations, clock)
    taken: dict[K, list[float]] = {name: [] for name in subjects}
    for turn in range(rules.turns):
        order = list(subjects) if turn % 2 == 0 else list(subjects)[::-1]
        for name in order:
            taken[name] += _call_for(
                subjects[name], rules.seconds / rules.turns, -(-rules.iterations // rules.turns), clock
            )
    return {name: np.asarray(seconds) for name, seconds in taken.items()}


def _call_for(subject: Subject, seconds: float, iterations: int, clock: Clock) -> list[float]:
    """Calls until both minima are reached; returns what each call took."""
    taken: list[float] = []
    total = 0.0
    while len(taken) < iterations or total < seconds:
        begin = clock()
        subject()
        taken.append(clock() - begin)
        total += taken[-1]
    return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of what calls took, in milliseconds (linear between calls, as NumPy's default)."""

    p50_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Doubles) -> Latency:
        """Returns the percentiles of seconds (calls,).

        Example:
            >>> Latency.of(np.array([0.001, 0.002, 0.003])).p50_ms
            2.0
        """
        p50, p90, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 99)) * 1000)
        return cls(p50_ms=p50, p90_ms=p90, p99_ms=p99)


@dataclass(slots=True)
class Neighbours:
    """The share of this machine's cores that other processes took, in [0, 1]; None where it cannot be read."""

    share: float | None = None


@contextmanager
def neighbours() -> Iterator[Neighbours]:
    """Measures, over its body, how busy others kept the machine: a number taken beside them is not worth much."""
    found, before = Neighbours(), _cpu_seconds()
    begin = time.perf_counter()
    yield found
    after, wall = _cpu_seconds(), time.perf_counter() - begin
    if before and after and wall > 0:
        others = (after[0] - before[0]) - (after[1] - before[1])
        found.share = min(1.0, max(0.0, others / (wall * (os.cpu_count() or 1))))


def _cpu_seconds() -> tuple[float, float] | None:
    """Returns (busy seconds of all cores, seconds of this process and its children), from Linux's own books."""
    try:
        numbers = [int(word) for word in CPU_TIMES.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    own = os.times()
    user, nice, system, _idle, _waiting, irq, soft, stolen = numbers
    busy = (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")
    return busy, own.user + own.system + own.children_user + own.children_system
