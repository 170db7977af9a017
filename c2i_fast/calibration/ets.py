"""Ensemble temperature scaling: a mixture of the tempered softmax, the plain softmax and the uniform distribution.

Zhang, Kailkhura, Han: Mix-n-Match: Ensemble and Compositional Methods for Uncertainty Calibration in Deep Learning,
ICML 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.nodes import Nodes, capped
from c2i_fast.calibration.stored import check_keys, read_array, read_bound, require_fitted
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

LOWEST, HIGHEST = 0.05, 20.0  # the temperatures tried, those of Temperature
GRID = 13
# From a file: logits of 1e30 over any of these still fit float32.
SMALLEST_STORED, LARGEST_STORED = 1e-6, 1e6


class EnsembleTemperature:
    """The map z → log(w₁·softmax(z/T) + w₂·softmax(z) + w₃/K) with w ≥ 0, Σ w = 1. Rankings stay.

    `fit` minimises the mean Brier score twice, as published: over T with w = (1, 0, 0), by the zero of the derivative
    next to the best of 13 temperatures in [0.05, 20]; then over w with that T, exactly. Where w₃ > 0, probabilities far
    below it are equal to rounding; the predicted class is then that of the raw logits.

    Attributes:
        temperature_: T.
        weights_: w, float64 (3,).
        classes_: K.
        at_bound_: `lower` or `upper` where T is 0.05 or 20, else None.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> fitted = EnsembleTemperature().fit(logits, labels)
        >>> round(fitted.temperature_, 4), np.exp(fitted.transform([[2.0, 0.0]])).round(4)  # 3 of 4 right
        (1.8205, array([[0.75, 0.25]]))
    """

    method = "ets"
    preserves_order = True
    needs_perturbed_fraction = False
    activations = ("softmax",)

    temperature_: float
    weights_: Doubles
    classes_: int
    at_bound_: str | None

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns T and w from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many.
        """
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        self.temperature_, self.at_bound_ = _best_temperature(rows, classes)
        self.weights_ = _simplex_minimiser(*_quadratic(rows, classes, self.temperature_))
        self.classes_ = rows.shape[1]
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns the logarithm of the mixture, float64 (N, K); the perturbed fraction plays no part.

        Example:
            >>> mixture = {"temperature": 2.0, "weights": [0.5, 0, 0.5], "classes": 2}
            >>> np.exp(EnsembleTemperature.from_parameters(mixture).transform([[2.0, 0.0]])).round(6)
            array([[0.615529, 0.384471]])
        """
        terms = self._terms(logits)
        mixed = terms[0]
        for term in terms[1:]:
            mixed = np.logaddexp(mixed, term)
        return mixed

    def parameters(self) -> dict[str, Any]:
        """Returns {"temperature": T, "weights": 3 numbers, "classes": K, "at_bound": "lower" | "upper" | None}."""
        weights = require_fitted(self, "weights_").tolist()
        fixed = {"temperature": self.temperature_, "weights": weights, "classes": self.classes_}
        return fixed | {"at_bound": self.at_bound_}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these parameters; what cannot be is an `InputError`."""
        check_keys(parameters, ("temperature", "weights", "classes"), ("at_bound",))
        weights = read_array(parameters["weights"], "weights", (3,), 0, 1)
        if abs(weights.sum() - 1) > 1e-6:
            raise InputError(f"expected weights that sum to 1, got {weights.tolist()}")
        temperature = read_array(parameters["temperature"], "temperature", (), SMALLEST_STORED, LARGEST_STORED)
        classes = parameters["classes"]
        if isinstance(classes, bool) or not isinstance(classes, int) or classes < 2:
            raise InputError(f"expected classes to be a whole number of at least 2, got {classes!r:.40}")
        calibrator = cls()
        calibrator.temperature_, calibrator.weights_, calibrator.classes_ = float(temperature), weights, classes
        calibrator.at_bound_ = read_bound(parameters.get("at_bound"), ("lower", "upper"))
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds the terms whose weight is not 0 and their log Σ exp, and returns it, float32 (…, K)."""
        nodes, weights = Nodes(tape), require_fitted(self, "weights_")
        cut, terms = nodes.cap(logits), []
        for name, weight, temperature in zip(("tempered", "plain"), weights, (self.temperature_, 1.0), strict=False):
            if weight > 0:
                scaled = cut if temperature == 1 else nodes.op("Div", cut, nodes.constant("temperature", temperature))
                terms.append(nodes.op("Add", nodes.log_softmax(scaled), nodes.constant(name, np.log(weight))))
        if weights[2] > 0:
            constant = nodes.constant("uniform", np.log(weights[2] / self.classes_))
            # Times 0, so that the term has the logits' shape even if it is the only one.
            flat = nodes.op("Mul", cut, nodes.constant("zero", 0.0))
            terms.append(nodes.op("Add", flat, constant))
        return terms[0] if len(terms) == 1 else _log_sum_exp(nodes, terms)

    def _terms(self, logits: ArrayLike) -> list[Doubles]:
        """Returns log(w_j · p_j), float64 (N, K), of the terms whose weight is not 0."""
        weights = require_fitted(self, "weights_")
        cut = capped(logits, self.classes_)
        terms = [
            np.log(weight) + log_probabilities(cut / temperature)
            for weight, temperature in zip(weights, (self.temperature_, 1.0), strict=False)
            if weight > 0
        ]
        return [*terms, np.full_like(cut, np.log(weights[2] / self.classes_))] if weights[2] > 0 else terms


def _log_sum_exp(nodes: Nodes, terms: list[ir.Value]) -> ir.Value:
    largest = nodes.op("Max", *terms)
    parts = [nodes.op("Exp", nodes.op("Sub", term, largest)) for term in terms]
    return nodes.op("Add", largest, nodes.op("Log", nodes.op("Sum", *parts)))


def _best_temperature(rows: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, str | None]:
    """Returns the T of least mean Brier score and the bound it is, if any."""
    from scipy.optimize import brentq

    betas = np.geomspace(1 / HIGHEST, 1 / LOWEST, GRID)
    scored = [_brier(rows, labels, beta) for beta in betas]
    best = int(np.argmin([value for value, _ in scored]))
    if scored[best][1] == 0:  # the score does not depend on T here: nothing to look for
        low = high = best
    else:
        low, high = (best, best + 1) if scored[best][1] < 0 else (best - 1, best)
    if high == GRID:
        return LOWEST, "lower"
    if low < 0:
        return HIGHEST, "upper"
    if scored[low][1] >= 0 or scored[high][1] <= 0:  # flat, or several minima within one step of the grid
        return float(1 / betas[best]), None
    return float(1 / brentq(lambda beta: _brier(rows, labels, beta)[1], betas[low], betas[high], xtol=1e-15)), None


def _brier(rows: NDArray[Any], labels: NDArray[np.int64], beta: float) -> tuple[float, float]:
    """Returns the mean of Σ_k (p_k − y_k)² with p = softmax(β·z), and its derivative in β.

    With r = p − y it is 2·Σ_k r_k p_k (z_k − Σ_j p_j z_j).
    """
    value, slope = 0.0, 0.0
    for block in row_blocks(*rows.shape):
        gap = rows[block].astype(np.float64)
        gap -= gap.max(axis=1, keepdims=True)
        p = np.exp(beta * gap)
        p /= p.sum(axis=1, keepdims=True)
        gap -= np.einsum("nk,nk->n", p, gap)[:, None]
        gap *= p
        p[np.arange(len(p)), labels[block]] -= 1
        value += np.einsum("nk,nk->", p, p)
        slope += 2 * np.einsum("nk,nk->", p, gap)
    return float(value / len(rows)), float(slope / len(rows))


def _quadratic(rows: NDArray[Any], labels: NDArray[np.int64], temperature: float) -> tuple[Doubles, Doubles]:
    """Returns A (3, 3) and b (3,) with which the mean Brier score of weights w is w·A·w − 2·b·w + 1."""
    square, linear, classes = np.zeros((3, 3)), np.zeros(3), rows.shape[1]
    for block in row_blocks(*rows.shape):
        logits = rows[block].astype(np.float64)
        parts = np.exp([log_probabilities(logits / temperature), log_probabilities(logits)])
        parts = np.concatenate([parts, np.full((1, *logits.shape), 1 / classes)])
        square += np.einsum("ink,jnk->ij", parts, parts, optimize=True)
        linear += parts[:, np.arange(len(logits)), labels[block]].sum(axis=1)
    return square / len(rows), linear / len(rows)


def _simplex_minimiser(square: Doubles, linear: Doubles) -> Doubles:
    """Returns the w ≥ 0 with Σ w = 1 of least w·A·w − 2·b·w, by looking at every face; fewer terms win a tie."""
    best, least = np.array([1.0, 0.0, 0.0]), float(square[0, 0] - 2 * linear[0])
    for size in (1, 2, 3):
        for face in map(list, combinations(range(3), size)):
            system = np.ones((size + 1, size + 1))
            system[:size, :size], system[size, size] = 2 * square[np.ix_(face, face)], 0
            inside = np.linalg.lstsq(system, np.append(2 * linear[face], 1), rcond=None)[0][:size]
            weights: Doubles = np.zeros(3)
            weights[face] = inside
            value = float(weights @ square @ weights - 2 * linear @ weights)
            if (inside >= 0).all() and value < least - 1e-15:
                best, least = weights / float(weights.sum()), value
    return best
