"""What a source of images is: ids, labels, and a stream in input order that never holds more than a few images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from c2i_fast.data.frame import Frame
from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import Bools, Floats, frozen

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Image:
    """One image, ready for the graph's `pixels` input.

    Attributes:
        index: its place in the source.
        id: its path relative to the source, or its name in an .npz.
        pixels: float32 (C, *space), read-only; pictures are RGB (or grey) in [0, 1], float arrays are as stored.
        labels: class indices; empty where the source has none.
        target: the class to follow, where the source names one.
        region: bool (*space), where the object is; None where nobody said, or what was said is not in view.
    """

    index: int
    id: str
    pixels: Floats
    labels: tuple[int, ...] = ()
    target: int | None = None
    region: Bools | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An image that could not be read and was left out, and why."""

    index: int
    id: str
    reason: str


class ImageSource(ABC):
    """Images on disk, in a fixed order.

    Attributes:
        ids: one distinct name per image.
        labels: class indices per image, or None.
        targets: one class per image to follow, or None.
        notes: what the user should be told about how the source was understood.
    """

    def __init__(
        self,
        ids: Sequence[str],
        labels: Sequence[tuple[int, ...]] | None = None,
        targets: Sequence[int] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.ids = ids
        self.labels = labels
        self.targets = targets
        self.notes = list(notes)

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of ids, labels and contents; above 1 GiB, `stat:` and one of ids, sizes and mtimes."""

    @abstractmethod
    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields, from image `start` on, what returns its pixels when called (in a thread); a fault is `InputError`."""

    def picks(self, places: Iterable[int]) -> Iterator[Callable[[], Floats]]:
        """Yields what returns the pixels of these images, in this order; sources that can seek do better."""
        return (next(self.loads(place)) for place in places)

    def frame(self, number: int) -> Frame:
        """Returns what is done to the size of image `number`; a source that cannot say has no regions."""
        raise InputError(
            f"these images ({type(self).__name__}) do not say how image {number} was resized; leave regions out"
        )

    def stream(
        self, start: int = 0, *, workers: int = 2, on_error: Literal["stop", "skip"] = "stop"
    ) -> Iterator[Image | Skipped]:
        """Yields images from number `start` on, in input order, decoded by threads a little ahead of the consumer.

        Args:
            start: how many images to leave out at the front; the rest is what a full stream would yield.
            workers: decoding threads; at most `2 · workers` images wait, whatever the size of the source.
            on_error: `stop` raises at the first image that cannot be read; `skip` yields a `Skipped` in its place.
        """
        if workers < 1:
            raise UsageError(f"--workers must be at least 1, got {workers}")
        if start < 0:
            raise ValueError(f"start must not be negative, got {start}")
        tasks = (partial(self._attempt, index, load, on_error) for index, load in enumerate(self.loads(start), start))
        return in_order(tasks, workers)

    def _attempt(self, index: int, load: Callable[[], Floats], on_error: str) -> Image | Skipped:
        name = self.ids[index]
        try:
            pixels = load()
        except InputError as error:
            if on_error == "skip":
                return Skipped(index=index, id=name, reason=str(error))
            raise InputError(f"{error}; mend or remove it, or leave such files out with --on-error skip") from error
        labels = () if self.labels is None else self.labels[index]
        target = None if self.targets is None else self.targets[index]
        return Image(index=index, id=name, pixels=pixels, labels=labels, target=target)


def in_order(tasks: Iterable[Callable[[], T]], workers: int) -> Iterator[T]:
    """Yields the results of `tasks` in their order, computed by threads at most `2 · workers` tasks ahead.

    An exception is raised at its place in the order. However the consumer leaves (an error, Ctrl-C, `close`), tasks
    not begun are dropped and the threads end.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="c2i-images")
    waiting: deque[Future[T]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(task))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
