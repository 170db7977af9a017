"""Vector scaling: every class's logit gets its own factor and offset.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.nodes import CAP, Nodes, capped
from c2i_fast.calibration.softmax_fit import Objective, minimise
from c2i_fast.calibration.stored import check_keys, read_array, read_bound, require_fitted
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

WEIGHT_BOUND, OFFSET_BOUND = 20.0, 50.0


class Vector:
    """The map z → w ⊙ z + b with one weight and one bias a class. It may change the predicted class.

    `fit` minimises the mean negative log-likelihood, convex in (w, b), from the best temperature on. On separable
    data, and for a class that never occurs, the optimum is at infinity: the fit ends where the gradient has
    vanished, or at |w| = 20 or a calibrated logit of ±50 at the mean of the logits at which the class is probable.

    Attributes:
        weights_: w, float64 (K,).
        bias_: b, float64 (K,), of mean 0 (a common offset changes no probability).
        at_bound_: `weight` or `bias` where one of them ended on its bound, `iteration` where the fit was stopped short
            of the optimum (50 000 x 1000 logits are read 120 times), else None.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> Vector().fit(logits, labels).transform([[2.0, 0.0]]).round(4)  # 3 of 4 right: log 3 apart
        array([[1.0986, 0.    ]])
    """

    method = "vector"
    preserves_order = False
    needs_perturbed_fraction = False
    activations = ("softmax",)

    weights_: Doubles
    bias_: Doubles
    at_bound_: str | None

    @property
    def classes_(self) -> int:
        """K."""
        return len(require_fitted(self, "weights_"))

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns w and b from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        factor = 1 / Temperature().fit(rows, classes).temperature_
        linear = _Scores(rows, factor)
        upper = np.repeat([[WEIGHT_BOUND], [OFFSET_BOUND]], rows.shape[1], axis=1) / linear.scale
        start = np.stack([np.full(rows.shape[1], factor), factor * linear.centre]) / linear.scale
        start[1] -= start[1].mean()
        objective = Objective(linear, classes, rows.shape[1], np.zeros_like(upper))
        found, finished = minimise(objective, start, -upper, upper)
        weight_hit, offset_hit = np.any(np.abs(found) >= upper, axis=1).tolist()
        self.at_bound_ = "weight" if weight_hit else "bias" if offset_hit else None if finished else "iteration"
        self.weights_, self.bias_ = linear.weights_and_bias(found)
        self.bias_ -= self.bias_.mean()
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns w ⊙ z + b, float64 (N, K); the perturbed fraction plays no part.

        Example:
            >>> Vector.from_parameters({"weights": [0.5, 1], "bias": [0, 1]}).transform([[2.0, 0.0]])
            array([[1., 1.]])
        """
        scaled: Doubles = capped(logits, self.classes_) * self.weights_ + self.bias_
        return scaled

    def parameters(self) -> dict[str, Any]:
        """Returns {"weights": K numbers, "bias": K numbers, "at_bound": "weight" | "bias" | "iteration" | None}."""
        weights = require_fitted(self, "weights_")
        return {"weights": weights.tolist(), "bias": self.bias_.tolist(), "at_bound": self.at_bound_}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these parameters; what cannot be is an `InputError`."""
        check_keys(parameters, ("weights", "bias"), ("at_bound",))
        calibrator = cls()
        calibrator.weights_ = read_array(parameters["weights"], "weights", (None,))
        calibrator.bias_ = read_array(parameters["bias"], "bias", (len(calibrator.weights_),), -CAP, CAP)
        calibrator.at_bound_ = read_bound(parameters.get("at_bound"), ("weight", "bias", "iteration"))
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds Clip, Mul and Add and returns their output, float32 (…, K)."""
        nodes, weights = Nodes(tape), require_fitted(self, "weights_")
        scaled = nodes.op("Mul", nodes.cap(logits), nodes.constant("weights", weights))
        return nodes.op("Add", scaled, nodes.constant("bias", self.bias_))


class _Scores:
    """w ⊙ (z − m) + o with θ = (w, o) / scale, of shape (2, K); the bias is b = o − w·m.

    A class matters where it is probable, that is at logits far from 0, where its weight and bias do the same. Taken
    about the mean m of those logits and in units of their curvature, they can be told apart: the conditioning falls
    from thousands to a few.
    """

    def __init__(self, logits: NDArray[Any], factor: float) -> None:
        self.logits = logits
        sums = sum(_curvature(logits[block], factor, len(logits)) for block in row_blocks(*logits.shape))
        total, first, second = np.asarray(sums) / len(logits)
        self.centre: Doubles = first / total
        spread = np.maximum(second / total - self.centre**2, 1e-12 * (1 + self.centre**2))
        self.scale: Doubles = np.stack([1 / np.sqrt(total * spread), 1 / np.sqrt(total)])

    def weights_and_bias(self, theta: Doubles) -> tuple[Doubles, Doubles]:
        """Returns w (K,) and b (K,)."""
        weights, offsets = theta * self.scale
        return weights, offsets - weights * self.centre

    def scores(self, theta: Doubles, block: slice) -> Doubles:
        """Returns w ⊙ z + b of the samples in `block`."""
        weights, bias = self.weights_and_bias(theta)
        scaled: Doubles = self.logits[block] * weights
        scaled += bias
        return scaled

    def pull_back(self, gradient: Doubles, block: slice) -> Doubles:
        """Returns the gradient by w and o, each in units of `scale`."""
        by_bias = gradient.sum(axis=0)
        by_weight = np.einsum("nk,nk->k", gradient, self.logits[block]) - by_bias * self.centre
        return np.stack([by_weight, by_bias]) * self.scale


def _curvature(logits: NDArray[Any], factor: float, samples: int) -> Doubles:
    """Returns Σ_n q, Σ_n q·z and Σ_n q·z² (3, K) with q = p(1 − p) + 1/N, p the softmax of factor · z."""
    p = np.exp(log_probabilities(factor * logits))
    weight = p * (1 - p) + 1 / samples
    return np.stack([weight.sum(axis=0), (weight * logits).sum(axis=0), (weight * logits**2).sum(axis=0)])
