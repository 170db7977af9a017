"""`c2i-fast demo`: the whole pipeline on data it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from c2i_fast.cli.options import Force, Seed, TalkOptions, flattened
from c2i_fast.cli.render import interval, sayer, show_json, show_table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Run the whole pipeline, data and network included, on images whose explanation is known.")(
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
    raise NotImplementedError
