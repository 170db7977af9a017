"""`c2i-fast plan`: how many images and passes a difference needs, from a pilot run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2i_fast.cli.options import TalkOptions, flattened
from c2i_fast.cli.render import show_json, show_table
from c2i_fast.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Say from a pilot run how many images and passes a paired difference needs.")(flattened(plan))


def plan(
    talk: TalkOptions,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of two or more methods, 30 images or so.")],
    detect: Annotated[float, typer.Option(help="The paired difference to see, in the metric's unit; e.g. 0.01.")],
    power: Annotated[float, typer.Option(help="Probability of seeing it.")] = 0.8,
    level: Annotated[float, typer.Option(help="Of all pairs of a metric and read-out together.")] = 0.05,
    sure: Annotated[float, typer.Option(help="Of the upper limit: a pilot knows the spread only roughly.")] = 0.9,
) -> None:
    """Reads the pilot, computes, prints the hardest pair of each metric and read-out; all of them as JSON."""
    from c2i_fast.results.pilot import plan_from
    from c2i_fast.results.run import RunDirectory

    _check(detect, power, level, sure)
    found = plan_from(RunDirectory(run), detect, level=level, power=power, sure=sure)
    if talk.json:
        asked = {"detect": detect, "power": power, "level": level, "sure": sure}
        pilot = {"run": str(run), "images": found.images, "passes_per_image": found.passes_per_image}
        show_json(asked | {"pilot": pilot, "pairs": [pair.to_dict() for pair in found.pairs]})
        return
    rows = [
        [
            p.metric,
            p.readout,
            f"{p.first} − {p.second}",
            f"{p.difference:.4f}",
            f"{p.need.spread:.4f}",
            f"{p.need.images:,}",
            f"{p.need.images_upper:,}",
            f"{p.passes:,}",
            f"{p.passes_upper:,}",
        ]
        for p in found.hardest()
    ]
    columns = [
        "metric",
        "read-out",
        "hardest pair",
        "pilot's difference",
        "spread",
        "images",
        f"{sure:.0%} sure",
        "passes",
        f"{sure:.0%} sure",
    ]
    title = f"to see a paired difference of {detect:g} with power {power:g}, from a pilot of {found.images} images"
    show_table(title, columns, rows, left=3)
    print(f"two-sided paired t-tests at {level:g} over all pairs of a line (Bonferroni)")
    print(f"{found.passes_per_image:.0f} passes an image; {sure:.0%} sure: for the upper limit of the spread")


def _check(detect: float, power: float, level: float, sure: float) -> None:
    if not 0 < detect < float("inf"):
        raise UsageError(f"--detect must be a number above 0, got {detect:g}")
    if not 0 < level < 0.5:
        raise UsageError(f"--level must lie between 0 and 0.5, got {level:g}")
    if not level < power < 1:
        raise UsageError(f"--power must lie between --level and 1, got {power:g}")
    if not 0.5 <= sure < 1:
        raise UsageError(f"--sure must be at least 0.5 and below 1, got {sure:g}")
