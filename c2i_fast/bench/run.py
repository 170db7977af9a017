"""The benchmark behind `c2i-fast bench`: open, check, sweep, score, in turns over all engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from c2i_fast.bench.environment import environment
from c2i_fast.bench.parity import IMAGES, Parity, check_parity
from c2i_fast.bench.raw import RawRow, best, image_shape, random_images, raw_call, sweep
from c2i_fast.bench.report import BenchReport
from c2i_fast.bench.scoring import (
    ScoringFigures,
    Workload,
    curve_intervals,
    images_for,
    scoring_task,
    smooth_noise,
    synthetic_workload,
)
from c2i_fast.bench.timing import Clock, TimingRules, neighbours, take_turns
from c2i_fast.calibration.spec import calibrator_from_spec
from c2i_fast.engines.select import EngineChoice, installed
from c2i_fast.export.open import GraphOpener
from c2i_fast.export.precision import CALIBRATION_IMAGES, converted_for
from c2i_fast.export.verify import plain_engine
from c2i_fast.models.classifier import Classifier
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.results.record import Totals
from c2i_fast.types import Doubles, EngineConfig

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """An engine to be timed, its graphs open."""

    name: str
    config: EngineConfig
    passes: GraphPasses


def run_bench(
    classifier: Classifier,
    choices: Sequence[EngineChoice],
    batches: Sequence[int],
    rules: TimingRules,
    *,
    clock: Clock = time.perf_counter,
    say: Say = lambda message: None,
) -> list[BenchReport]:
    """Returns a report for each engine; nothing is timed before all of them agree with fp32.

    Args:
        classifier: what is timed.
        choices: the engines, one or several.
        batches: sizes of the raw sweep; scoring uses the choice's own.
        rules: of every single timing.
        clock: tells seconds.
        say: told of each step.

    Raises:
        ContractError: An engine's answers are not to be trusted.
    """
    subjects = [_opened(classifier, choice.config) for choice in choices]
    parities = [_parity(classifier, subject, say) for subject in subjects]
    with neighbours() as others:
        sessions = {subject.name: subject.passes.session("fused") for subject in subjects}
        raw = sweep(sessions, classifier.contract, batches, rules, clock=clock, say=say)
        scoring = _scoring(classifier, subjects, raw, rules, clock)
    return [
        BenchReport(
            engine=subject.config.engine,
            precision=subject.config.precision,
            raw=raw[subject.name],
            scoring=scoring[subject.name],
            parity=parity,
            environment={
                **environment(subject.config.threads, parity.precision_used),
                "busy_elsewhere": others.share,
            },
        )
        for subject, parity in zip(subjects, parities, strict=True)
    ]


def _opened(classifier: Classifier, config: EngineConfig) -> _Subject:
    contract = classifier.contract
    # The benchmark has no pictures: int8 takes its ranges from images like those that it times.
    ready = converted_for(classifier, config, smooth_noise(CALIBRATION_IMAGES, image_shape(contract), seed=4))
    passes = GraphPasses(GraphOpener(ready, config), ready.contract, config.batch_size)
    passes.warm_up(scoring_task(contract, None).protocols)
    return _Subject(name=f"{config.engine} {config.precision}", config=config, passes=passes)


def _parity(classifier: Classifier, subject: _Subject, say: Say) -> Parity:
    contract, config = classifier.contract, subject.config
    reference: ReferencePasses = subject.passes
    onnx = installed("onnxruntime") or installed("openvino")
    exact = replace(plain_engine() if onnx else config, threads=config.threads, batch_size=config.batch_size)
    if exact != config:
        reference = ReferencePasses(GraphOpener(classifier, exact), contract, exact.batch_size)
    shape = image_shape(contract)
    found = check_parity(
        subject.passes,
        reference,
        list(smooth_noise(IMAGES, shape, seed=2)),
        list(smooth_noise(IMAGES, (1, *shape[1:]), seed=3)[:, 0]),
        scoring_task(contract, None).protocols,
        precision=config.precision,
        reference_name=f"{exact.engine} {contract.precision}",
    )
    if contract.precision != "fp32":  # the file's own: there is no fp32 of it, and no equality to conclude from
        found = replace(found, precision_used=contract.precision)
    say(f"parity {subject.name}: max |Δp| {found.max_abs_dprob:.1e} on {found.passes} masked images")
    return found


def _scoring(
    classifier: Classifier,
    subjects: Sequence[_Subject],
    raw: Mapping[str, Sequence[RawRow]],
    rules: TimingRules,
    clock: Clock,
) -> dict[str, ScoringFigures]:
    """Times whole scoring runs in turns with the raw engine at its best batch."""
    once = replace(rules, iterations=rules.turns, warm_up_iterations=1, warm_up_seconds=0.0)
    workloads = {s.name: _workload(classifier, s, best(raw[s.name]).images_per_s, rules) for s in subjects}
    totals = dict[str, Totals]()
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    for subject in subjects:
        name, batch = subject.name, best(raw[subject.name]).batch
        images = random_images(batch, image_shape(classifier.contract))
        calls["raw", name] = raw_call(subject.passes.session("fused"), images)
        calls["scoring", name] = lambda name=name: totals.__setitem__(name, workloads[name].score())  # type: ignore[misc]
    taken: dict[tuple[str, str], Doubles] = take_turns(calls, once, clock)
    return {
        s.name: ScoringFigures.of(
            taken["scoring", s.name],
            taken["raw", s.name],
            totals=totals[s.name],
            batch=s.passes.batch,
            raw_batch=best(raw[s.name]).batch,
        )
        for s in subjects
    }


def _workload(classifier: Classifier, subject: _Subject, images_per_s: float, rules: TimingRules) -> Workload:
    """Returns as many synthetic images as fill one turn."""
    contract = classifier.contract
    calibrator = calibrator_from_spec(contract.calibrator) if contract.calibrator else None
    count = images_for(
        rules.seconds / rules.turns, images_per_s, 2 * curve_intervals(contract)
    )  # all curves cost two: the mirror
    return synthetic_workload(contract, subject.passes, count, calibrator)
