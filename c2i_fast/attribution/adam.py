"""Adam on many small problems at once, of which some may have ended: one row of parameters each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_FIRST, _SECOND, _EPSILON = 0.9, 0.999, 1e-8


class RowAdam:
    """Adam (Kingma and Ba, 2015), ascending, for rows that have nothing to do with each other.

    Args:
        parameters: (N, …); changed in place by `climb`.
        rate: of a step.
    """

    def __init__(self, parameters: torch.Tensor, rate: float) -> None:
        self.parameters, self._rate, self._steps = parameters, rate, 0
        self._mean, self._square = parameters.new_zeros(parameters.shape), parameters.new_zeros(parameters.shape)

    def climb(self, slope: torch.Tensor, rows: NDArray[Any]) -> None:
        """Takes one step along the gradient of some rows; every row that is left has taken as many before."""
        self._steps += 1
        self._mean[rows] = _FIRST * self._mean[rows] + (1 - _FIRST) * slope
        self._square[rows] = _SECOND * self._square[rows] + (1 - _SECOND) * slope**2
        size = (self._square[rows] / (1 - _SECOND**self._steps)).sqrt() + _EPSILON
        self.parameters[rows] += self._rate * self._mean[rows] / (1 - _FIRST**self._steps) / size
