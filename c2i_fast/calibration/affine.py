"""What matrix and Dirichlet scaling share: softmax(W·x + b) of a K x K matrix, fitted with a quadratic penalty."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.checks import check_labels, check_logits
from c2i_fast.calibration.nodes import Nodes
from c2i_fast.calibration.softmax_fit import Objective, minimise
from c2i_fast.calibration.stored import check_keys, read_array, read_bound, require_fitted
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

WEIGHT_BOUND = 100.0
# 50 000 samples of 200 classes take minutes on two cores, and the weights grow with the square of the classes.
MAX_CLASSES = 200


class Affine(ABC):
    """The map x → W·x + b on features x of the logits; subclasses say which features and which penalty.

    Attributes:
        weights_: W, float64 (K, K), row k giving the score of class k.
        bias_: b, float64 (K,).
        at_bound_: `weight` where an entry ended on its bound ±100, `iteration` where the fit was stopped short of the
            optimum, else None.
    """

    method: ClassVar[str]
    preserves_order = False
    needs_perturbed_fraction = False
    activations = ("softmax",)

    weights_: Doubles
    bias_: Doubles
    at_bound_: str | None

    @property
    def classes_(self) -> int:
        """K."""
        return len(require_fitted(self, "bias_"))

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns W and b from raw logits (N, K), 2 ≤ K ≤ 200, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many, more than 200 classes, a
                penalty that is not a finite number ≥ 0.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        count = rows.shape[1]
        if count > MAX_CLASSES:
            raise InputError(
                f"{self.method} learns {count}² weights and takes at most {MAX_CLASSES} classes, got {count}; "
                "use temperature, vector or ets"
            )
        penalty, start = self._penalty(count), np.eye(count, count + 1)
        if not (np.isfinite(penalty) & (penalty >= 0)).all():
            raise InputError(f"expected the penalties of {self.method} to be finite and at least 0")
        upper = np.full_like(start, WEIGHT_BOUND)
        upper[count - self._fixed_rows() :] = 0
        objective = Objective(_Scores(self._features(rows, count)), classes, count, penalty)
        found, finished = minimise(objective, start, -upper, upper)
        self.at_bound_ = "weight" if (np.abs(found) >= WEIGHT_BOUND).any() else None if finished else "iteration"
        self.weights_, self.bias_ = found[:, :-1].copy(), found[:, -1].copy()
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns W·x + b, float64 (N, K); the perturbed fraction plays no part."""
        features = self._features(logits, self.classes_)
        mapped: Doubles = features @ self.weights_.T + self.bias_
        return mapped

    def parameters(self) -> dict[str, Any]:
        """Returns {"weights": K rows of K numbers, "bias": K numbers, "at_bound": "weight" | "iteration" | None}."""
        weights = require_fitted(self, "weights_")
        return {"weights": weights.tolist(), "bias": self.bias_.tolist(), "at_bound": self.at_bound_}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these parameters; what cannot be is an `InputError`."""
        check_keys(parameters, ("weights", "bias"), ("at_bound",))
        calibrator = cls()
        calibrator.bias_ = read_array(parameters["bias"], "bias", (None,))
        count = len(calibrator.bias_)
        calibrator.weights_ = read_array(parameters["weights"], "weights", (count, count))
        calibrator.at_bound_ = read_bound(parameters.get("at_bound"), ("weight", "iteration"))
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds the features, MatMul and Add and returns the sum, float32 (…, K)."""
        nodes, weights = Nodes(tape), require_fitted(self, "weights_")
        product = nodes.op("MatMul", self._feature_nodes(nodes, logits), nodes.constant("weights", weights.T))
        return nodes.op("Add", product, nodes.constant("bias", self.bias_))

    @abstractmethod
    def _penalty(self, classes: int) -> Doubles:
        """Returns the factors of the squared entries of [W, b], (K, K+1)."""

    def _fixed_rows(self) -> int:
        """Returns how many of the last rows are held at 0."""
        return 0

    @staticmethod
    @abstractmethod
    def _features(logits: ArrayLike, classes: int) -> Doubles:
        """Returns x, float64 (N, K)."""

    @staticmethod
    @abstractmethod
    def _feature_nodes(nodes: Nodes, logits: ir.Value) -> ir.Value:
        """Returns x as graph nodes."""


def odir_penalty(classes: int, weight_penalty: float, bias_penalty: float) -> Doubles:
    """Returns the factors (K, K+1) of λ·mean of squared off-diagonal weights + μ·mean of squared biases.

    Example:
        >>> odir_penalty(2, 0.01, 0.02)
        array([[0.   , 0.005, 0.01 ],
               [0.005, 0.   , 0.01 ]])
    """
    factors = np.full((classes, classes + 1), weight_penalty / (classes * (classes - 1)))
    np.fill_diagonal(factors, 0)
    factors[:, -1] = bias_penalty / classes
    return factors


class _Scores:
    """W·x + b with θ = [W, b] of shape (K, K+1)."""

    def __init__(self, features: Doubles) -> None:
        self.features = features

    def scores(self, theta: Doubles, block: slice) -> Doubles:
        """Returns W·x + b of the samples in `block`."""
        scored: Doubles = self.features[block] @ theta[:, :-1].T
        scored += theta[:, -1]
        return scored

    def pull_back(self, gradient: Doubles, block: slice) -> Doubles:
        """Returns [gradientᵀ·x, Σ gradient]."""
        return np.concatenate([gradient.T @ self.features[block], gradient.sum(axis=0)[:, None]], axis=1)
