"""Platt scaling for sigmoid heads: a logistic regression of each label on its own logit.

Platt: Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods, 1999.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from c2i_fast.calibration.checks import check_applies, check_logits
from c2i_fast.calibration.nodes import Nodes, capped
from c2i_fast.calibration.stored import check_keys, read_array, require_fitted
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

NEWTON_STEPS, HALVINGS = 100, 40
MOST = 1e8  # of a slope or intercept: times the largest logit it still fits float32


class Platt:
    """The map z_k → a_k·z_k + b_k, whose **sigmoid** is the calibrated probability that label k applies.

    `fit` minimises for each label the binary cross-entropy against Platt's targets, (N₊+1)/(N₊+2) where the label
    applies and 1/(N₋+2) where not, convex in (a, b). They keep separable data and a label that never applies bounded.
    A slope may be negative, and labels may change their order.

    Attributes:
        slopes_: a, float64 (K,).
        intercepts_: b, float64 (K,).

    Example:
        >>> logits, applies = np.array([[-1.0, 0.5], [1.0, 0.5]]), np.array([[0, 1], [1, 1]])
        >>> Platt().fit(logits, applies).transform([[1.0, 0.5]]).round(6)  # targets 2/3 against 1/3; 3/4
        array([[0.693147, 1.098612]])
    """

    method = "platt"
    preserves_order = False
    needs_perturbed_fraction = False
    activations = ("sigmoid",)

    slopes_: Doubles
    intercepts_: Doubles

    @property
    def classes_(self) -> int:
        """K."""
        return len(require_fitted(self, "slopes_"))

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns from raw logits (N, K), K ≥ 1, and labels (N, K) of 0 and 1 (or bool), and returns itself.

        Raises:
            InputError: logits that are not finite, labels of another shape or with other numbers.
        """
        rows = check_logits(logits, least=1)
        applies = check_applies(labels, rows)
        fitted = [_logistic(rows[:, k].astype(np.float64), applies[:, k]) for k in range(rows.shape[1])]
        self.slopes_, self.intercepts_ = np.array(fitted).T
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns a ⊙ z + b, float64 (N, K): logits of a sigmoid; the perturbed fraction plays no part."""
        mapped: Doubles = capped(logits, self.classes_) * self.slopes_ + self.intercepts_
        return mapped

    def parameters(self) -> dict[str, Any]:
        """Returns {"slopes": K numbers, "intercepts": K numbers}."""
        return {"slopes": require_fitted(self, "slopes_").tolist(), "intercepts": self.intercepts_.tolist()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these parameters; what cannot be is an `InputError`."""
        check_keys(parameters, ("slopes", "intercepts"))
        calibrator = cls()
        calibrator.slopes_ = read_array(parameters["slopes"], "slopes", (None,), -MOST, MOST)
        calibrator.intercepts_ = read_array(
            parameters["intercepts"], "intercepts", (len(calibrator.slopes_),), -MOST, MOST
        )
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds Clip, Mul and Add and returns their output, float32 (…, K), for a Sigmoid."""
        nodes, slopes = Nodes(tape), require_fitted(self, "slopes_")
        scaled = nodes.op("Mul", nodes.cap(logits), nodes.constant("slopes", slopes))
        return nodes.op("Add", scaled, nodes.constant("intercepts", self.intercepts_))


def _logistic(logits: Doubles, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Returns the a and b of least cross-entropy of σ(a·z + b) against Platt's targets, by damped Newton steps."""
    count = int(positive.sum())
    targets = np.where(positive, (count + 1) / (count + 2), 1 / (len(logits) - count + 2))
    centre, spread = logits.mean(), logits.std()
    if spread <= 1e-12 * (1 + abs(centre)):  # one logit for all: only the intercept can be learnt
        return 0.0, float(np.log(targets.mean() / (1 - targets.mean())))
    features = np.stack([(logits - centre) / spread, np.ones_like(logits)])
    theta = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])
    for _ in range(NEWTON_STEPS):
        p = expit(theta @ features)
        gradient = features @ (p - targets) / len(targets)
        hessian = (features * (p * (1 - p))) @ features.T / len(targets)
        step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        theta = _line_search(features, targets, theta, step, gradient)
        if np.abs(gradient).max() <= 1e-14:
            break
    slope = float(np.clip(theta[0] / spread, -MOST, MOST))
    return slope, float(np.clip(theta[1] - slope * centre, -MOST, MOST))


def _line_search(features: Doubles, targets: Doubles, theta: Doubles, step: Doubles, gradient: Doubles) -> Doubles:
    """Returns θ + step/2ⁿ for the least n that does not lengthen the gradient; θ where none is found."""
    length = np.abs(gradient).max()
    for halving in range(HALVINGS):
        moved: Doubles = theta + step / 2**halving
        if np.abs(features @ (expit(moved @ features) - targets)).max() / len(targets) <= length:
            return moved
    return theta
