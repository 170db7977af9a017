"""Whether the results agree, asked before anything is timed: a fast wrong answer is no benchmark.

Every masked image is answered three times: by the scorer graph and by the fused graph on masks that NumPy made, both on
the engine to be timed, and by the fused graph in fp32 on the reference engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from c2i_fast.errors import ContractError
from c2i_fast.perturb.passes import GraphPasses, ReferencePasses
from c2i_fast.perturb.plan import plan_image
from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.types import Doubles, Floats, Ints, PerturbationPlan, Preprocessing

IMAGES = 32
PASSES_AN_IMAGE = 2
FP32_TOLERANCE = 1e-4
# Of the logits' range: the probabilities of a network with random weights hardly move, so they alone prove nothing.
FP32_LOGIT_TOLERANCE = 1e-3
# Of the logits' range, too: above what fp32 engines differ by, far below the 2⁻⁸ of bf16's mantissa.
SAME_PRECISION = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the answers are apart.

    Attributes:
        max_abs_dprob: the larger of the next two.
        scorer: scorer graph against fused graph with NumPy's masks, same engine, max |Δp|.
        engine: that fused graph against fp32 on the reference engine, max |Δp|.
        dlogit_share: the largest difference of logits, in both comparisons, as a share of the logits' range.
        tolerance: of `max_abs_dprob`, for timing to start; None where it is only reported (low precision).
        precision_used: `fp32` where a low precision was asked for and fp32 answers came.
    """

    max_abs_dprob: float
    scorer: float
    engine: float
    dlogit_share: float
    images: int
    passes: int
    tolerance: float | None
    reference: str
    precision_used: str

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def check_parity(
    passes: GraphPasses,
    reference: ReferencePasses,
    images: Sequence[Floats],
    maps: Sequence[Floats],
    protocols: Sequence[Protocol],
    *,
    precision: str,
    reference_name: str,
) -> Parity:
    """Returns how far the passes of these images (C, *space) and maps (*space) are apart.

    Raises:
        ContractError: NaN or infinite logits; or, in fp32, a probability that differs by more than 1e-4, or a logit by
            more than a thousandth of their range.
    """
    contract = passes.contract
    plans, work = sample_work(images, maps, protocols, contract.preprocessing)
    answers = {
        "scorer graph": passes.select(plans, work),
        "fused graph": ReferencePasses.select(passes, plans, work),
        "reference": reference.select(plans, work),
    }
    _check_finite(answers)
    scorer, engine, exact = (logits.astype(np.float64) for logits in answers.values())
    spread = float(np.ptp(exact)) or 1.0
    shares = [_apart(scorer, engine) / spread, _apart(engine, exact) / spread]
    scorer, engine, exact = (probabilities(logits, contract.activation) for logits in (scorer, engine, exact))
    found = Parity(
        max_abs_dprob=max(_apart(scorer, engine), _apart(engine, exact)),
        scorer=_apart(scorer, engine),
        engine=_apart(engine, exact),
        dlogit_share=max(shares),
        images=len(images),
        passes=len(work),
        tolerance=FP32_TOLERANCE if precision == "fp32" else None,
        reference=reference_name,
        precision_used="fp32" if shares[1] <= SAME_PRECISION else precision,
    )
    _check_tolerance(found)
    return found


def sample_work(
    images: Sequence[Floats],
    maps: Sequence[Floats],
    protocols: Sequence[Protocol],
    preprocessing: Preprocessing,
) -> tuple[list[PerturbationPlan], Ints]:
    """Returns the plans of all images and two of each one's passes, others for each image."""
    plans: list[PerturbationPlan] = []
    work = []
    for number, (image, saliency) in enumerate(zip(images, maps, strict=True)):
        curves = [protocol for protocol in protocols if isinstance(protocol, CurveProtocol)]
        planned = plan_image(image, {"map": saliency}, curves, preprocessing)
        total = len(planned.work)
        chosen = sorted({(number * PASSES_AN_IMAGE + total * k // PASSES_AN_IMAGE) % total for k in (0, 1)})
        work.append(planned.work[chosen] + np.array([len(plans), 0], np.int32))
        plans += planned.plans
    return plans, np.concatenate(work).astype(np.int32)


def probabilities(logits: Doubles, activation: Literal["softmax", "sigmoid"]) -> Doubles:
    """Returns float64 probabilities of logits (P, K)."""
    from scipy.special import expit, softmax

    return np.asarray(expit(logits) if activation == "sigmoid" else softmax(logits, axis=1))


def _apart(first: Doubles, second: Doubles) -> float:
    return float(np.abs(first - second).max())


def _check_finite(answers: Mapping[str, Floats]) -> None:
    for name, logits in answers.items():
        if bad := logits.size - int(np.isfinite(logits).sum()):
            raise ContractError(
                f"nothing is timed: {bad} of {logits.size} logits of the {name} are NaN or infinite; "
                "check the model, or another --precision or --engine"
            )


def _check_tolerance(parity: Parity) -> None:
    if parity.tolerance is None:
        return
    if not (parity.max_abs_dprob <= parity.tolerance and parity.dlogit_share <= FP32_LOGIT_TOLERANCE):
        raise ContractError(
            f"nothing is timed: probabilities differ by {parity.scorer:.1e} between scorer and fused graph and by "
            f"{parity.engine:.1e} from {parity.reference} (allowed {parity.tolerance:.0e}), logits by "
            f"{parity.dlogit_share:.1e} of their range (allowed {FP32_LOGIT_TOLERANCE:.0e}); try another --engine"
        )
