"""Which calibrator serves which network?

Every calibrator × network: accuracy, negative log-likelihood, Brier score and expected calibration error (15 bins of
equal width) of the held-out half, before and after, with 95 % intervals (of the true error where a plug-in is biased).
Half of the images is fitted on, seeded and stratified. A method that refuses a network is named with its reason.

    python benchmarks/calibrators.py
    python benchmarks/calibrators.py --case cifar --method temperature --method vector
    python benchmarks/calibrators.py --heads

With `--heads` nothing is fitted on images. What each calibrator costs inside the fused graph is timed: its nodes and
the softmax, as a graph of their own, less a graph of the softmax alone, in turns with the network without a calibrator,
at the same batch, engine and threads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import common
import numpy as np
import onnx_ir as ir

from c2i_fast.bench.raw import image_shape, random_images
from c2i_fast.calibration import CALIBRATORS
from c2i_fast.calibration.collect import collect_logits
from c2i_fast.calibration.held_out import HeldOut
from c2i_fast.calibration.recalx import ReCalX
from c2i_fast.calibration.report import fit_report
from c2i_fast.cli.render import interval
from c2i_fast.engines import ENGINES
from c2i_fast.errors import C2IError
from c2i_fast.types import EngineConfig, Session

CASES = ("cifar", "cifar56", "mobilenet", "squeezenet")
HEAD_CALLS = 20
MEASURES = ("nll", "brier", "ece-gpleiss")
COLUMNS = ("network", "calibrator", "accuracy", "NLL", "Brier", "ECE")


def main() -> None:
    parser = common.arguments(__doc__)
    heads = [name for name in CALIBRATORS if "softmax" in CALIBRATORS[name].activations]
    known = [name for name in heads if not CALIBRATORS[name].needs_perturbed_fraction]
    parser.add_argument("--method", action="append", choices=heads, help="default all for softmax heads")
    parser.add_argument("--heads", action="store_true", help="what each costs inside the fused graph of one network")
    options = parser.parse_args()
    if options.heads:
        _heads(options, options.method or heads)
        return
    rows: list[dict[str, Any]] = []
    for case in common.chosen_cases(options, CASES):
        try:
            logits, labels = _logits(case, options)
        except common.SkipError as reason:
            common.say(f"skipped {case.name}: {reason}")
            rows.append({"case": case.name, "skipped": str(reason)})
            continue
        rows += [_row(case.name, name, logits, labels) for name in options.method or known]
    common.show("held-out half", COLUMNS, [_line(row) for row in rows if "measures" in row])
    for row in rows:
        if "refused" in row:
            common.say(f"{row['case']} {row['method']}: {row['refused']}")
    common.emit("calibrators", options, {"includes": __doc__, "rows": rows})


def _logits(case: common.Case, options: argparse.Namespace) -> tuple[Any, Any]:
    """Returns the logits and labels of all images of a case, or of `--limit`."""
    classifier = case.classifier()
    config = common.engine_config(classifier, "auto", "fp32", options.threads)
    passes = common.GraphPasses(common.GraphOpener(classifier, config), classifier.contract, config.batch_size)
    limit = 40 if options.quick else options.limit
    logits, labels, _ = collect_logits(case.source(classifier, limit), passes)
    common.say(f"{case.name}: {len(labels)} images")
    return logits, labels


def _row(case: str, method: str, logits: Any, labels: Any) -> dict[str, Any]:
    try:
        report = fit_report(logits, labels, methods=(method,))
    except C2IError as reason:
        return {"case": case, "method": method, "refused": str(reason)}
    content = report.to_dict()
    found = HeldOut.of(logits, labels, 0.5, 0).measures(MEASURES, report.calibrator, seed=0)
    common.say(f"{case} {method}: NLL {found['nll']['before']['value']:.3f} → {found['nll']['after']['value']:.3f}")
    accuracy = {side: content[side]["accuracy"] for side in ("before", "after")}
    change = content["nll_change"]
    return {"case": case, "method": method, "measures": found, "accuracy": accuracy, "nll_change": change}


def _heads(options: argparse.Namespace, methods: Sequence[str]) -> None:
    """Times every head, and prints it as a share of the network's pass."""
    (case,) = common.chosen_cases(options, ("mobilenet",))
    classifier = case.classifier()
    config = common.engine_config(classifier, "auto", "fp32", options.threads)
    network = common.GraphOpener(classifier, config)("fused")
    classes, rows = classifier.contract.classes, []
    plain, _ = _head_alone("identity", classes, config)
    for name in methods:
        try:
            session, inputs = _head_alone(name, classes, config)
        except C2IError as reason:
            rows.append({"method": name, "refused": str(reason)})
            continue
        for batch in (2,) if options.quick else (1, 32):
            logits = np.random.default_rng(0).normal(size=(batch, classes)).astype(np.float32) * 3
            feeds = {"logits": logits, "perturbed_fraction": np.linspace(0, 1, batch, dtype=np.float32)}
            images = random_images(batch, image_shape(classifier.contract))
            rates = common.rates_in_turns(
                {
                    "network": lambda images=images: _runs(network, {"pixels": images}, 1),
                    "head": lambda s=session, f={n: feeds[n] for n in inputs}: _runs(s, f, HEAD_CALLS),
                    "softmax": lambda f={"logits": logits}: _runs(plain, f, HEAD_CALLS),
                },
                options.repeats,
            )
            share = common.middle(rates["network"] * (1 / rates["head"] - 1 / rates["softmax"]))
            rows.append({"method": name, "batch": batch, "share": share, "engine": config.engine})
            common.say(f"{name}, batch {batch}: {share['median']:.2%} of a pass")
    lines = [
        [r["method"], str(r["batch"]), *(f"{r['share'][k]:.2%}" for k in ("median", "low", "high"))]
        for r in rows
        if "share" in r
    ]
    common.show(f"heads of {case.name}, {config.engine}", ("head", "batch", "share of a pass", "low", "high"), lines)
    common.emit("heads", options, {"includes": __doc__, "rows": rows})


