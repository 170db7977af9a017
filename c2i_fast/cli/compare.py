"""`c2i-fast compare`: why two protocols give two numbers on the same images."""

from __future__ import annotations

from typing import Annotated

import typer

from c2i_fast.cli.options import (
    EngineOptions,
    Images,
    Limit,
    ModelOptions,
    TalkOptions,
    Workers,
    flattened,
    open_source,
)
from c2i_fast.cli.render import interval, progress, sayer, show_json, show_table
from c2i_fast.errors import UsageError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Why do two protocols give two numbers? The fields that differ, and the share of each.")(
        flattened(compare)
    )


def compare(
    engine: EngineOptions,
    talk: TalkOptions,
    model: ModelOptions,
    images: Images,
    protocols: Annotated[
        list[str], typer.Option(metavar="NAME,NAME", help="Presets to compare, the first with each other one.")
    ],
    maps: Annotated[
        list[str], typer.Option(metavar="[NAME=]PATH", help="What explain wrote, an .npz, or a folder of .npy.")
    ],
    metric: Annotated[str, typer.Option(help="A metric of one curve that all the presets have.")] = "deletion",
    readout: Annotated[str, typer.Option(metavar="NAME", help="raw, calibrated, logit or sigmoid.")] = "raw",
    limit: Limit = None,
    workers: Workers = 2,
) -> None:
    """Scores every mixture of the protocols, and prints each field's Shapley share."""
    from c2i_fast.data.maps import check_ids, open_maps
    from c2i_fast.export.open import open_passes
    from c2i_fast.memory import as_calibrator
    from c2i_fast.metrics.readout import check_readouts
    from c2i_fast.results.protocol_difference import curve_protocols, protocol_differences
    from c2i_fast.score import ScoreTask

    say = sayer(talk)
    chosen = curve_protocols([name for text in protocols for name in text.split(",") if name], metric)
    if not all(maps):
        raise UsageError("--maps is empty; give [NAME=]PATH")
    classifier = model.load(say)
    source = open_source(images, classifier, say, limit)
    sources = open_maps(tuple(maps))
    check_ids(sources, source.ids)
    contract, calibrator = classifier.contract, as_calibrator(None, classifier)
    task = ScoreTask(
        measures=(),
        readouts=check_readouts((readout,), calibrator),
        preprocessing=contract.preprocessing,
        activation=contract.activation,
        calibrator=calibrator,
    )
    config = engine.choose(classifier)
    passes = open_passes(classifier, config.config, say)
    with progress(talk, "compare", len(source)) as advance:
        found, run = protocol_differences(
            source, sources, passes, task, chosen, workers=workers, on_images=lambda n: advance(n, 0)
        )
    if talk.json:
        show_json({"images": len(source), "passes": run, "differences": [d.to_dict() for d in found]})
        return
    for d in found:
        a, b = d.protocols
        change = interval(d.change.mean, d.change.ci95)
        rows = [[s.field, s.first, s.second, interval(s.share.mean, s.share.ci95)] for s in d.shares]
        rows.append(["all", f"{d.first.mean:.4f}", f"{d.second.mean:.4f}", change])
        show_table(f"{d.method}, {d.metric}, {d.readout}: {a} → {b}", ["field", a, b, "share [95 %]"], rows, left=3)
    print(f"{run:,} passes; shares are Shapley values: averaged over every order of changing the fields")
