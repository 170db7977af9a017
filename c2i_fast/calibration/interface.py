"""What every calibrator of this package can do, and the registry that knows them by name.

A new calibrator is one file with one class and one `add_lazy` line here. Nothing else asks which calibrators exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from c2i_fast.errors import InputError
from c2i_fast.registry import Registry
from c2i_fast.types import Calibrator

if TYPE_CHECKING:
    import onnx_ir as ir


class GraphCalibrator(Calibrator, Protocol):
    """A calibrator that can be rebuilt from its parameters and written as graph nodes.

    Attributes:
        needs_perturbed_fraction: whether the map depends on the perturbed fraction λ; if so, `transform` and `to_graph`
            must be given it, and the fused graph has that input.
        activations: the heads it can serve, `softmax` (one class a sample) or `sigmoid` (any labels).
    """

    needs_perturbed_fraction: bool
    activations: tuple[str, ...]

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
            Float32 (…, K) whose softmax (sigmoid, for a sigmoid head) is the calibrated probability. For a softmax they
            equal `transform`'s up to a constant per row, which it does not see. May be `logits` itself.
        """
        ...


def check_activation(calibrator: Calibrator | type[GraphCalibrator], activation: str) -> None:
    """Raises an `InputError` where a calibrator cannot serve a head; one that names no heads serves all."""
    served = getattr(calibrator, "activations", (activation,))
    if activation not in served:
        raise InputError(
            f"{calibrator.method} is for {' and '.join(served)} heads, and this one is a {activation}; "
            f"those that serve it: {', '.join(serving(activation))}"
        )


def serving(activation: str) -> tuple[str, ...]:
    """Returns the names of the calibrators that serve a head.

    Example:
        >>> serving("sigmoid")
        ('temperature', 'identity', 'platt')
    """
    return tuple(name for name in CALIBRATORS if activation in CALIBRATORS[name].activations)


def new_calibrator(name: str, activation: str) -> GraphCalibrator:
    """Returns an unfitted calibrator for a head; those that serve both kinds are told which.

    Example:
        >>> new_calibrator("temperature", "sigmoid").fit([[1.0], [1.0]], [[1], [0]]).parameters()["at_bound"]
        'upper'
    """
    kind: Any = CALIBRATORS[name]
    check_activation(kind, activation)
    made: GraphCalibrator = kind() if len(kind.activations) == 1 else kind(activation=activation)
    return made


CALIBRATORS: Registry[type[GraphCalibrator]] = Registry("calibrator")
CALIBRATORS.add_lazy(
    "temperature", "c2i_fast.calibration.temperature:Temperature", "logits divided by one number; keeps every ranking"
)
CALIBRATORS.add_lazy(
    "identity", "c2i_fast.calibration.identity:Identity", "logits as they are; the control of every comparison"
)
CALIBRATORS.add_lazy(
    "vector", "c2i_fast.calibration.vector:Vector", "a factor and an offset a class; may change the predicted class"
)
CALIBRATORS.add_lazy(
    "matrix",
    "c2i_fast.calibration.matrix:Matrix",
    "an affine map of the logits (ODIR penalty, up to 200 classes); may change the predicted class",
)
CALIBRATORS.add_lazy(
    "dirichlet-odir",
    "c2i_fast.calibration.dirichlet:DirichletODIR",
    "an affine map of log-probabilities (ODIR penalty, up to 200 classes); may change the predicted class",
)
CALIBRATORS.add_lazy(
    "dirichlet-l2",
    "c2i_fast.calibration.dirichlet:DirichletL2",
    "the same, all weights penalised, as in Calibrate to Interpret; may change the predicted class",
)
CALIBRATORS.add_lazy(
    "ets",
    "c2i_fast.calibration.ets:EnsembleTemperature",
    "tempered, plain and uniform probabilities mixed; keeps every ranking",
)
CALIBRATORS.add_lazy(
    "isotonic", "c2i_fast.calibration.isotonic:Isotonic", "one monotone map for all classes; keeps every ranking"
)
CALIBRATORS.add_lazy(
    "isotonic-ovr",
    "c2i_fast.calibration.isotonic_ovr:IsotonicOVR",
    "a monotone map a class, renormalised; may change the predicted class",
)
CALIBRATORS.add_lazy(
    "histogram-ovr",
    "c2i_fast.calibration.histogram_ovr:HistogramOVR",
    "15 bins a class, renormalised; may change the predicted class",
)
CALIBRATORS.add_lazy("platt", "c2i_fast.calibration.platt:Platt", "a logistic regression a label, for sigmoid heads")
CALIBRATORS.add_lazy(
    "recalx",
    "c2i_fast.calibration.recalx:ReCalX",
    "a temperature for each level of perturbation, fitted on masked images; keeps every ranking",
)
