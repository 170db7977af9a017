"""`c2i-fast bench`: latency and throughput of a classifier, and how much of it scoring reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from c2i_fast.cli.options import EngineOptions, ModelOptions, Seed, TalkOptions, flattened
from c2i_fast.cli.render import sayer, show_json, show_table
from c2i_fast.errors import UsageError

if TYPE_CHECKING:
    from c2i_fast.engines.select import EngineChoice
    from c2i_fast.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is timed, and for how long."""

    batch: Annotated[str, typer.Option(metavar="N,N,…", help="Batch sizes of the raw engine.")] = "1,8,32"
    engine: Annotated[
        list[str] | None,
        typer.Option(help="auto (default), onnxruntime, openvino or torch; repeat it to compare engines in turns."),
    ] = None
    precision: Annotated[str | None, typer.Option(help="fp32 (default), bf16, fp16 or int8.")] = None
    duration: Annotated[float, typer.Option(min=0.01, help="Seconds that each timing takes at least.")] = 3.0
    batch_size: Annotated[int | None, typer.Option(min=1, help="Masked images in one batch of scoring.")] = None
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engine; default all cores.")] = None

    def batches(self) -> tuple[int, ...]:
        """Returns the sizes in `--batch`."""
        try:
            sizes = tuple(int(part) for part in self.batch.split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            raise UsageError(f"--batch must look like 1,8,32, got {self.batch!r}")
        return sizes

    def choices(self, classifier: Classifier) -> list[EngineChoice]:
        """Returns the engines to time, each once."""
        found: dict[str, EngineChoice] = {}
        for name in self.engine or ["auto"]:
            options = EngineOptions(
                engine=name, precision=self.precision, threads=self.threads, batch_size=self.batch_size
            )
            choice = options.choose(classifier)
            found.setdefault(choice.config.engine, choice)
        return list(found.values())


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Time a classifier: latency, throughput, end-to-end scoring; after checking that results agree.")(
        flattened(bench)
    )


def bench(model: ModelOptions, options: BenchOptions, talk: TalkOptions, seed: Seed = 0) -> None:
    """Loads, checks parity, times, reports."""
    batches = options.batches()
    from c2i_fast.bench import report as r
    from c2i_fast.bench.run import run_bench
    from c2i_fast.bench.timing import TimingRules

    say = sayer(talk)
    classifier = model.load(say, seed)
    choices = options.choices(classifier)
    for choice in choices:
        say(f"engine: {choice.config.engine} {choice.config.precision} ({choice.reason})")
    reports = run_bench(classifier, choices, batches, TimingRules(seconds=options.duration), say=say)
    if talk.json:
        show_json(r.summary(reports))
    else:
        where = reports[0].environment
        print(f"{where['cpu']}, {where['threads']} threads, {where['date']}\n")
        show_table(f"raw: {r.RAW_INCLUDES}", r.RAW_COLUMNS, r.raw_rows(reports))
        show_table(f"\nscoring: {r.SCORING_INCLUDES}", r.SCORING_COLUMNS, r.scoring_rows(reports))
    for line in r.notes(reports):
        say(line)
