"""`c2i-fast demo`: the whole pipeline on data it makes itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from c2i_fast.cli.options import Force, Seed, TalkOptions, flattened
from c2i_fast.cli.render import sayer, show_json, show_table

READOUTS = ("raw", "calibrated")


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
    """Prints the truth beside the gap, deletion and insertion below, and which of them orders methods as the truth."""
    truth = content["truth"]
    methods = tuple(dict.fromkeys(row["name"] for row in truth["methods"]))
    known = {(row["name"], row["measure"]): row for row in truth["methods"]}
    scores = {(row["method"], row["metric"], row["readout"]): row for row in content["score"]["scores"]}
    gap, others = (
        [(f"{metric} {readout}", metric.split()[0], readout) for metric in metrics for readout in READOUTS]
        for metrics in (("gap ↑",), ("deletion ↓", "insertion ↑"))
    )
    print()
    show_table(
        f"{content['score']['images']} images: means ± half their 95 % interval, beside what is true",
        ["method", *(f"{_spoken(measure)} ↑" for measure in truth["verdict"]), *(title for title, _, _ in gap)],
        [
            [name, *(_cell(known[name, measure]) for measure in truth["verdict"]), *_cells(scores, name, gap)]
            for name in methods
        ],
    )
    print(
        "\nmass accuracy: share of a map that lies on the shape; a constant offset, such as rise's, counts against it\n"
        "top precision: share of its highest pixels, as many as the shape has, that lie there; ranks alone count\n"
        f"either of a map that knows nothing: {truth['chance']:.3f}\n"
    )
    show_table(
        "the curves that the gap lies between",
        ["method", *(title for title, _, _ in others)],
        [[name, *_cells(scores, name, others)] for name in methods],
    )
    print("\nWhich score orders the methods like the truth? (Kendall's τ: 1 the same order, 0 unrelated, −1 reversed)")
    for measure, verdict in truth["verdict"].items():
        print(f"  {_spoken(measure)}: {verdict}")
    print(f"wrote {content['out']} in {content['seconds']:.0f} s")


def _cells(scores: dict[Any, Any], method: str, columns: list[tuple[str, str, str]]) -> list[str]:
    return [_cell(scores[method, metric, readout]) for _, metric, readout in columns]


def _cell(row: dict[str, Any]) -> str:
    return f"{row['mean']:.3f} ±{(row['ci95'][1] - row['ci95'][0]) / 2:.3f}"


def _spoken(measure: str) -> str:
    return measure.replace("-", " ")
