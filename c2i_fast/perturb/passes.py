"""Masked passes: the reference, whose masks are NumPy's, and the one whose masks are made inside the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from c2i_fast.errors import InputError
from c2i_fast.perturb.counts import point_counts
from c2i_fast.perturb.order import step_type
from c2i_fast.perturb.packing import pack
from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.types import Floats, GraphContract, Ints, PerturbationPlan, Session

OpenSession = Callable[[str, str], Session]
"""Opens a graph by kind (`fused`, `select`, `blend`) and step-map type."""


class ReferencePasses:
    """The definition: every masked image is made by NumPy and fed to the fused graph."""

    def __init__(self, open_session: OpenSession, contract: GraphContract, batch: int) -> None:
        self._open, self._sessions = open_session, dict[tuple[str, str], Session]()
        self.contract = contract
        self.batch = contract.batch or batch
        self.on_passes: Callable[[int], None] = lambda passes: None

    def warm_up(self, protocols: Sequence[Protocol]) -> None:
        """Opens what `select` will need, so that no timing pays for it."""
        self.session("fused")

    def select(self, plans: Sequence[PerturbationPlan], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        self.check_shapes([plan.start for plan in plans])
        masked = (np.where(plans[p].step_map < step, plans[p].end, plans[p].start) for p, step in work)
        return self._run(masked, len(work))

    def blend(self, plans: Sequence[PerturbationPlan], grids: Floats, axes: Sequence[Floats], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        masks = {m: spread(grids[m], [axis[m] for axis in axes]) for m in np.unique(work[:, 1])}
        images = (plans[p].start * (1 - masks[m]) + plans[p].end * masks[m] for p, m in work)
        return self._run(images, len(work))

    def direct(self, images: Sequence[Floats]) -> Floats:
        """Returns logits (N, K) of images (C, *space)."""
        self.check_shapes(images)
        return self._run(iter(images), len(images))

    def check_shapes(self, images: Sequence[Floats]) -> None:
        """Raises an `InputError` unless every image has the shape the classifier takes."""
        check_shapes(self.contract, images)

    def _run(self, images: object, total: int) -> Floats:
        iterator = iter(images)  # type: ignore[call-overload]
        logits = np.empty((total, self.contract.classes), np.float32)
        session = self.session("fused")
        for first in range(0, total, self.batch):
            batch = np.stack([next(iterator) for _ in range(min(self.batch, total - first))]).astype(np.float32)
            padded = np.concatenate([batch, np.repeat(batch[-1:], self.batch - len(batch), axis=0)])
            logits[first : first + len(batch)] = session.run({"pixels": padded})["logits"][: len(batch)]
            self.on_passes(len(batch))
        return logits

    def session(self, kind: str, step_type: str = "") -> Session:
        """Returns the opened graph of that kind, opening it on first use."""
        if (kind, step_type) not in self._sessions:
            self._sessions[kind, step_type] = self._open(kind, step_type)
        return self._sessions[kind, step_type]


class GraphPasses(ReferencePasses):
    """Masks made inside the graph: plans go in once, and no masked image ever crosses into Python."""

    def warm_up(self, protocols: Sequence[Protocol]) -> None:
        """Opens the scorer graph for these protocols' step maps and runs it once, so that no timing pays for it."""
        elements = int(np.prod([size or 1 for size in self.contract.space]))
        curves = [p for p in protocols if isinstance(p, CurveProtocol) and p.unit == "pixel"]
        intervals = [len(point_counts(p, elements, self.contract.space[-1] or 1)) - 1 for p in curves]
        kind = step_type(max(intervals, default=1))
        space = tuple(size for size in self.contract.space if size)
        if len(space) == len(self.contract.space):
            shape = (1, self.contract.channels, *space)
            blank = np.zeros(shape, np.float32)
            steps = np.zeros((1, self.batch), np.int32)
            step_map = np.zeros((1, 1, *shape[2:]), kind)
            self.session("select", kind).run({"start": blank, "end": blank, "step_map": step_map, "steps": steps})

    def select(self, plans: Sequence[PerturbationPlan], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        self.check_shapes([plan.start for plan in plans])
        kind = step_type(max(p.intervals for p in plans))
        session = self.session("select", kind)
        logits = np.empty((len(work), self.contract.classes), np.float32)
        for rectangle in pack(work, self.batch):
            chosen = [plans[i] for i in rectangle.plans]
            step_maps = _one_height([p.step_map for p in chosen])
            feeds = _ends(chosen) | {"step_map": step_maps.astype(kind, copy=False), "steps": rectangle.steps}
            real = rectangle.cells >= 0
            logits[rectangle.cells[real]] = session.run(feeds)["logits"][real]
            self.on_passes(int(real.sum()))
        return logits

    def blend(self, plans: Sequence[PerturbationPlan], grids: Floats, axes: Sequence[Floats], work: Ints) -> Floats:
        """Returns logits (P, K); see `MaskedPasses`."""
        session = self.session("blend")
        logits = np.empty((len(work), self.contract.classes), np.float32)
        for rectangle in pack(work, self.batch):
            feeds = _ends([plans[i] for i in rectangle.plans]) | {"grids": grids[rectangle.steps]}
            feeds |= {f"axis_{d}": axis[rectangle.steps] for d, axis in enumerate(axes)}
            real = rectangle.cells >= 0
            logits[rectangle.cells[real]] = session.run(feeds)["logits"][real]
            self.on_passes(int(real.sum()))
        return logits


def check_shapes(contract: GraphContract, images: Sequence[Floats]) -> None:
    """Raises an `InputError` unless every image (C, *space) has the shape that the contract promises."""
    wanted = (contract.channels, *contract.space)
    for image in images:
        if len(image.shape) != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, image.shape, strict=True)):
            shown = ", ".join("any" if w is None else str(w) for w in wanted)
            raise InputError(f"the model takes images of shape ({shown}), got {image.shape}; see --size")


def spread(grid: Floats, axes: Sequence[Floats]) -> Floats:
    """Returns the mask (*space) of one grid (*g): each axis times its matrix (size_d, g_d).

    Example:
        >>> spread(np.array([0, 1], np.float32), [np.array([[1, 0], [0.5, 0.5], [0, 1]], np.float32)]).tolist()
        [0.0, 0.5, 1.0]
    """
    mask = grid
    for d, axis in enumerate(axes):
        mask = np.moveaxis(np.tensordot(axis, mask, (1, d)), 0, d)
    return mask.astype(np.float32)


def _ends(plans: Sequence[PerturbationPlan]) -> dict[str, Floats]:
    if len(plans) == 1:  # no copy where the rectangle is one row, as it mostly is
        return {"start": np.ascontiguousarray(plans[0].start)[None], "end": np.ascontiguousarray(plans[0].end)[None]}
    return {"start": np.stack([p.start for p in plans]), "end": np.stack([p.end for p in plans])}


def _one_height(step_maps: Sequence[Floats]) -> Floats:
    """Stacks maps of one channel and of C channels together by repeating the former."""
    tallest = max(len(m) for m in step_maps)
    return np.stack([m if len(m) == tallest else np.repeat(m, tallest, axis=0) for m in step_maps])
