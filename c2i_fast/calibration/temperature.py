"""Temperature scaling: all logits divided by one number, the exact minimiser of the negative log-likelihood.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_applies, check_labels, check_logits, check_matrix, row_blocks
from c2i_fast.errors import InputError, NotFittedError
from c2i_fast.types import Activation, Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

Bound = Literal["lower", "upper"]

# Newton's error is squared by each step, so a step of 1e-9 leaves nothing that float64 could hold.
RELATIVE_STEP = 1e-9
MAX_EVALUATIONS = 200  # a few are needed; halving alone, in the worst case, takes about a hundred


class Temperature:
    """The map z → z / T with T > 0: above 1 it makes a network less confident, below 1 more. Rankings stay.

    `fit` minimises (1/N) Σ_i −log softmax(z_i / T)[y_i] (of a sigmoid head: the mean binary cross-entropy of all
    labels, one T for all), which is convex in 1/T, by a bracketed Newton iteration in float64 until the derivative is
    zero to rounding. A handful of passes over the logits, in blocks: 50 000 x 1000 float32 logits take a few MiB beside
    themselves.

    Args:
        activation: of the head, which says what labels `fit` expects.
        bounds: smallest and largest T. Data that are separable as they stand (every label is a largest logit) have
            their optimum at T → 0, labels unrelated to the logits at T → ∞; `fit` then stops at a bound and says so.

    Attributes:
        temperature_: T. Where the likelihood does not depend on it (each row's logits all equal) the one nearest to 1.
        at_bound_: `lower` or `upper` where T is that bound and the optimum lies beyond it or on it, else None.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 4), np.array([0, 0, 0, 1])
        >>> round(Temperature().fit(logits, labels).temperature_, 4)  # 3 of 4 right: T = 2 / log 3
        1.8205
        >>> Temperature().fit(logits, np.zeros(4, int)).at_bound_
        'lower'
    """

    method = "temperature"
    preserves_order = True
    needs_perturbed_fraction = False
    activations = ("softmax", "sigmoid")

    temperature_: float
    at_bound_: Bound | None

    def __init__(self, bounds: tuple[float, float] = (0.05, 20.0), *, activation: Activation = "softmax") -> None:
        self.bounds, self.activation = bounds, activation

    def fit(self, logits: ArrayLike, labels: ArrayLike) -> Self:
        """Learns T from raw logits (N, K), K ≥ 2, and integer labels (N,), and returns itself.

        For a sigmoid head K ≥ 1, and the labels are (N, K) of 0 and 1.

        Raises:
            InputError: logits that are not finite, labels that are not 0..K−1 or not as many, impossible `bounds`.
        """
        if self.activation == "sigmoid":
            rows = check_logits(logits, least=1)
            applies = check_applies(labels, rows)
            self.temperature_, self.at_bound_ = sigmoid_minimiser(rows, applies, *_check_bounds(self.bounds))
            return self
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        self.temperature_, self.at_bound_ = _minimiser(rows, classes, *_check_bounds(self.bounds))
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns logits / T, float64 (N, K); the perturbed fraction plays no part.

        Example:
            >>> Temperature.from_parameters({"temperature": 2.0}).transform([[2.0, 0.0]])
            array([[1., 0.]])
        """
        temperature = self._fitted()
        quotient: Doubles = np.divide(check_matrix(logits, least=1), temperature, dtype=np.float64)
        return quotient

    def parameters(self) -> dict[str, Any]:
        """Returns {"temperature": T, "at_bound": "lower" | "upper" | None}; T, not 1/T."""
        return {"temperature": self._fitted(), "at_bound": self.at_bound_}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with this `temperature` (and `at_bound`, None if left out).

        Raises:
            InputError: unknown or missing parameters, or a temperature that is not a positive number float32 can hold.
        """
        unknown = set(parameters) - {"temperature", "at_bound"}
        if unknown or "temperature" not in parameters:
            came = ", ".join(sorted(map(str, parameters))) or "none"
            raise InputError(f"expected the parameters temperature and, optionally, at_bound, got {came}")
        if parameters.get("at_bound") not in (None, "lower", "upper"):
            raise InputError(f"expected at_bound to be lower, upper or null, got {parameters['at_bound']!r}")
        calibrator = cls()
        calibrator.temperature_ = _positive(parameters["temperature"], "temperature")
        calibrator.at_bound_ = parameters.get("at_bound")
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds one division by T and returns its output, float32 (…, K); right for softmax and sigmoid heads alike."""
        import onnx_ir as ir

        divisor = ir.tensor(np.float32(self._fitted()), name="c2i_fast.calibrator/temperature")
        return tape.op("Div", [logits, tape.initializer(divisor)])

    def _fitted(self) -> float:
        if not hasattr(self, "temperature_"):
            raise NotFittedError("this Temperature has learnt nothing yet; call fit(logits, labels) first")
        return self.temperature_


