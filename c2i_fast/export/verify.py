"""Is a written graph the classifier it came from? Asked of the file itself, at several batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.engines import ENGINES
from c2i_fast.engines.select import choose_engine, installed
from c2i_fast.errors import ContractError
from c2i_fast.export.graphs import FRACTION, NORMALISED
from c2i_fast.export.open import GraphOpener
from c2i_fast.metrics.readout import probabilities
from c2i_fast.types import (
    SIGMOID_MARGIN,
    Activation,
    Doubles,
    EngineConfig,
    Floats,
    GraphContract,
    Precision,
    Session,
)

if TYPE_CHECKING:
    from c2i_fast.calibration.interface import GraphCalibrator
    from c2i_fast.models.classifier import Classifier

BATCHES = (1, 2, 3, 8)
PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a file may differ by.

    Attributes:
        logit: max |Δlogit|, as a share of the largest |logit| (at least 1).
        probability: max |Δp|.
        agreement: the least share of images with the same top-1, or of labels on the same side of 0.5.
        tie: a logit this close to the largest (to 0 for a sigmoid head), as such a share, agrees as well.
    """

    logit: float
    probability: float
    agreement: float
    tie: float


BOUNDS: Mapping[Precision, Bounds] = {
    # float32 networks of hundreds of layers stay an order of magnitude below.
    "fp32": Bounds(logit=1e-3, probability=PROBABILITY_TOLERANCE, agreement=1.0, tie=1e-3),
    # Two CIFAR ResNets and a SqueezeNet stay below 0.0012 of the largest logit and 0.007 in p; a MobileNetV2, whose
    # channels have very different ranges, reaches 0.023 and 0.05.
    "fp16": Bounds(logit=0.05, probability=0.1, agreement=0.99, tie=0.01),
    # An estimate that may be off for single images: a ResNet-20 reaches 0.25 of the largest logit and 0.33 in p among
    # 1000 pictures, at 0.99 agreement; a MobileNetV2 0.08 and 0.13, and 0.92 with half of the pixels masked. These
    # bounds find a broken graph, not a poor one.
    "int8": Bounds(logit=0.5, probability=0.75, agreement=0.8, tie=0.05),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """How far the file and the classifier are apart.

    Attributes:
        max_abs_dlogit: over raw logits.
        max_abs_dprob: over calibrated probabilities; the classifier's are computed in float64.
        top1_agreement: share of images with the same raw top-1 (of a sigmoid head: of labels said to apply or not as
            before); a tie within the tolerance is agreement.
        batches: the batch sizes tried.
    """

    max_abs_dlogit: float
    max_abs_dprob: float
    top1_agreement: float
    batches: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return asdict(self) | {"batches": list(self.batches)}


def verify_fused(
    path: Path,
    classifier: Classifier,
    calibrator: GraphCalibrator | None,
    seed: int = 0,
    *,
    precision: Precision = "fp32",
    images: Sequence[Floats] = (),
) -> Verification:
    """Returns the comparison of a fused file with its classifier.

    A calibrator that depends on the perturbed fraction is compared at 0, at 1 and between. The classifier is the torch
    module where there is one, else the network's own graph, with the head in float64.

    Args:
        path: the file.
        classifier: what it was made from.
        calibrator: the one in the file.
        seed: of the images made here.
        precision: what the file is in; says which `BOUNDS` apply.
        images: (C, *space) to compare on in place of images made here, which int8 has no ranges for.

    Raises:
        ContractError: Not finite, too far apart, or another top-1.
    """
    contract, bounds = classifier.contract, BOUNDS[precision]
    alike = images and None not in contract.space
    session = open_file(path)
    reference = _reference(classifier)
    found: list[tuple[float, ...]] = []
    batches = (contract.batch,) if contract.batch else BATCHES
    for batch in batches:
        shown = _rows(images, batch, batch) if alike else sample_images(contract, batch, seed + batch)
        logits = reference(shown)
        for feeds in _with_fractions({"pixels": shown}, (batch,), calibrator):
            expected = probabilities(logits, calibrator, feeds.get(FRACTION), activation=contract.activation)
            compared = _compare(session.run(feeds), logits, expected, path, bounds, contract.activation)
            found.append((batch, *compared))
    rows, dlogit, dprob, agreement = np.array(found).T
    result = Verification(
        max_abs_dlogit=float(dlogit.max()),
        max_abs_dprob=float(dprob.max()),
        top1_agreement=float(np.average(agreement, weights=rows)),
        batches=batches,
    )
    if result.max_abs_dprob > bounds.probability or result.top1_agreement < bounds.agreement:
        raise ContractError(
            f"{path.name} is not the model it came from: max |Δlogit| {result.max_abs_dlogit:.2g}, "
            f"max |Δp| {result.max_abs_dprob:.2g}, top-1 agreement {result.top1_agreement:.4f}; nothing was written"
        )
    return result


def verify_scorer(path: Path, fused: Path, contract: GraphContract, seed: int = 0) -> float:
    """Returns max |Δp| between the scorer file and the fused one on masks made by NumPy.

    Raises:
        ContractError: More than the tolerance, or not finite.
    """
    rng = np.random.default_rng(seed)
    plans, steps = (1, contract.batch) if contract.batch else (2, 3)
    start, end = sample_images(contract, plans, seed), sample_images(contract, plans, seed + 1)
    step_map = rng.integers(0, 33, (plans, 1, *start.shape[2:])).astype(contract.step_map_dtype or "uint8")
    now = rng.integers(0, 34, (plans, steps)).astype(np.int32)
    shown = now.reshape(*now.shape, *(1,) * (start.ndim - 1))
    masked = np.where(step_map[:, None] < shown, end[:, None], start[:, None])
    plan = {"start": start, "end": end, "step_map": step_map, "steps": now}
    pixels = masked.reshape(-1, *start.shape[1:])
    scorer, whole, worst = open_file(path), open_file(fused), 0.0
    for feeds in _with_fractions(plan, now.shape, contract_calibrator(contract)):
        flat = {FRACTION: feeds[FRACTION].ravel()} if FRACTION in feeds else {}
        got, expected = (each["probabilities"] for each in (scorer.run(feeds), whole.run({"pixels": pixels} | flat)))
        difference = float(np.abs(got.reshape(-1, contract.classes) - expected).max())
        if not difference <= PROBABILITY_TOLERANCE:
            raise ContractError(f"{path.name} disagrees with {fused.name} by {difference:.2g}; nothing was written")
        worst = max(worst, difference)
    return worst


def contract_calibrator(contract: GraphContract) -> GraphCalibrator | None:
    """Returns the calibrator that a contract describes, or None where it has none."""
    from c2i_fast.calibration.spec import calibrator_from_spec

    return calibrator_from_spec(contract.calibrator) if contract.calibrator else None


def sample_fractions(shape: tuple[int, ...], turn: int) -> Floats:
    """Returns perturbed fractions in [0, 1], other ones at each turn: 0 throughout, 1 throughout, then spread evenly.

    Example:
        >>> sample_fractions((3,), 2).tolist()
        [0.0, 0.5, 1.0]
    """
    if turn < 2:
        return np.full(shape, turn, np.float32)
    count = int(np.prod(shape))
    return np.asarray(np.linspace(0, 1, count) if count > 1 else [0.5], np.float32).reshape(shape)


def _with_fractions(
    feeds: dict[str, NDArray[Any]], shape: tuple[int, ...], calibrator: GraphCalibrator | None
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yields the feeds of a graph: as they are, or with several perturbed fractions where it takes them."""
    if calibrator is None or not calibrator.needs_perturbed_fraction:
        yield feeds
        return
    for turn in range(3):
        yield feeds | {FRACTION: sample_fractions(shape, turn)}


def sample_images(contract: GraphContract, count: int, seed: int) -> Floats:
    """Returns images (N, C, *space) in [0, 1]: a smooth field under noise, brighter and darker ones among them."""
    rng = np.random.default_rng(seed)
    space = [size or 224 for size in contract.space]
    noise = rng.random((count, contract.channels, *space), np.float32)
    waves = reduce(np.add.outer, [np.sin(np.linspace(0, rng.uniform(2, 9), size)) for size in space])
    level = rng.random((count, contract.channels, *(1,) * len(space)))
    return np.asarray(np.clip(0.4 * noise + 0.15 * waves + 0.6 * level, 0, 1), np.float32)


def plain_engine() -> EngineConfig:
    """Returns ONNX Runtime, which is what an exported file promises to run in; else OpenVINO."""
    return choose_engine("openvino" if installed("openvino") and not installed("onnxruntime") else "onnxruntime").config


def open_file(path: Path) -> Session:
    """Returns the file, opened by whichever ONNX engine is installed."""
    config = plain_engine()
    return ENGINES[config.engine](path, config)


def _reference(classifier: Classifier) -> Callable[[Floats], Doubles]:
    """Returns what answers raw logits (N, K) without the graphs of this package: torch, or the bare network's graph."""
    if classifier.module is not None:
        opener = GraphOpener(classifier, EngineConfig(engine="torch"))
        fused = opener("fused")
        return lambda images: fused.run({"pixels": images})["logits"].astype(np.float64)
    config = plain_engine()
    network = ENGINES[config.engine](GraphOpener(classifier, config).serialised(classifier.backbone()), config)
    prep = classifier.contract.preprocessing

    def logits(images: Floats) -> Doubles:
        mean, std = (v.reshape(-1, *(1,) * (images.ndim - 2)) for v in prep.channel_stats(images.shape[1]))
        normalised = (images - mean) / std
        fed = np.ascontiguousarray(normalised[:, ::-1] if prep.bgr else normalised)
        (answer,) = network.run({NORMALISED: fed}).values()
        kept = answer[:, prep.drop_class :].astype(np.float64)
        if prep.outputs == "logits":
            return kept
        if classifier.contract.activation == "sigmoid":
            kept = np.clip(kept, SIGMOID_MARGIN, 1 - SIGMOID_MARGIN)
            return np.asarray(np.log(kept) - np.log1p(-kept))
        return np.asarray(np.log(np.maximum(kept, np.finfo(np.float32).tiny)))

    return logits


def _rows(images: Sequence[Floats], start: int, count: int) -> Floats:
    """Returns `count` images (N, C, *space) from number `start` on, beginning again at the end."""
    return np.stack([images[number % len(images)] for number in range(start, start + count)]).astype(np.float32)


def _compare(
    answers: dict[str, Floats], logits: Doubles, expected: Doubles, path: Path, bounds: Bounds, activation: Activation
) -> tuple[float, float, float]:
    got, got_p = answers["logits"].astype(np.float64), answers["probabilities"].astype(np.float64)
    if not (np.isfinite(got).all() and np.isfinite(got_p).all()):
        raise ContractError(f"{path.name} answers NaN or infinity on ordinary images; nothing was written")
    scale = max(1.0, float(np.abs(logits).max()))
    tolerance = bounds.logit * scale
    dlogit = float(np.abs(got - logits).max())
    if dlogit > tolerance:
        raise ContractError(f"{path.name}: max |Δlogit| {dlogit:.2g} exceeds {tolerance:.2g}; nothing was written")
    return dlogit, float(np.abs(got_p - expected).max()), agreement(got, logits, bounds.tie * scale, activation)


def agreement(got: Doubles, logits: Doubles, tolerance: float, activation: Activation) -> float:
    """Returns the share of images with the same top-1; for a sigmoid head, of labels on the same side of 0.5.

    A logit that is within the tolerance of the largest one (of 0, for a sigmoid head) counts as agreement.

    Example:
        >>> agreement(np.array([[1.0, -1.0]]), np.array([[1.0, 2.0]]), 0.1, "sigmoid")
        0.5
    """
    if activation == "sigmoid":
        return float((((got >= 0) == (logits >= 0)) | (np.abs(logits) <= tolerance)).mean())
    chosen = np.take_along_axis(logits, got.argmax(1)[:, None], 1)[:, 0]
    return float((chosen >= logits.max(1) - tolerance).mean())
