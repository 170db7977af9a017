"""One registry for all that has a name on the command line: engines, metrics, methods, calibrators, baselines."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Generic, TypeVar

from c2i_fast.errors import InputError

T = TypeVar("T")
LONGEST_LIST = 180  # characters of names in an error


class Registry(Generic[T]):
    """Maps names to objects; a lazy entry is imported when it is first asked for.

    Example:
        >>> colours: Registry[int] = Registry("colour")
        >>> colours.add("red", 1, "a warm one")
        1
        >>> colours["red"], colours.summary("red")
        (1, 'a warm one')
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._locations: dict[str, str] = {}
        self._summaries: dict[str, str] = {}

    def add(self, name: str, entry: T, summary: str) -> T:
        """Stores `entry` under `name` and returns it; a second use of a name is a `ValueError`."""
        self._claim(name, summary)
        self._entries[name] = entry
        return entry

    def register(self, name: str, summary: str) -> Callable[[T], T]:
        """Returns a decorator that stores what it decorates."""
        return lambda entry: self.add(name, entry, summary)

    def add_lazy(self, name: str, location: str, summary: str) -> None:
        """Stores `module:attribute`, to be imported when `name` is first asked for."""
        self._claim(name, summary)
        self._locations[name] = location

    def _claim(self, name: str, summary: str) -> None:
        if name in self._summaries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._summaries[name] = summary

    def __getitem__(self, name: str) -> T:
        """Returns the entry, or raises an `InputError` that lists the names there are."""
        if name not in self._summaries:
            close = difflib.get_close_matches(name, self._summaries, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise InputError(f"there is no {self.kind} {name!r}{hint}; known: {self._known()}")
        if name not in self._entries:
            module, _, attribute = self._locations[name].partition(":")
            self._entries[name] = getattr(import_module(module), attribute)
        return self._entries[name]

    def _known(self) -> str:
        """Returns the names, or the first of them and where all are, so that an error stays a line."""
        names = ", ".join(self._summaries)
        if len(names) <= LONGEST_LIST:
            return names
        return f"{names[:LONGEST_LIST].rpartition(', ')[0]}, …; all of them: c2i-fast list {self.kind}s"

    def __contains__(self, name: object) -> bool:
        return name in self._summaries

    def __iter__(self) -> Iterator[str]:
        return iter(self._summaries)

    def summary(self, name: str) -> str:
        """Returns the one line that `c2i-fast list` prints for `name`."""
        return self._summaries[name]
