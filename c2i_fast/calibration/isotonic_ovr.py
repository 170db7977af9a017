"""Isotonic calibration one-vs-rest: a map for each class, renormalised.

Zadrozny, Elkan: Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.monotone import MonotoneMap, Tally, map_nodes
from c2i_fast.calibration.nodes import FLOOR, Nodes, capped_log_softmax
from c2i_fast.calibration.stored import check_keys, require_fitted
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_BLOCKS = 16  # of one class
COLUMNS = 32  # read at a time: 50 000 of them are 13 MB


class IsotonicOVR:
    """The map z_k → log f_k(p_k) of p = softmax(z), renormalised by the softmax that follows. The class may change.

    f_k is the isotonic regression of (p_k, 1[k = y]), of at most 16 levels; below 1e-9 it is 1e-9, so a row that every
    map sends to 0 becomes uniform. A class that never occurs is mapped to 0.

    Attributes:
        maps_: f_k of each class.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> np.exp(IsotonicOVR().fit(logits, labels).transform([[2.0, 0.0]]))
        array([[0.75, 0.25]])
    """

    method = "isotonic-ovr"
    preserves_order = False
    needs_perturbed_fraction = False
    activations = ("softmax",)

    maps_: list[MonotoneMap]

    @property
    def classes_(self) -> int:
        """K."""
        return len(require_fitted(self, "maps_"))

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns the maps from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        self.maps_ = [_isotonic(p, classes == index) for index, p in enumerate(_probability_columns(rows))]
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns log max(f_k(p_k), 1e-9), float64 (N, K); the perturbed fraction plays no part."""
        p = np.exp(capped_log_softmax(logits, self.classes_))
        mapped = np.stack([each(p[:, index]) for index, each in enumerate(self.maps_)], axis=1)
        return np.log(np.maximum(mapped, FLOOR))

    def parameters(self) -> dict[str, Any]:
        """Returns {"maps": K times {"left": m numbers, "right": m numbers, "values": m+1 numbers}}."""
        return {"maps": [each.to_json() for each in require_fitted(self, "maps_")]}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these maps; what cannot be is an `InputError`."""
        check_keys(parameters, ("maps",))
        maps = parameters["maps"]
        if not isinstance(maps, list) or len(maps) < 2:
            raise InputError(f"expected maps to be a list of at least 2, got {maps!r:.60}; fit it again")
        calibrator = cls()
        calibrator.maps_ = [MonotoneMap.from_json(each) for each in maps]
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds LogSoftmax, Exp, the maps and their logarithm, and returns it, float32 (…, K)."""
        nodes, maps = Nodes(tape), require_fitted(self, "maps_")
        probabilities = nodes.op("Exp", nodes.log_softmax(nodes.cap(logits)))
        return nodes.log_of_map(map_nodes(nodes, probabilities, maps))


def _isotonic(probabilities: Doubles, positive: NDArray[np.bool_]) -> MonotoneMap:
    tally = Tally(probabilities[positive])
    tally.add(probabilities)
    return tally.solve(MOST_BLOCKS)


def _probability_columns(rows: NDArray[Any]) -> Iterator[Doubles]:
    """Yields softmax(z)[:, k] for k = 0..K−1, float64 (N,), without all of them in memory."""
    first = [log_probabilities(rows[block])[:, 0] - rows[block][:, 0] for block in row_blocks(*rows.shape)]
    minus_log_sum = np.concatenate(first)[:, None]
    for start in range(0, rows.shape[1], COLUMNS):
        yield from np.exp(rows[:, start : start + COLUMNS] + minus_log_sum).T
