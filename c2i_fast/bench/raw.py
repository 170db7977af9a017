"""The raw engine: the fused graph on random images that are made once. The ceiling that scoring is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from c2i_fast.bench.timing import Clock, Latency, TimingRules, take_turns
from c2i_fast.errors import UsageError
from c2i_fast.types import Doubles, Floats, GraphContract, Session

BATCHES = (1, 8, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One batch size.

    Attributes:
        images_per_s: batch ÷ the median latency.
        iterations: timed calls.
    """

    batch: int
    images_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    iterations: int

    @classmethod
    def of(cls, batch: int, seconds: Doubles) -> RawRow:
        """Returns the row of calls that took `seconds` (calls,)."""
        latency = Latency.of(seconds)
        return cls(
            batch=batch,
            images_per_s=batch * 1000 / latency.p50_ms,
            p50_ms=latency.p50_ms,
            p90_ms=latency.p90_ms,
            p99_ms=latency.p99_ms,
            iterations=len(seconds),
        )


def image_shape(contract: GraphContract) -> tuple[int, ...]:
    """Returns (C, *space); a size the graph leaves open is the preprocessing's.

    Raises:
        UsageError: Neither says the size.
    """
    space = contract.space if None not in contract.space else contract.preprocessing.size
    if space is None:
        raise UsageError("this graph takes images of any size; say which to time, e.g. --size 224")
    return (contract.channels, *(int(size) for size in space if size))


def usable_batches(contract: GraphContract, batches: Sequence[int]) -> tuple[int, ...]:
    """Returns the batch sizes that can be timed, ascending: those asked for, or the graph's own fixed one."""
    return (contract.batch,) if contract.batch else tuple(sorted(set(batches)))


def random_images(count: int, shape: tuple[int, ...], seed: int = 0) -> Floats:
    """Returns uniform noise in [0, 1), float32 (count, *shape)."""
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


def sweep(
    sessions: Mapping[str, Session],
    contract: GraphContract,
    batches: Sequence[int],
    rules: TimingRules,
    *,
    clock: Clock = time.perf_counter,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, tuple[RawRow, ...]]:
    """Returns a row for each batch size and engine; at each size the engines take turns.

    Args:
        sessions: opened fused graphs, by engine.
        contract: of the graphs, for the shape and a fixed batch.
        batches: sizes; a graph of a fixed batch is timed at that one alone.
        rules: of each timing.
        clock: tells seconds.
        say: told of each row.
    """
    sizes = usable_batches(contract, batches)
    images = random_images(max(sizes), image_shape(contract))
    rows: dict[str, list[RawRow]] = {name: [] for name in sessions}
    for batch in sizes:
        subjects = {name: raw_call(session, images[:batch]) for name, session in sessions.items()}
        for name, seconds in take_turns(subjects, rules, clock).items():
            rows[name].append(RawRow.of(batch, seconds))
            say(f"raw {name} batch {batch}: {rows[name][-1].images_per_s:,.1f} images/s")
    return {name: tuple(found) for name, found in rows.items()}


def raw_call(session: Session, images: Floats) -> Callable[[], object]:
    """Returns what runs the fused graph on these images."""
    return lambda: session.run({"pixels": images})


def best(rows: Sequence[RawRow]) -> RawRow:
    """Returns the row with the most images per second."""
    return max(rows, key=lambda row: row.images_per_s)
