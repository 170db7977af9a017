"""`c2i-fast demo`: the whole pipeline on data it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from c2i_fast.cli.options import Force, Seed, TalkOptions, flattened
from c2i_fast.cli.render import interval, sayer, show_json, show_table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Run the whole pipeline on images it makes itself, whose true explanation is known.")(
        flattened(demo)
    )


def demo(
    talk: TalkOptions,
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer images and masks: under thirty seconds.")] = False,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Runs the demo and prints its table."""
    from c2i_fast.demo.pipeline import run_demo

    content = run_demo(out, quick=quick, seed=seed, force=force, say=sayer(talk))
    show_json(content) if talk.json else _table(content)


def _table(content: dict[str, Any]) -> None:
    scores = {(row["method"], row["metric"], row["readout"]): row for row in content["score"]["scores"]}
    rows = []
    for truth in content["truth"]:
        name = truth["method"]
        gaps = [scores[name, "gap", readout] for readout in ("raw", "calibrated")]
        both = [
            " / ".join(f"{scores[name, metric, readout]['mean']:.3f}" for readout in ("raw", "calibrated"))
            for metric in ("deletion", "insertion")
        ]
        rows.append([name, *(interval(row["mean"], row["ci95"], 3) for row in (truth, *gaps)), *both])
    show_table(
        f"\n{content['score']['images']} images; means with 95 % intervals",
        [
            "method",
            "mass accuracy ↑ (truth)",
            "gap ↑, raw",
            "gap ↑, calibrated",
            "deletion ↓, raw / cal.",
            "insertion ↑, raw / cal.",
        ],
        rows,
    )
    print(
        f"Mass accuracy: the share of a map that lies on the shape; {content['uniform_mass_accuracy']:.3f} if it is flat."
    )
    print(content["verdict"])
    print(f"wrote {content['out']} in {content['seconds']:.0f} s")
