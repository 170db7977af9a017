"""RISE's random soft masks, kept as small grids and shifts and never made at full size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from c2i_fast.attribution.upsample import linear_axis
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles, Floats

# Values of one block of the spreading matrix, 32 MB in float64: pictures need one block, long signals several.
_BLOCK_VALUES = 1 << 22


class RiseMasks:
    """M masks of RISE (Petsiuk et al., 2018, as released): mask i = A_h · G_i · A_wᵀ, one A an axis.

    G_i is a grid of s cells an axis, each 1 with probability p. Along an axis of size n a cell is ⌈n/s⌉ wide; the grid
    is upsampled linearly to (s + 1)·⌈n/s⌉ and n values are cut out of that, from a shift in [0, ⌈n/s⌉). So A is n rows
    of one fixed matrix, and a mask is its grid and one shift an axis. Any number of axes.

    Args:
        space: sizes of the image's axes.
        masks: M. The first masks of a larger set with the same seed are the masks of a smaller one.
        grid: s.
        p: probability of keeping a cell.
        seed: of the set, which no image enters.

    Attributes:
        grids: float32 (M, s, …), zeros and ones.
        shifts: int64 (M, number of axes).

    Example:
        >>> masks = RiseMasks((8,), masks=4000, grid=2, p=0.5, seed=0)
        >>> (masks.weighted_sum(np.ones(4000)) / 4000).round(1)
        array([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    """

    def __init__(self, space: Sequence[int], *, masks: int, grid: int, p: float, seed: int) -> None:
        self.space = tuple(space)
        self.grid = grid
        self.cells = tuple(math.ceil(size / grid) for size in self.space)
        rank = len(self.space)
        # Row by row, so that a longer set starts with the shorter one; shifts first, whatever the grid.
        drawn = generator(seed, "rise", None).random((masks, rank + grid**rank))
        self.shifts = (drawn[:, :rank] * self.cells).astype(np.int64)
        self.grids = (drawn[:, rank:] < p).astype(np.float32).reshape(masks, *(grid,) * rank)
        self._upsampling = [linear_axis((grid + 1) * cell, grid, "mirror") for cell in self.cells]

    def __len__(self) -> int:
        return len(self.grids)

    def axes(self, chosen: slice) -> list[Floats]:
        """Returns A of the chosen masks, float32 (m, size, s) an axis; rows sum to 1."""
        return [
            matrix.astype(np.float32)[shift[:, None] + np.arange(size)]
            for matrix, size, shift in zip(self._upsampling, self.space, self.shifts[chosen].T, strict=True)
        ]

    def perturbed_fraction(self, chosen: slice) -> Doubles:
        """Returns the share of the image that each chosen mask hides, the mean of 1 − mask, float64 (m,)."""
        shown: Doubles = self.grids[chosen].astype(np.float64)
        for axis in self.axes(chosen):  # the mean of A · G · Aᵀ is G between the means of A's rows
            shown = np.einsum("ms,ms...->m...", axis.mean(axis=1, dtype=np.float64), shown)
        return np.clip(1 - shown, 0, 1)

    def weighted_sum(self, weights: NDArray[np.floating]) -> Doubles:
        """Returns Σ_i weights_i · mask_i, float64 (*space).

        Masks with equal shifts are first summed as grids, so what remains is one product an axis with a matrix that
        holds A for every shift: for 4000 masks of 224×224 two products of 224×224, not 4000.
        """
        values = self.grids * np.asarray(weights, np.float64).reshape(-1, *(1,) * len(self.space))
        extents = [cell * self.grid for cell in self.cells]
        flat = np.bincount(self._slots, weights=values.ravel(), minlength=math.prod(extents))
        summed = flat.reshape(extents).astype(np.float64, copy=False)
        for axis in range(len(self.space)):
            # Takes the first axis away and appends its spread version: after the last one they are in order again.
            summed = self._spread(summed, axis)
        return summed

    @cached_property
    def _slots(self) -> NDArray[np.int64]:
        """Flat index, in (shift, cell) pairs an axis, of every value of `grids`."""
        rank = len(self.space)
        index = np.zeros((len(self),) + (1,) * rank, np.int64)
        for axis, cell in enumerate(self.cells):
            pair = self.shifts[:, axis, None] * self.grid + np.arange(self.grid)
            shape = [len(self), *(self.grid if other == axis else 1 for other in range(rank))]
            index = index * (cell * self.grid) + pair.reshape(shape)
        return index.ravel()

    def _spread(self, summed: Doubles, axis: int) -> Doubles:
        """Returns `summed` with its first axis, (shift, cell) pairs, turned into elements and moved to the end."""
        size, cell = self.space[axis], self.cells[axis]
        windows = sliding_window_view(self._upsampling[axis], size, axis=0)[:cell]  # (shift, cell, element)
        block = max(1, _BLOCK_VALUES // (size * self.grid))
        result: Doubles = np.zeros((*summed.shape[1:], size))
        for first in range(0, cell, block):
            part = windows[first : first + block].reshape(-1, size)
            result += np.tensordot(summed[first * self.grid : first * self.grid + len(part)], part, axes=(0, 0))
        return result
