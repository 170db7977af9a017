"""No calibration at all, under the same interface: the control, and what "uncalibrated" means in a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.checks import check_applies, check_labels, check_logits, check_matrix
from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Doubles

if TYPE_CHECKING:
    import onnx_ir as ir


class Identity:
    """The map z → z. It learns nothing, so it may be used without `fit`.

    Args:
        activation: of the head, which says what labels `fit` expects.

    Example:
        >>> Identity().transform([[2.0, 0.0]])
        array([[2., 0.]])
    """

    method = "identity"
    preserves_order = True
    needs_perturbed_fraction = False
    activations = ("softmax", "sigmoid")

    def __init__(self, activation: Activation = "softmax") -> None:
        self.activation = activation

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Returns itself; the input is checked as every calibrator checks it."""
        if self.activation == "sigmoid":
            check_applies(labels, check_logits(logits, least=1))
        else:
            check_labels(labels, check_logits(logits))
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns a float64 copy of the logits (N, K)."""
        return check_matrix(logits, least=1).astype(np.float64)

    def parameters(self) -> dict[str, Any]:
        """Returns {}: there is nothing to store."""
        return {}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns an `Identity`; any parameter is an `InputError`."""
        if parameters:
            raise InputError(f"identity has no parameters, got {', '.join(map(str, parameters))}; remove them")
        return cls()

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Returns `logits` itself and adds no node."""
        return logits
