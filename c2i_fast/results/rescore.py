"""New read-outs from kept logits, without a pass: the function behind `c2i-fast rescore`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from c2i_fast.errors import C2IError, InputError
from c2i_fast.metrics.measures import protocols_of
from c2i_fast.metrics.readout import check_readouts
from c2i_fast.results.keep import read_kept
from c2i_fast.results.record import stored_measures
from c2i_fast.results.run import MAIN, RunDirectory
from c2i_fast.results.settings import RunSettings
from c2i_fast.results.summary import COLUMNS, Cell, table_rows, values_by_cell
from c2i_fast.score import ScoreTask, image_scores
from c2i_fast.types import Calibrator, Preprocessing, Score


def rescore(
    run: RunDirectory,
    calibrator: Calibrator,
    *,
    readouts: tuple[str, ...] = (),
    recalx_mismatch: str = "refuse",
    force: bool = False,
) -> tuple[str, dict[Cell, dict[str, float]]]:
    """Writes `scores/rescore-<hash>-part-*.parquet` and returns that prefix and the values by cell.

    Args:
        run: scored with `--keep-logits`.
        calibrator: a fitted one.
        readouts: by default `raw` and `calibrated`.
        recalx_mismatch: `ok` lets a ReCalX read passes of another baseline than it was fitted for.
        force: replace an earlier rescoring with the same calibrator.

    Raises:
        InputError: The run kept no logits, is not finished, was rescored with this calibrator before, or has another
            baseline than its ReCalX.
    """
    from c2i_fast.calibration.spec import calibrator_hash

    manifest, infos = run.whole_manifest(), run.infos()
    done = infos[-1].next if infos else 0
    if done < manifest["images"] and not manifest.get("stopped"):
        raise InputError(
            f"{run.path} is not finished: {done} of {manifest['images']} images; go on with --resume first"
        )
    RunSettings.from_dict(manifest["settings"])  # a damaged run is not read on
    measures = stored_measures(manifest)
    task = ScoreTask(
        measures=measures,
        readouts=check_readouts(readouts, calibrator, protocols_of(measures), recalx_mismatch),
        preprocessing=Preprocessing(),
        activation=manifest["activation"],
        calibrator=calibrator,
    )
    prefix = f"rescore-{calibrator_hash(calibrator)}-{MAIN}"
    if run.parts(prefix) and not force:
        raise InputError(f"{run.path} was rescored with this calibrator already; give --force to do it again")
    try:
        for number, (part, info) in enumerate(zip(run.parts(), infos, strict=True)):
            free = replace(info, requested=0, run=0, seconds=0.0)
            run.write_part(number, _part_scores(run, part, number, task), free, prefix=prefix)
    except C2IError:
        for part in run.parts(prefix):  # half a rescoring would pass for a whole one
            part.unlink()
        raise
    return prefix, values_by_cell(table_rows(run.read(prefix, COLUMNS)))


def _part_scores(run: RunDirectory, part: Path, number: int, task: ScoreTask) -> Iterator[Score]:
    folder = run.path / "logits"
    logits, curves = folder / part.name, folder / f"curves-{number:05d}.parquet"
    if not logits.exists() or not curves.exists():
        raise InputError(f"{run.path} kept no logits; score again with --keep-logits")
    try:
        kept = read_kept(logits, curves, {p.hash(): p for p in task.protocols})
        for image, targets, requests, raw, fractions in kept:
            yield from image_scores(image, requests, raw, fractions, targets, task)
    except C2IError:
        raise
    except (KeyError, ValueError, IndexError) as error:  # the two files do not belong together
        raise InputError(
            f"{logits} and {curves.name} do not fit ({error}); the run is damaged, score it afresh"
        ) from error
