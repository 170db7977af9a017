"""Histogram binning one-vs-rest: in each bin of a class's probability, how often the class was right.

Zadrozny, Elkan: Obtaining calibrated probability estimates from decision trees and naive Bayesian classifiers,
ICML 2001.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.checks import check_labels, check_logits, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.nodes import FLOOR, Nodes, capped_log_softmax
from c2i_fast.calibration.stored import check_keys, read_array, require_fitted
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, Ints

if TYPE_CHECKING:
    import onnx_ir as ir

MOST_BINS = 1000


class HistogramOVR:
    """The map z_k → log v_k[bin of p_k] of p = softmax(z), renormalised by the softmax that follows.

    Bins are of equal width, open below and closed above: p is in bin ⌈B·p⌉ − 1, 0 in the first. v is the share of
    samples in the bin whose label is k, the bin's centre where it is empty; below 1e-9 it is 1e-9, so a row of zeros
    becomes uniform. The predicted class may change, and classes tie.

    Args:
        bins: B, 2..1000.

    Attributes:
        values_: v, float64 (K, B).

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> np.exp(HistogramOVR().fit(logits, labels).transform([[2.0, 0.0]]))
        array([[0.75, 0.25]])
    """

    method = "histogram-ovr"
    preserves_order = False
    needs_perturbed_fraction = False
    activations = ("softmax",)

    values_: Doubles

    def __init__(self, bins: int = 15) -> None:
        self.bins = bins

    @property
    def classes_(self) -> int:
        """K."""
        return len(require_fitted(self, "values_"))

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns v from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many, impossible `bins`.
        """
        rows = check_logits(logits)
        labels = check_labels(labels, rows)
        bins, classes = self.bins, rows.shape[1]
        if not 2 <= bins <= MOST_BINS:
            raise InputError(f"expected 2 to {MOST_BINS} bins, got {bins}")
        right, total = np.zeros(classes * bins), np.zeros(classes * bins)
        for block in row_blocks(*rows.shape):
            flat = _bin(np.exp(log_probabilities(rows[block])), bins) + np.arange(classes, dtype=np.int32) * bins
            total += np.bincount(flat.ravel(), minlength=len(total))
            right += np.bincount(flat[np.arange(len(flat)), labels[block]], minlength=len(total))
        centres = np.tile((np.arange(bins) + 0.5) / bins, classes)
        self.values_ = np.where(total > 0, right / np.maximum(total, 1), centres).reshape(classes, bins)
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns log max(v_k[bin of p_k], 1e-9), float64 (N, K); the perturbed fraction plays no part."""
        p = np.exp(capped_log_softmax(logits, self.classes_))
        found = self.values_[np.arange(self.classes_), _bin(p, self.values_.shape[1])]
        return np.log(np.maximum(found, FLOOR))

    def parameters(self) -> dict[str, Any]:
        """Returns {"values": K lists of B numbers}."""
        return {"values": require_fitted(self, "values_").tolist()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these values; what cannot be is an `InputError`."""
        check_keys(parameters, ("values",))
        values = read_array(parameters["values"], "values", (None, None), 0, 1)
        if len(values) < 2 or not 2 <= values.shape[1] <= MOST_BINS:
            raise InputError(f"expected values of 2 or more classes in 2 to {MOST_BINS} bins, got {values.shape}")
        calibrator = cls(bins=values.shape[1])
        calibrator.values_ = values
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds LogSoftmax, Exp, the bin's number and one Gather, and returns it, float32 (…, K)."""
        nodes, values = Nodes(tape), require_fitted(self, "values_")
        classes, bins = values.shape
        p = nodes.op("Exp", nodes.log_softmax(nodes.cap(logits)))
        above = nodes.op("Ceil", nodes.op("Mul", p, nodes.constant("bins", bins)))
        number = nodes.op("Clip", above, nodes.constant("first_bin", 1), nodes.constant("last_bin", bins))
        # float32 counts whole numbers up to 2**24 exactly, 16 000 classes of 1000 bins.
        flat = nodes.op("Add", number, nodes.constant("row_starts", np.arange(classes) * bins - 1))
        table = nodes.constant("log_values", np.log(np.maximum(values, FLOOR)).ravel())
        return nodes.op("Gather", table, nodes.op("Cast", flat, to=7), axis=0)  # 7: int64


def _bin(probabilities: Doubles, bins: int) -> Ints:
    """Returns ⌈B·p⌉ − 1, at least 0 and at most B − 1."""
    numbers: Doubles = np.clip(np.ceil(probabilities * bins) - 1, 0, bins - 1)
    return numbers.astype(np.int32)
