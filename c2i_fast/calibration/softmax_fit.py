"""The fit behind vector, matrix and Dirichlet scaling: least penalised NLL of a softmax whose scores are linear in θ.

The objective (1/N) Σ_i −log softmax(s_i(θ))[y_i] + Σ_j c_j θ_j² is convex. L-BFGS-B comes near its optimum, Newton's
method (its linear systems solved by conjugate gradients) then takes the gradient to rounding.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.checks import row_blocks
from c2i_fast.types import Doubles

NEAR, ZERO = 1e-5, 1e-12  # largest gradient entries where L-BFGS-B stops, and where Newton's method does
NEWTON_STEPS, CG_STEPS = 20, 100
# The work L-BFGS-B may do, about a minute: vector scaling reads 50 000 x 1000 logits 118 times, a matrix of 200 classes
# 50 000 x 200 of them 199 times. More of it only fits the noise.
BUDGET = 6e9
PRODUCTS_A_LOGIT = 100  # so many products of a matrix cost as much as one logit's exponential
MAX_EVALUATIONS = 1000
POLISHED = 2e7  # samples times numbers learnt up to which Newton's method, with up to 2000 passes, is worth its time


class LinearScores(Protocol):
    """Scores s (n, K) that are linear in θ, of any shape, and the transposed map."""

    def scores(self, theta: Doubles, block: slice) -> Doubles:
        """Returns s (n, K) of the samples in `block`, a new array."""
        ...

    def pull_back(self, gradient: Doubles, block: slice) -> Doubles:
        """Returns Σ_n (∂s_n/∂θ)ᵀ · gradient_n, in the shape of θ."""
        ...


class Objective:
    """The penalised mean NLL, its gradient and its Hessian's products, all computed in row blocks.

    Args:
        linear: the scores.
        labels: int64 (N,).
        classes: K.
        penalty: c, in the shape of θ.
    """

    def __init__(self, linear: LinearScores, labels: NDArray[np.int64], classes: int, penalty: Doubles) -> None:
        self.linear, self.labels, self.classes, self.penalty = linear, labels, classes, penalty

    def value_and_gradient(self, theta: Doubles) -> tuple[float, Doubles]:
        """Returns the objective at θ and its gradient, in the shape of θ."""
        loss, gradient = 0.0, np.zeros_like(theta)
        for block in row_blocks(len(self.labels), self.classes):
            p, labels = self.linear.scores(theta, block), self.labels[block]
            sample = np.arange(len(p))
            p -= p.max(axis=1, keepdims=True)
            loss -= p[sample, labels].sum(dtype=np.float64)
            loss += np.log(_to_probabilities(p)).sum()
            p[sample, labels] -= 1
            gradient += self.linear.pull_back(p, block)
        count = len(self.labels)
        value = loss / count + float((self.penalty * theta**2).sum())
        return value, gradient / count + 2 * self.penalty * theta

    def hessian_product(self, theta: Doubles, direction: Doubles) -> Doubles:
        """Returns the Hessian at θ times a direction: the Jacobian of softmax between the two linear maps."""
        product = np.zeros_like(theta)
        for block in row_blocks(len(self.labels), self.classes):
            p, change = self.linear.scores(theta, block), self.linear.scores(direction, block)
            p -= p.max(axis=1, keepdims=True)
            _to_probabilities(p)
            change -= np.einsum("nk,nk->n", p, change)[:, None]
            change *= p
            product += self.linear.pull_back(change, block)
        return product / len(self.labels) + 2 * self.penalty * direction


def _to_probabilities(scores: Doubles) -> Doubles:
    """Turns scores with largest entry 0 into their softmax, in place, and returns the divisors (n, 1)."""
    np.exp(scores, out=scores)
    total: Doubles = scores.sum(axis=1, keepdims=True)
    scores /= total
    return total


def minimise(objective: Objective, start: Doubles, lower: Doubles, upper: Doubles) -> tuple[Doubles, bool]:
    """Returns the θ of least objective with lower ≤ θ ≤ upper, and whether it was reached within the budget.

    An entry whose bounds are equal is fixed.
    """
    from scipy.optimize import Bounds, minimize

    shape, samples = start.shape, len(objective.labels)
    evaluations = round(BUDGET / (samples * (objective.classes + start.size / PRODUCTS_A_LOGIT)))
    evaluations = min(MAX_EVALUATIONS, max(1, evaluations))

    def flat(theta: Doubles) -> tuple[float, Doubles]:
        value, gradient = objective.value_and_gradient(theta.reshape(shape))
        return value, gradient.ravel()

    found = minimize(
        flat,
        np.clip(start, lower, upper).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(lower.ravel(), upper.ravel()),
        options={"maxiter": evaluations, "maxfun": evaluations, "ftol": 0.0, "gtol": NEAR, "maxcor": 20, "maxls": 40},
    )
    theta, finished = found.x.reshape(shape), found.status != 1  # 1: out of evaluations
    if finished and samples * start.size <= POLISHED:
        theta = _polish(objective, theta, lower, upper)
    return theta, finished


def _polish(objective: Objective, theta: Doubles, lower: Doubles, upper: Doubles) -> Doubles:
    """Returns θ after Newton steps among the entries off their bounds, as long as each shrinks the gradient."""
    free = (theta > lower) & (theta < upper)
    gradient = objective.value_and_gradient(theta)[1] * free
    for _ in range(NEWTON_STEPS):
        size = np.abs(gradient).max()
        if size <= ZERO:
            break
        moved = theta + _newton_step(objective, theta, gradient, free)
        if not ((moved >= lower) & (moved <= upper)).all():
            break
        new_gradient = objective.value_and_gradient(moved)[1] * free
        if np.abs(new_gradient).max() >= size:
            break
        theta, gradient = moved, new_gradient
    return theta


def _newton_step(objective: Objective, theta: Doubles, gradient: Doubles, free: NDArray[np.bool_]) -> Doubles:
    from scipy.sparse.linalg import LinearOperator, cg

    def product(direction: NDArray[Any]) -> Doubles:
        full = direction.reshape(theta.shape) * free
        return (objective.hessian_product(theta, full) * free).ravel()

    operator = LinearOperator((theta.size, theta.size), matvec=product, dtype=np.float64)
    step, _ = cg(operator, -gradient.ravel(), rtol=1e-4, maxiter=CG_STEPS)
    return np.asarray(step).reshape(theta.shape)
