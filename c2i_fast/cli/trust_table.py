"""The block under a table of scores: how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from c2i_fast.cli.render import interval, show_table
from c2i_fast.results.summary import FLOOR, Cell

if TYPE_CHECKING:
    from c2i_fast.reliability.agreement import Agreement
    from c2i_fast.results.trust import Trust

OWN = "without controls"
COLUMNS = ("metric", "read-out", "α over images [95 %]", OWN, "split-half τ", "told apart", "closest pair")


def show_trust(cells: Mapping[Cell, Mapping[str, float]]) -> None:
    """Prints one line for each metric and read-out; nothing for one method, a sentence for one image."""
    if len({method for method, *_ in cells}) < 2:
        return
    if max(map(len, cells.values())) < 2:
        print("one image: no statement over images can be made; score more")
        return
    from c2i_fast.results.trust import FEWEST_METHODS, trust, verdict

    entries = trust(cells)
    controls = any(entry.without_controls for entry in entries)
    rows = [_row(entry, controls) for entry in entries]
    columns = [name for name in COLUMNS if controls or name != OWN]
    own = next((entry.without_controls.methods for entry in entries if entry.without_controls), 0)
    if 0 < own < FEWEST_METHODS:
        columns[columns.index(OWN)] = f"{OWN} ({own} methods: no verdict)"
    floor = any(FLOOR in entry.better for entry in entries)
    verdicts = list(dict.fromkeys(verdict(entry.agreement) for entry in entries))
    said = verdicts[0] if len(verdicts) == 1 and verdicts[0].startswith("no verdict") else None
    title = f"how far to trust it (docs/how-far-to-trust.md){'; α: ' + said if said else ''}"
    if not said:
        columns.insert(3, "verdict")
        rows = [[*row[:3], verdict(entry.agreement), *row[3:]] for row, entry in zip(rows, entries, strict=True)]
    if floor:
        columns.append(f"better than {FLOOR}")
        rows = [[*row, _above_floor(entry)] for row, entry in zip(rows, entries, strict=True)]
    if len({entry.protocol for entry in entries}) > 1:
        columns.insert(1, "protocol")
        rows = [[row[0], entry.protocol, *row[1:]] for row, entry in zip(rows, entries, strict=True)]
    show_table(title, columns, rows, left=len(columns))


def _row(entry: Trust, controls: bool) -> list[str]:
    pairs = entry.pairs
    apart = f"{sum(pair.separated() for pair in pairs)} of {len(pairs)} pairs"
    row = [entry.metric, entry.readout, _alpha(entry.agreement)]
    row += [_alpha(entry.without_controls)] if controls else []
    return [*row, _number(entry.stability.tau), apart, _closest(entry)]


def _alpha(found: Agreement | None) -> str:
    return interval(found.alpha, found.ci95, digits=2) if found and found.alpha == found.alpha else "–"


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "–"


def _closest(entry: Trust) -> str:
    """The pair that is hardest to tell apart: its difference, and its p-value after Holm's correction."""
    if not entry.pairs:
        return "–"
    pair = max(entry.pairs, key=lambda pair: (pair.p_holm, pair.p))
    return f"{pair.first} − {pair.second} {interval(pair.difference.mean, pair.difference.ci95)}, p {pair.p_holm:.2g}"


def _above_floor(entry: Trust) -> str:
    above = [method for method, beaten in entry.better.items() if FLOOR in beaten]
    return ", ".join(above) or "none"
