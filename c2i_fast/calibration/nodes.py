"""Float32 ONNX nodes as the calibrators write them, and the range of logits in which their arithmetic stays finite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_matrix
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

# Logits beyond are as good as infinite; weights up to 1e4 and sums of 1e3 of them still fit float32 (3e38).
CAP = 1e30
# The least value of a map on probabilities: a class that a step map gives 0 keeps a finite logarithm.
FLOOR = 1e-9


def capped(logits: ArrayLike, classes: int) -> Doubles:
    """Returns the logits (N, K) in float64, cut at ±1e30; another K than the calibrator's is an `InputError`."""
    array = check_matrix(logits, least=1)
    if array.shape[1] != classes:
        raise InputError(f"this calibrator is for {classes} classes, got logits of shape {array.shape}")
    cut: Doubles = np.clip(array, -CAP, CAP, dtype=np.float64)
    return cut


def capped_log_softmax(logits: ArrayLike, classes: int) -> Doubles:
    """Returns log softmax of the logits cut at ±1e30, float64 (N, K), finite; NaN is an `InputError`."""
    return log_probabilities(capped(logits, classes))


class Nodes:
    """Adds float32 nodes to a tape; every constant is an initializer `c2i_fast.calibrator/NAME`."""

    def __init__(self, tape: ir.tape.Tape) -> None:
        self.tape = tape

    def constant(self, name: str, value: ArrayLike, dtype: type = np.float32) -> ir.Value:
        """Returns an initializer that holds the value."""
        import onnx_ir as ir

        array: NDArray[Any] = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        return self.tape.initializer(ir.tensor(array, name=f"c2i_fast.calibrator/{name}"))

    def op(self, kind: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Returns the output of a new node."""
        return self.tape.op(kind, list(inputs), attributes or None)

    def cap(self, logits: ir.Value) -> ir.Value:
        """Returns the logits cut at ±1e30."""
        return self.op("Clip", logits, self.constant("lowest", -CAP), self.constant("highest", CAP))

    def log_softmax(self, logits: ir.Value) -> ir.Value:
        """Returns log softmax over the last axis; the input must be capped."""
        return self.op("LogSoftmax", logits, axis=-1)

    def log_of_map(self, values: ir.Value) -> ir.Value:
        """Returns log max(values, FLOOR)."""
        return self.op("Log", self.op("Max", values, self.constant("floor", FLOOR)))
