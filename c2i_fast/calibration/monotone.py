"""Isotonic regression of 0/1 outcomes on probabilities: fitted from tallies, read as a piecewise-linear map.

The pooled solution is constant on blocks of sorted probabilities; between two blocks it rises linearly, outside them it
is constant, as scikit-learn's IsotonicRegression reads it. Zadrozny, Elkan: Transforming classifier scores into
accurate multiclass probability estimates, KDD 2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.nodes import CAP, Nodes
from c2i_fast.calibration.stored import read_array
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class MonotoneMap:
    """A non-decreasing, piecewise-linear f: [0, 1] → [0, 1].

    Attributes:
        left: float64 (m,), where rise j begins.
        right: float64 (m,), where it ends; left_j < right_j ≤ left_{j+1}.
        values: float64 (m+1,), the levels between the rises, not decreasing.
    """

    left: Doubles
    right: Doubles
    values: Doubles

    def __call__(self, p: Doubles) -> Doubles:
        """Returns f(p), of any shape; rounding never makes it decrease.

        Example:
            >>> MonotoneMap(np.array([0.2]), np.array([0.4]), np.array([0.0, 1.0]))(np.array([0.1, 0.3, 0.9])).round(6)
            array([0. , 0.5, 1. ])
        """
        if not len(self.left):
            return np.full(p.shape, self.values[0])
        rise = np.clip(np.searchsorted(self.left, p, side="right") - 1, 0, None)
        low, high = self.values[rise], self.values[rise + 1]
        share = np.clip((p - self.left[rise]) / (self.right[rise] - self.left[rise]), 0, 1)
        return np.minimum(low + share * (high - low), high)

    def to_json(self) -> dict[str, Any]:
        """Returns {"left": m numbers, "right": m numbers, "values": m+1 numbers}."""
        return {name: getattr(self, name).tolist() for name in ("left", "right", "values")}

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Returns the map written by `to_json`; what is none is an `InputError`."""
        if not isinstance(content, dict) or set(content) != {"left", "right", "values"}:
            raise InputError(f"expected a map with left, right and values, got {content!r:.60}; fit it again")
        left = read_array(content["left"], "left", (None,), 0, 1)
        right = read_array(content["right"], "right", (len(left),), 0, 1)
        values = read_array(content["values"], "values", (len(left) + 1,), 0, 1)
        if (right <= left).any() or (left[1:] < right[:-1]).any() or (np.diff(values) < 0).any():
            raise InputError("expected rises of positive width, in order, and values that never decrease; fit it again")
        return cls(left, right, values)


class Tally:
    """Outcomes of one 0/1 label by probability: all that isotonic regression needs to know of any number of samples.

    A block of the solution can only begin at a probability some positive has: what follows one without a positive pulls
    its mean down and joins it. So it is enough to count, between the positives' probabilities, the samples and the
    largest of them.

    Args:
        positives: probabilities (n,) of the samples of label 1.
    """

    def __init__(self, positives: Doubles) -> None:
        self.first, self.successes = np.unique(positives, return_counts=True)
        self.totals = np.zeros(len(self.first) + 1, np.int64)
        self.last = np.full(len(self.first) + 1, -np.inf)

    def add(self, probabilities: NDArray[Any]) -> None:
        """Counts samples (n,) of either label; each positive must be among them."""
        group = np.searchsorted(self.first, probabilities, side="right")
        self.totals += np.bincount(group, minlength=len(self.totals))
        np.maximum.at(self.last, group, probabilities)

    def solve(self, most_blocks: int) -> MonotoneMap:
        """Returns the isotonic regression, its cheapest neighbours pooled until at most `most_blocks` are left."""
        from sklearn.isotonic import isotonic_regression

        seen = self.totals > 0  # there may be nothing below the first positive
        totals = self.totals[seen].astype(np.float64)
        successes = np.concatenate([[0], self.successes])[seen].astype(np.float64)
        first, last = np.concatenate([[-np.inf], self.first])[seen], self.last[seen]
        fitted = isotonic_regression(successes / totals, sample_weight=totals)
        start = np.flatnonzero(np.diff(fitted, prepend=-np.inf) > 0)
        successes, totals = np.add.reduceat(successes, start), np.add.reduceat(totals, start)
        kept = _pool_cheapest(successes, totals, most_blocks)
        values = np.add.reduceat(successes, kept) / np.add.reduceat(totals, kept)
        second = start[kept][1:]  # the groups that begin a level, but for the first
        return MonotoneMap(last[second - 1], first[second], values)


def _pool_cheapest(successes: Doubles, totals: Doubles, most: int) -> NDArray[np.int64]:
    """Returns which blocks begin a pool when neighbours are joined, least growth of squared error first, to `most`."""
    begins = np.arange(len(totals))
    while len(totals) > most:
        means = successes / totals
        growth = totals[1:] * totals[:-1] / (totals[1:] + totals[:-1]) * np.diff(means) ** 2
        join = int(growth.argmin()) + 1
        begins = np.delete(begins, join)
        successes, totals = _joined(successes, join), _joined(totals, join)
    return begins


def _joined(values: Doubles, second: int) -> Doubles:
    """Returns the values with entry `second` added to the one before it."""
    shorter = np.delete(values, second)
    shorter[second - 1] += values[second]
    return shorter


def map_nodes(nodes: Nodes, probabilities: ir.Value, maps: list[MonotoneMap]) -> ir.Value:
    """Returns f(p) as graph nodes: f = v₀ + Σ_j (v_{j+1} − v_j)·clip((p − left_j) / (right_j − left_j), 0, 1).

    Args:
        nodes: where they go.
        probabilities: float32 (…, K).
        maps: one for all classes, or K; padded to the longest with rises of height 0.
    """
    width = max(1, *(len(each.left) for each in maps))
    left = _padded([each.left for each in maps], width)
    # A rise narrower than float32 tells apart is a jump; 1e30 times a probability is still finite.
    steep = _padded([1 / np.maximum(each.right - each.left, 1 / CAP) for each in maps], width)
    rise = _padded([np.diff(each.values) for each in maps], width)
    spread = nodes.op("Unsqueeze", probabilities, nodes.constant("last_axis", [-1], np.int64))
    share = nodes.op("Mul", nodes.op("Sub", spread, nodes.constant("left", left)), nodes.constant("steepness", steep))
    share = nodes.op("Clip", share, nodes.constant("none", 0.0), nodes.constant("all", 1.0))
    risen = nodes.op("Mul", share, nodes.constant("rise", rise))
    total = nodes.op("ReduceSum", risen, nodes.constant("rises", [-1], np.int64), keepdims=0)
    return nodes.op("Add", total, nodes.constant("base", [each.values[0] for each in maps]))


def _padded(rows: list[Doubles], width: int) -> ArrayLike:
    return np.stack([np.pad(row, (0, width - len(row))) for row in rows])
