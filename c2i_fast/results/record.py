"""Scoring into a run directory: the function behind `c2i-fast score`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from c2i_fast.data.map_source import MapSource
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.metrics import METRICS
from c2i_fast.metrics.measures import Measure, protocols_of
from c2i_fast.protocols import Protocol
from c2i_fast.results.keep import logits_table, requests_table
from c2i_fast.results.run import MAIN, PartInfo, RunDirectory
from c2i_fast.results.stopping import Stopping
from c2i_fast.results.summary import COLUMNS, score_rows, table_rows
from c2i_fast.score import ScoredPart, ScoreTask, score_stream
from c2i_fast.types import MaskedPasses


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a run has done so far, over all its sessions."""

    images: int = 0
    requested: int = 0
    run: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, infos: list[PartInfo]) -> Totals:
        """Returns the sums over parts."""
        return cls(
            images=sum(i.images for i in infos),
            requested=sum(i.requested for i in infos),
            run=sum(i.run for i in infos),
            skipped=sum(len(i.skipped) for i in infos),
            seconds=sum(i.seconds for i in infos),
        )


def record(
    run: RunDirectory,
    images: ImageSource,
    maps: Mapping[str, MapSource],
    passes: MaskedPasses,
    task: ScoreTask,
    *,
    prefix: str = MAIN,
    keep_logits: bool = False,
    workers: int = 2,
    on_error: Literal["stop", "skip"] = "stop",
    on_part: Callable[[PartInfo], None] = lambda info: None,
    stopping: Stopping | None = None,
) -> Totals:
    """Scores what the run does not hold yet, part after part, and returns the totals of the whole run.

    A part is written when all its images are scored; whatever kills the process, the next call goes on after the last
    part and ends with the same rows, bit for bit. `stopping` is shown every image, those of earlier sessions first, and
    ends the run after the part in which all is decided.
    """
    infos = run.infos(prefix)
    if stopping and infos and stopping.update(table_rows(run.read(prefix, COLUMNS))):
        return Totals.of(infos)
    start = infos[-1].next if infos else 0
    clock = time.perf_counter()
    stream = images.stream(start, workers=workers, on_error=on_error)
    with closing(score_stream(stream, maps, passes, task, keep_logits=keep_logits)) as parts:
        for number, part in enumerate(parts, len(infos)):
            kept = None
            if keep_logits:
                kept = {prefix: logits_table(part.images), "curves": requests_table(part.images)}
            scores = [score for image in part.images for score in image.scores]
            now = time.perf_counter()
            info = part_info(part, now - clock)
            run.write_part(number, scores, info, prefix=prefix, kept=kept)
            infos.append(info)
            clock = now
            on_part(info)
            if stopping and stopping.update(score_rows(scores)):
                break
    return Totals.of(infos)


def part_info(part: ScoredPart, seconds: float) -> PartInfo:
    """Returns what the part file will say of itself; passes made only to find the target are not counted."""
    return PartInfo(
        first=part.first,
        next=part.next,
        images=len(part.images),
        requested=sum(image.plan.requested for image in part.images),
        run=sum(image.run for image in part.images),
        skipped=tuple((s.id, s.reason) for s in part.skipped),
        seconds=seconds,
    )


def measure_entries(measures: Sequence[Measure]) -> dict[str, Any]:
    """Returns every protocol in full, and each metric with the hashes of its own, for `run.json`."""
    return {
        "protocols": [protocol.to_dict() for protocol in protocols_of(measures)],
        "measures": [{"metric": m.metric.name, "protocols": [p.hash() for p in m.protocols]} for m in measures],
    }


def stored_measures(manifest: Mapping[str, Any]) -> tuple[Measure, ...]:
    """Returns the measures of a run.

    Raises:
        InputError: They were written by another version, or by nobody's.
    """
    try:
        protocols = {entry["hash"]: Protocol.from_dict(entry) for entry in manifest["protocols"]}
        return tuple(
            Measure(metric=METRICS[entry["metric"]], protocols=tuple(protocols[key] for key in entry["protocols"]))
            for entry in manifest["measures"]
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"run.json has protocols that were changed, or of another version of c2i-fast ({error}); score afresh"
        ) from error
