"""Exporting: the function behind `c2i-fast export`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2i_fast.errors import C2IError, UsageError
from c2i_fast.export.graphs import fused_graph, scorer_graph
from c2i_fast.export.precision import at_precision
from c2i_fast.export.save import save_graph
from c2i_fast.export.verify import Verification, verify_fused, verify_scorer
from c2i_fast.results.files import claim_output
from c2i_fast.types import Floats, GraphContract, Precision

if TYPE_CHECKING:
    from c2i_fast.calibration.interface import GraphCalibrator
    from c2i_fast.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written and how it compares with the classifier."""

    path: Path
    contract: GraphContract
    verify: Verification
    scorer: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the command's JSON."""
        report = {
            "path": str(self.path),
            "contract": asdict(self.contract),
            "precision": self.contract.precision,
            "verify": self.verify.to_dict(),
        }
        return report | ({"scorer": str(self.scorer)} if self.scorer else {})


def export_classifier(
    classifier: Classifier,
    out: Path,
    *,
    calibrator: GraphCalibrator | None = None,
    precision: Precision = "fp32",
    images: Iterable[Floats] = (),
    symmetric: bool = False,
    scorer: bool = False,
    force: bool = False,
) -> ExportReport:
    """Writes the classifier and its calibrator as one fused ONNX file, verified; with `scorer`, its scorer graph too.

    Args:
        classifier: from `load_classifier`.
        out: `model.onnx`; the scorer becomes `model.scorer.onnx`.
        calibrator: a fitted one; without it the probabilities are the raw ones.
        precision: `fp32`, `fp16` or `int8` for the network; a file that is in one of the latter already stays in it.
        images: what int8 is calibrated on; see `at_precision`.
        symmetric: int8 as TensorRT takes it; see `at_precision`.
        scorer: also write the graph that makes its own masks (uint8 step maps).
        force: replace existing files.

    Raises:
        UsageError: bf16, which no file is in.
        InputError: A file exists, nothing can be written there, or the network cannot be brought to the precision.
        ContractError: The written graph does not answer as the classifier does; no file is left.
    """
    from c2i_fast.calibration.interface import check_activation
    from c2i_fast.calibration.spec import calibrator_spec

    check_format(precision)
    scorer_path = out.with_suffix(".scorer.onnx")
    for path in (out, scorer_path) if scorer else (out,):
        claim_output(path, force=force)
    if calibrator:
        check_activation(calibrator, classifier.contract.activation)
    spec = calibrator_spec(calibrator) if calibrator else None
    shown = list(images)
    ready = at_precision(classifier, precision, shown, symmetric=symmetric)
    contract = replace(ready.contract, calibrator=spec, opset=ready.backbone().opset_imports[""])
    verified: list[Verification] = []
    save_graph(
        fused_graph(ready.backbone(), contract, calibrator),
        out,
        contract,
        check=lambda path: verified.append(_verified(path, classifier, calibrator, contract, shown)),
    )
    if scorer:
        graph = scorer_graph(ready.backbone(), contract, calibrator)
        noted = replace(contract, step_map_dtype="uint8")
        try:
            save_graph(graph, scorer_path, noted, check=lambda path: _check_scorer(path, out, noted))
        except C2IError:  # both or none
            for path in (out, out.with_name(f"{out.name}.data")):
                path.unlink(missing_ok=True)
            raise
    return ExportReport(path=out, contract=contract, verify=verified[0], scorer=scorer_path if scorer else None)


def check_format(precision: str) -> None:
    """Raises a `UsageError` for bf16, which is computed in and not stored in."""
    if precision == "bf16":
        raise UsageError(
            "bf16 is no file format here: CPU runtimes of ONNX lack it; export fp32 and use score --precision bf16"
        )


def _verified(
    path: Path,
    classifier: Classifier,
    calibrator: GraphCalibrator | None,
    contract: GraphContract,
    images: Sequence[Floats],
) -> Verification:
    return verify_fused(path, classifier, calibrator, precision=contract.precision, images=images)


def _check_scorer(path: Path, fused: Path, contract: GraphContract) -> None:
    verify_scorer(path, fused, contract)
