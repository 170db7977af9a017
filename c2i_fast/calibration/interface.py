"""What every calibrator of this package can do, and the registry that knows them by name.

A new calibrator is one file with one class and one `add_lazy` line here. Nothing else asks which calibrators exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from c2i_fast.registry import Registry
from c2i_fast.types import Calibrator

if TYPE_CHECKING:
    import onnx_ir as ir


class GraphCalibrator(Calibrator, Protocol):
    """A calibrator that can be rebuilt from its parameters and written as graph nodes.

    Attributes:
        needs_perturbed_fraction: whether the map depends on the perturbed fraction λ; if so, `transform` and `to_graph`
            must be given it, and the fused graph has that input.
    """

    needs_perturbed_fraction: bool

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the fitted calibrator that `parameters()` came from.

        The parameters are data from a file: unknown, missing or impossible ones are an `InputError`.
        """
        ...

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds float32 nodes (operators as in opset 13 to 20) and returns the calibrated logits.

        Args:
            tape: where nodes and initializers go; initializers are named `c2i_fast.calibrator/…`.
            logits: float32 (…, K), raw; any leading axes, (N,) in a fused graph and (N, S) in a scorer graph.
            perturbed_fraction: float32, the leading axes of `logits`; for calibrators that need it.

        Returns:
            Float32 (…, K) whose softmax is the calibrated probability; they equal `transform`'s up to a constant per
            row, which a softmax does not see. May be `logits` itself.
        """
        ...


CALIBRATORS: Registry[type[GraphCalibrator]] = Registry("calibrator")
CALIBRATORS.add_lazy(
    "temperature", "c2i_fast.calibration.temperature:Temperature", "logits divided by one number; keeps every ranking"
)
CALIBRATORS.add_lazy(
    "identity", "c2i_fast.calibration.identity:Identity", "logits as they are; the control of every comparison"
)