def _runs(session: Session, feeds: dict[str, Any], times: int) -> int:
    for _ in range(times):
        session.run(feeds)
    return times * len(next(iter(feeds.values())))


def _head_alone(name: str, classes: int, config: EngineConfig) -> tuple[Session, list[str]]:
    """Returns a graph of the calibrator and the softmax, fitted on random logits, and the names of its inputs."""
    rng = np.random.default_rng(1)
    true = rng.normal(size=(classes, classes)).astype(np.float32) * 3
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    calibrator = CALIBRATORS[name]()
    if isinstance(calibrator, ReCalX):
        calibrator.fit(2 * true, labels, rng.random(len(true)))
    else:
        calibrator.fit(2 * true, labels)
    real, tape = ir.TensorType(ir.DataType.FLOAT), ir.tape.Tape()
    logits = ir.Value(name="logits", shape=ir.Shape(["N", classes]), type=real)
    fraction = ir.Value(name="perturbed_fraction", shape=ir.Shape(["N"]), type=real)
    answer = tape.op("Softmax", [calibrator.to_graph(tape, logits, fraction)], {"axis": -1})
    answer.name, answer.shape, answer.type = "probabilities", logits.shape, real
    inputs = [logits, *([fraction] if calibrator.needs_perturbed_fraction else [])]
    graph = ir.Graph(
        inputs, [answer], nodes=tape.nodes, initializers=tape.initializers, opset_imports={"": 20}, name="head"
    )
    proto = ir.to_proto(ir.Model(graph, ir_version=10))
    return ENGINES[config.engine](proto.SerializeToString(), config), [str(value.name) for value in inputs]


def _line(row: dict[str, Any]) -> list[str]:
    after = [row["measures"][name]["after"] for name in MEASURES]
    cells = [interval(side["value"], side["ci95"], 3) for side in after]
    return [row["case"], row["method"], f"{row['accuracy']['after']:.3f}", *cells]


if __name__ == "__main__":
    main()