def _positive(value: object, name: str) -> float:
    """Returns the number as a float; it must be positive, and a normal number in float32, in which graphs compute."""
    # NaN compares false; Python's own numbers compare exactly, integers of any length included.
    smallest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and smallest <= value <= largest
    ):
        return float(value)
    raise InputError(f"expected {name} to be a positive finite number, got {value!r:.40}; fit it again")


def _check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    lowest, highest = (_positive(bound, "each bound of T") for bound in bounds)
    if lowest >= highest:
        raise InputError(f"expected bounds as (smallest T, largest T), got {bounds}")
    return lowest, highest


def _minimiser(
    rows: NDArray[Any], labels: NDArray[np.int64], lowest: float, highest: float
) -> tuple[float, Bound | None]:
    """Returns the T in [lowest, highest] of least negative log-likelihood, and the bound it is, if any."""
    largest = rows.max(axis=1)
    label_gap = rows[np.arange(len(rows)), labels].astype(np.float64) - largest
    if np.array_equal(rows.min(axis=1), largest):  # the likelihood is the same for every T
        return min(max(1.0, lowest), highest), None
    if not label_gap.any():  # separable; the slope may underflow to zero long before the bound
        return lowest, "lower"
    beta = _zero_of_increasing(_likelihood_slope(rows, largest, label_gap), 1 / highest, 1 / lowest)
    if beta >= 1 / lowest:
        return lowest, "lower"
    return (highest, "upper") if beta <= 1 / highest else (1 / beta, None)


def sigmoid_minimiser(
    rows: NDArray[Any], applies: NDArray[np.bool_], lowest: float, highest: float
) -> tuple[float, Bound | None]:
    """Returns the T in [lowest, highest] of least binary cross-entropy over all labels, and the bound it is, if any.

    With u = z where the label applies and −z where not, its derivatives by β = 1/T are the means of −u·σ(−βu) and of
    u²·σ(βu)·σ(−βu).
    """
    if not rows.any():  # the likelihood is the same for every T
        return min(max(1.0, lowest), highest), None
    if ((rows >= 0) == applies)[rows != 0].all():  # separable; the slope may underflow to zero before the bound
        return lowest, "lower"

    def slope(beta: float) -> tuple[float, float]:
        first = second = 0.0
        for block in row_blocks(*rows.shape):
            z = rows[block].astype(np.float64)
            u = np.where(applies[block], z, -z)
            wrong = np.exp(-np.logaddexp(0, beta * u))
            first -= (u * wrong).sum()
            second += (u**2 * wrong * (1 - wrong)).sum()
        return float(first / rows.size), float(second / rows.size)

    beta = _zero_of_increasing(slope, 1 / highest, 1 / lowest)
    if beta >= 1 / lowest:
        return lowest, "lower"
    return (highest, "upper") if beta <= 1 / highest else (1 / beta, None)


def _likelihood_slope(
    rows: NDArray[Any], largest: NDArray[Any], label_gap: Doubles
) -> Callable[[float], tuple[float, float]]:
    """Returns the function β = 1/T → first and second derivative of the mean negative log-likelihood.

    With d = z − max z (which cancels) they are the means over samples of E[d] − d_y and of Var[d], classes weighted by
    softmax(β·z).
    """
    shift = largest.astype(np.float64)[:, None]

    def slope(beta: float) -> tuple[float, float]:
        first = second = 0.0
        for block in row_blocks(*rows.shape):
            gap = rows[block] - shift[block]
            weighted = np.exp(beta * gap)
            total = weighted.sum(axis=1)
            weighted *= gap
            mean = weighted.sum(axis=1) / total
            first += mean.sum()
            second += (np.einsum("nk,nk->n", weighted, gap) / total - mean**2).sum()
        return float(first / len(rows) - label_gap.mean()), float(second / len(rows))

    return slope


def _zero_of_increasing(function: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Returns where an increasing function is zero in [low, high], low > 0, or the bound it is zero beyond.

    Newton's steps, kept inside the bracket found so far; where a step leaves it or does not shrink (an exponential tail
    would take thousands of them), the bracket is halved on the logarithmic scale, or its missing end is tried.
    """
    left, right, last = 0.0, math.inf, math.inf
    beta = min(max(1.0, low), high)
    for _ in range(MAX_EVALUATIONS):
        value, derivative = function(beta)
        if value == 0 or (value < 0 and beta >= high) or (value > 0 and beta <= low):
            break
        left, right = (beta, right) if value < 0 else (left, beta)
        step = -value / derivative if derivative > 0 else math.copysign(math.inf, -value)
        if abs(step) <= RELATIVE_STEP * beta or right - left <= 4e-16 * beta:
            return min(max(beta + step, left, low), right, high)
        guess = min(max(beta + step, low), high)
        if not left < guess < right or abs(step) > last / 2:
            bracketed = left > 0 and right < math.inf
            guess = math.sqrt(left * right) if bracketed else low if step < 0 else high
        beta, last = guess, abs(guess - beta)
    return beta
