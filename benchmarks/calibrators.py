"""Which calibrator serves which network?

Every calibrator × network: accuracy, negative log-likelihood, Brier score and expected calibration error (15 bins of
equal width) of the held-out half, before and after, with 95 % intervals (of the true error where a plug-in is biased).
Half of the images is fitted on, seeded and stratified. A method that refuses a network is named with its reason.

    python benchmarks/calibrators.py
    python benchmarks/calibrators.py --case cifar --method temperature --method vector
"""

from __future__ import annotations

import argparse
from typing import Any

import common

from c2i_fast.calibration import CALIBRATORS
from c2i_fast.calibration.collect import collect_logits
from c2i_fast.calibration.held_out import HeldOut
from c2i_fast.calibration.report import fit_report
from c2i_fast.cli.render import interval
from c2i_fast.errors import C2IError

CASES = ("cifar", "cifar56", "mobilenet", "squeezenet")
MEASURES = ("nll", "brier", "ece-gpleiss")
COLUMNS = ("network", "calibrator", "accuracy", "NLL", "Brier", "ECE")


def main() -> None:
    parser = common.arguments(__doc__)
    known = [name for name in CALIBRATORS if "softmax" in CALIBRATORS[name].activations]
    parser.add_argument("--method", action="append", choices=known, help="default all for softmax heads")
    options = parser.parse_args()
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


def _line(row: dict[str, Any]) -> list[str]:
    after = [row["measures"][name]["after"] for name in MEASURES]
    cells = [interval(side["value"], side["ci95"], 3) for side in after]
    return [row["case"], row["method"], f"{row['accuracy']['after']:.3f}", *cells]


if __name__ == "__main__":
    main()
