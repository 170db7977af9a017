"""What a command prints: notes and progress on stderr, a table or JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from c2i_fast.cli.options import TalkOptions

WIDEST = 1000  # a line that the terminal wraps is readable; one that is cut is not

Advance = Callable[[int, int], None]
"""Told (images finished, passes run) since the last call."""


def sayer(talk: TalkOptions) -> Callable[[str], None]:
    """Returns what prints a note: to stderr, or nowhere with --quiet."""
    return (lambda message: None) if talk.quiet else (lambda message: print(message, file=sys.stderr))


def show_json(content: Any) -> None:
    """Prints JSON on stdout; NaN and infinities become null."""
    print(json.dumps(_plain(content), indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Prints a table on stdout; the first `left` columns are text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    print(title)
    Console(width=WIDEST, highlight=False, markup=False).print(table)


def interval(mean: float | None, ci95: Sequence[float] | None, digits: int = 4) -> str:
    """Returns `0.1234 [0.1200, 0.1268]`, or the number alone where there is no interval."""
    if mean is None:
        return "–"
    text = f"{mean:.{digits}f}"
    return text if not ci95 or ci95[0] is None else f"{text} [{ci95[0]:.{digits}f}, {ci95[1]:.{digits}f}]"


@contextmanager
def progress(talk: TalkOptions, label: str, images: int) -> Iterator[Advance]:
    """Shows images done, passes per second and the time left, on a terminal; says nothing to a file or pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if talk.quiet or not console.is_terminal:
        yield lambda images, passes: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=images, rate="")
        total = 0

        def advance(images: int, passes: int) -> None:
            nonlocal total
            total += passes
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, advance=images, rate=f"{total / elapsed:,.0f} passes/s" if elapsed else "")

        yield advance
