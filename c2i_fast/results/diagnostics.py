"""How often each warning of a run's rows was given, for each method."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

DIAGNOSTIC_COLUMNS = ("image", "method", "warnings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A warning of a method's rows.

    Attributes:
        warning: without the number that follows its `=`.
        images: of how many images some row has it.
        of: how many images the method has.
    """

    method: str
    warning: str
    images: int
    of: int

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return asdict(self)


def count_warnings(rows: Iterable[tuple[str, str, list[str]]]) -> tuple[Diagnostic, ...]:
    """Returns the warnings of rows (image, method, warnings), in the order of methods, those of most images first.

    Example:
        >>> found = count_warnings([("a", "rise", ["ties=0.20"]), ("a", "rise", ["ties=0.30"]), ("b", "rise", [])])
        >>> (found[0].warning, found[0].images, found[0].of)
        ('ties', 1, 2)
    """
    images: dict[str, set[str]] = {}
    warned: dict[str, dict[str, set[str]]] = {}
    for image, method, warnings in rows:
        images.setdefault(method, set()).add(image)
        for text in warnings:
            warned.setdefault(method, {}).setdefault(text.partition("=")[0], set()).add(image)
    return tuple(
        Diagnostic(method=method, warning=warning, images=len(where), of=len(images[method]))
        for method in images
        for warning, where in sorted(warned.get(method, {}).items(), key=lambda item: (-len(item[1]), item[0]))
    )
