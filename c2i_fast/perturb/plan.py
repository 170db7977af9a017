"""From one image, its maps and the protocols to the fewest masked images that serve them all.

A masked image is known by what is at the baseline: (baseline, order, which end of the order, how many elements). Two
points with equal keys are one pass, whichever curve, method or end they come from; nothing is shared by assuming a
symmetry. So deletion and LeRF insertion of one map cost the passes of one of them, start and end images are made once
for the image, and methods whose maps rank alike share everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from c2i_fast.perturb.baseline import baseline_image
from c2i_fast.perturb.counts import point_counts
from c2i_fast.perturb.order import pixel_order, step_map, tied_share
from c2i_fast.types import CurveProtocol, Doubles, Floats, Ints, PerturbationPlan, Preprocessing

TIES_WORTH_A_WARNING = 0.05

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRequest:
    """One curve: which method and protocol, its x, and which of the image's passes its points are.

    Attributes:
        fractions: float64 (n+1,), the protocol's x.
        passes: int (n+1,), indices into the image's passes.
        warnings: what a reader of the score should know of the map.
    """

    method: str
    protocol: CurveProtocol
    fractions: Doubles
    passes: Ints
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """Everything one image asks of the engine.

    Attributes:
        plans: what `select` is given.
        work: int32 (P, 2), one (plan, step) for each pass.
        perturbed_fraction: float64 (P,), λ of each pass.
        clean: the index of the pass that shows the unperturbed image.
        extra: passes no curve asked for (the target's, at most 1).
    """

    plans: tuple[PerturbationPlan, ...]
    work: Ints
    perturbed_fraction: Doubles
    clean: int
    extra: int
    curves: tuple[CurveRequest, ...]

    @property
    def requested(self) -> int:
        """The points of all curves."""
        return sum(len(curve.passes) for curve in self.curves)


@dataclass(slots=True)
class _Ledger:
    """The distinct passes found so far, each with the (plan, step) pairs that would make it."""

    plans: list[PerturbationPlan] = field(default_factory=list)
    ids: dict[Key, int] = field(default_factory=dict)
    choices: list[list[tuple[int, int]]] = field(default_factory=list)
    fractions: list[float] = field(default_factory=list)

    def request(self, key: Key, fraction: float, plan: int, step: int) -> int:
        index = self.ids.setdefault(key, len(self.choices))
        if index == len(self.choices):
            self.choices.append([])
            self.fractions.append(fraction)
        self.choices[index].append((plan, step))
        return index

    def work(self) -> Ints:
        """Returns (P, 2). Shared end images go to the least loaded plan in use, so that batches fill evenly."""
        load = np.zeros(len(self.plans), int)
        chosen = [pairs[0] for pairs in self.choices]
        ends = [i for i, f in enumerate(self.fractions) if f in (0.0, 1.0)]
        for index, (plan, _) in enumerate(chosen):
            load[plan] += index not in ends
        for index in ends:
            chosen[index] = min(self.choices[index], key=lambda pair: (load[pair[0]] == 0, load[pair[0]]))
            load[chosen[index][0]] += 1
        return np.asarray(chosen, np.int32).reshape(-1, 2)


def plan_image(
    image: Floats, maps: Mapping[str, Floats], protocols: Sequence[CurveProtocol], preprocessing: Preprocessing
) -> ImagePlan:
    """Returns the passes of one image (C, *space) under all its maps (*space) and protocols.

    The clean image is always among the passes: its logits name the target and, for later metrics, the start.

    Example:
        >>> protocol = CurveProtocol(name="c2i", metric="deletion", intervals=2)
        >>> plan = plan_image(np.ones((1, 4), np.float32), {"m": np.arange(4, dtype="f")}, [protocol], Preprocessing())
        >>> plan.perturbed_fraction.tolist()
        [0.0, 0.5, 1.0]
    """
    ledger = _Ledger()
    baselines = {name: baseline_image(name, image, preprocessing) for name in {p.canonical_baseline for p in protocols}}
    curves = []
    for method, saliency in maps.items():
        orders: dict[str, tuple[NDArray[np.intp], str, tuple[str, ...]]] = {}
        for protocol in protocols:
            if protocol.ties not in orders:
                order = pixel_order(saliency, protocol.ties)
                orders[protocol.ties] = order, _digest(order), map_warnings(saliency, order)
            order, digest, warnings = orders[protocol.ties]
            fractions, passes = _request_curve(
                ledger, image, baselines[protocol.canonical_baseline], order, digest, protocol
            )
            curves.append(
                CurveRequest(method=method, protocol=protocol, fractions=fractions, passes=passes, warnings=warnings)
            )
    extra = int(("", "clean", 0) not in ledger.ids)
    if extra:
        ledger.plans.append(_whole_image(image))
    clean = ledger.request(("", "clean", 0), 0.0, len(ledger.plans) - 1, 0) if extra else ledger.ids["", "clean", 0]
    return ImagePlan(
        plans=tuple(ledger.plans),
        work=ledger.work(),
        perturbed_fraction=np.asarray(ledger.fractions),
        clean=clean,
        extra=extra,
        curves=tuple(curves),
    )


def map_warnings(saliency: Floats, order: NDArray[np.intp]) -> tuple[str, ...]:
    """Returns what makes an order doubtful: a constant map, or more than 5 % of the elements tied."""
    ties = tied_share(saliency, order)
    if saliency.size > 1 and saliency.min() == saliency.max():
        return ("constant map",)
    return (f"ties={ties:.2f}",) if ties > TIES_WORTH_A_WARNING else ()


def _digest(order: NDArray[np.intp]) -> str:
    return hashlib.blake2b(order.astype(np.int32).tobytes(), digest_size=16).hexdigest()


def _whole_image(image: Floats) -> PerturbationPlan:
    steps = np.zeros((1, *image.shape[1:]), np.uint8)
    return PerturbationPlan(start=image, end=image, step_map=steps, intervals=1)


def _request_curve(
    ledger: _Ledger, image: Floats, baseline: Floats, order: NDArray[np.intp], digest: str, protocol: CurveProtocol
) -> tuple[Doubles, Ints]:
    """Enters one curve's points into the ledger; returns its x and its pass indices."""
    elements, from_image = order.size, protocol.start == "image"
    counts = point_counts(protocol, elements, image.shape[-1])
    in_order = order if protocol.order == "morf" else order[::-1]
    start, end = (image, baseline) if from_image else (baseline, image)
    ledger.plans.append(
        PerturbationPlan(
            start=start, end=end, step_map=step_map(in_order, counts, image.shape[1:]), intervals=len(counts) - 1
        )
    )
    # The elements at the baseline are the head of the MoRF order for deletion and LeRF insertion, else its tail.
    side = "head" if from_image == (protocol.order == "morf") else "tail"
    passes = np.empty(len(counts), np.int32)
    for step, count in enumerate(counts):
        removed = int(count) if from_image else elements - int(count)
        key = (protocol.canonical_baseline, f"{digest}-{side}", removed)
        if removed == elements:
            key = (protocol.canonical_baseline, "whole", 0)
        if removed == 0:
            key = ("", "clean", 0)
        passes[step] = ledger.request(key, removed / elements, len(ledger.plans) - 1, step)
    changed = counts / elements if protocol.x == "fraction" else np.arange(len(counts)) / (len(counts) - 1)
    return changed.astype(np.float64), passes
