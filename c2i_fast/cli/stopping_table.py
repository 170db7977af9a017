"""What `score --until-separated` found, and about what it speaks."""

from __future__ import annotations

from collections import Counter
from typing import Any

from c2i_fast.cli.render import interval, show_table
from c2i_fast.reliability.sequential import UNDECIDED

MOST_LINES = 12
ABOUT = {
    "set": "the mean over this set of {of} images, drawn without replacement",
    "population": "the mean over the population that these images were drawn from",
}


def show_stopping(found: dict[str, Any]) -> None:
    """Prints how far the run went, the estimand, and the verdicts on up to twelve pairs; the rest is in the JSON.

    Args:
        found: `Stopping.to_dict()`.
    """
    counts = Counter(pair["verdict"] for pair in found["pairs"])
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
    title = (
        f"{'decided after' if found['done'] else 'not decided by'} {found['images']} of {found['of']} images in random "
        f"order: {said} (within ±{found['margin']:g}), {found['confidence']:.0%} for all of it together"
    )
    pairs = sorted(found["pairs"], key=lambda pair: pair["verdict"] != UNDECIDED)
    rows = [
        [
            pair["metric"],
            pair["readout"],
            f"{pair['first']} − {pair['second']}",
            pair["verdict"],
            interval(pair["difference"], pair["interval"]),
            str(pair["decided_at"] or "–"),
        ]
        for pair in pairs[:MOST_LINES]
    ]
    show_table(title, ["metric", "read-out", "pair", "verdict", "difference [sequence]", "at image"], rows, left=4)
    if len(pairs) > MOST_LINES:
        print(f"… and {len(pairs) - MOST_LINES} pairs more, in --json")
    print(f"estimand: {ABOUT[found['estimand']].format(of=found['of'])}")
    print("these intervals hold whenever one stops; those above are for a number of images fixed beforehand")
