"""Isotonic calibration with one map shared by all classes, which keeps every ranking.

Zhang, Kailkhura, Han: Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning,
ICML 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.checks import check_labels, check_logits, check_matrix, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.monotone import MonotoneMap, Tally, map_nodes
from c2i_fast.calibration.nodes import FLOOR, Nodes, capped_log_softmax
from c2i_fast.calibration.stored import check_keys, require_fitted
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_BLOCKS = 64  # 63 rises for each class in the graph: about a hundredth of a small network's work at K = 1000
TIE_BREAK = 1e-6


class Isotonic:
    """The map z → log f(p) + 1e-6·log p of p = softmax(z), renormalised by the softmax that follows. Rankings stay.

    f is the isotonic regression of all N·K pairs (p_k, 1[k = y]), one map for all classes, of at most 64 levels; below
    1e-9 it is 1e-9. The second term separates what f makes equal, at the price of a relative 1e-6 where p = 1/e.
    In a float32 graph what f makes equal stays equal to a few ulp of the logarithm: read the predicted class, as
    everywhere, from the raw logits.

    Attributes:
        map_: f.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> calibrated = Isotonic().fit(logits, labels).transform([[2.0, 0.0]])
        >>> np.exp(calibrated).round(4)  # 3 of 4 right
        array([[0.75, 0.25]])
    """

    method = "isotonic"
    preserves_order = True
    needs_perturbed_fraction = False
    activations = ("softmax",)

    map_: MonotoneMap

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns f from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        positives = np.concatenate(
            [
                np.exp(log_probabilities(rows[block]))[np.arange(len(classes[block])), classes[block]]
                for block in row_blocks(*rows.shape)
            ]
        )
        tally = Tally(positives)
        for block in row_blocks(*rows.shape):
            tally.add(np.exp(log_probabilities(rows[block])).ravel())
        self.map_ = tally.solve(MOST_BLOCKS)
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns log max(f(p), 1e-9) + 1e-6·log p, float64 (N, K); the perturbed fraction plays no part."""
        monotone = require_fitted(self, "map_")
        log_p = capped_log_softmax(logits, check_matrix(logits).shape[1])
        calibrated: Doubles = np.log(np.maximum(monotone(np.exp(log_p)), FLOOR)) + TIE_BREAK * log_p
        return calibrated

    def parameters(self) -> dict[str, Any]:
        """Returns {"map": {"left": m numbers, "right": m numbers, "values": m+1 numbers}}."""
        return {"map": require_fitted(self, "map_").to_json()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with this map; what cannot be is an `InputError`."""
        check_keys(parameters, ("map",))
        calibrator = cls()
        calibrator.map_ = MonotoneMap.from_json(parameters["map"])
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds LogSoftmax, Exp, the map and its logarithm, and returns the sum, float32 (…, K)."""
        nodes, monotone = Nodes(tape), require_fitted(self, "map_")
        log_p = nodes.log_softmax(nodes.cap(logits))
        mapped = nodes.log_of_map(map_nodes(nodes, nodes.op("Exp", log_p), [monotone]))
        return nodes.op("Add", mapped, nodes.op("Mul", log_p, nodes.constant("tie_break", TIE_BREAK)))
