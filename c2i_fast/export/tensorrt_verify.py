"""Does a TensorRT engine answer as its graph does? Asked of two ways of running it, whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from c2i_fast.errors import ContractError
from c2i_fast.export.graphs import FRACTION
from c2i_fast.export.verify import (
    BOUNDS,
    Verification,
    agreement,
    contract_calibrator,
    sample_fractions,
    sample_images,
)
from c2i_fast.types import Feeds, Floats, GraphContract

Run = Callable[[Feeds], dict[str, Floats]]


def verify_engine(
    run: Run, reference: Run, contract: GraphContract, batches: tuple[int, ...], name: str, seed: int = 0
) -> Verification:
    """Returns how far two ways of running a graph are apart, on images (or plans) made here.

    Args:
        run: the engine: arrays by input name in, arrays by output name out.
        reference: the graph on the CPU, likewise.
        contract: of the graph.
        batches: the sizes to try.
        name: for messages.
        seed: of the images.

    Raises:
        ContractError: Not finite, or further apart than the `BOUNDS` of the precision.
    """
    bounds = BOUNDS[contract.precision]
    found = []
    for batch in batches:
        feeds = sample_feeds(contract, batch, seed + batch)
        found.append(_apart(run(feeds), reference(feeds), contract, bounds.tie))
    dlogit, dprob, agreement, relative = np.array(found).T
    result = Verification(
        max_abs_dlogit=float(dlogit.max()),
        max_abs_dprob=float(dprob.max()),
        top1_agreement=float(np.average(agreement, weights=batches)),
        batches=batches,
    )
    close = relative.max() <= bounds.logit and result.max_abs_dprob <= bounds.probability  # a NaN is not
    if not close or result.top1_agreement < bounds.agreement:
        raise ContractError(
            f"{name} does not answer as its graph in {contract.precision}: max |Δlogit| {result.max_abs_dlogit:.2g} "
            f"({relative.max():.2g} of the largest), max |Δp| {result.max_abs_dprob:.2g}, top-1 agreement "
            f"{result.top1_agreement:.4f}; nothing was written"
        )
    return result


def sample_feeds(contract: GraphContract, batch: int, seed: int) -> Feeds:
    """Returns the inputs of a graph for a batch: images, or one plan and so many of its steps."""
    calibrator = contract_calibrator(contract)
    shape = (batch,) if contract.step_map_dtype is None else (1, batch)
    takes_fraction = calibrator is not None and calibrator.needs_perturbed_fraction
    fraction = {FRACTION: sample_fractions(shape, 2)} if takes_fraction else {}
    if contract.step_map_dtype is None:
        return {"pixels": sample_images(contract, batch, seed)} | fraction
    rng = np.random.default_rng(seed)
    start, end = (sample_images(contract, 1, seed + which) for which in range(2))
    step_map = rng.integers(0, 33, (1, 1, *start.shape[2:])).astype(contract.step_map_dtype)
    steps = rng.integers(0, 34, (1, batch), np.int32)
    return {"start": start, "end": end, "step_map": step_map, "steps": steps} | fraction


def _apart(
    answers: dict[str, Floats], expected: dict[str, Floats], contract: GraphContract, tie: float
) -> tuple[float, float, float, float]:
    """Returns max |Δlogit|, max |Δp|, the share of the same top-1, and |Δlogit| as a share of the largest logit."""
    (got, got_p), (logits, wanted_p) = (
        [side[name].reshape(-1, contract.classes).astype(np.float64) for name in ("logits", "probabilities")]
        for side in (answers, expected)
    )
    largest = max(1.0, float(np.abs(logits).max()))
    dlogit = float(np.abs(got - logits).max())
    same = agreement(got, logits, tie * largest, contract.activation)
    return dlogit, float(np.abs(got_p - wanted_p).max()), same, dlogit / largest
