"""How the masks are drawn that ReCalX is fitted on: cells of a grid, some of them perturbed, at every level.

One random order of the cells serves all levels: at each of them its first so many cells are perturbed, a number drawn
uniformly from those inside the level's range. So the mask of a level is a uniformly random set of cells of that size,
and one step map holds the masks of all levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.recalx import level_of
from c2i_fast.errors import InputError
from c2i_fast.random_numbers import generator
from c2i_fast.types import Doubles

CELLS = 7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnMasks:
    """One mask for each level, as a step map: the mask of step k = 1..n perturbs the elements below k.

    Attributes:
        step_map: uint8 (uint16 above 255 levels) (1, *space).
        perturbed_fraction: float64 (n,), the share of elements that each step perturbs. Cells of a grid that does not
            divide the image are unequal, so it may lie a little outside its level.
    """

    step_map: NDArray[Any]
    perturbed_fraction: Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskLaw:
    """Which masks are drawn.

    Attributes:
        levels: B, of equal width over [0, 1].
        masks: how many for each level.
        grid: cells on each axis; None means 7 of an image and 49 of a signal.
        seed: of all of them; they do not depend on the images.
    """

    levels: int = 10
    masks: int = 10
    grid: int | None = None
    seed: int = 0

    def to_dict(self, axes: int) -> dict[str, Any]:
        """Returns what a calibrator keeps of it, for images of so many space axes.

        Example:
            >>> MaskLaw().to_dict(2)
            {'law': 'grid', 'grid': [7, 7], 'levels': 10, 'masks_per_level': 10, 'seed': 0}
        """
        cells = [self._cells(axes)] * axes
        return {"law": "grid", "grid": cells, "levels": self.levels, "masks_per_level": self.masks, "seed": self.seed}

    def cells_per_axis(self, space: tuple[int, ...]) -> int:
        """Returns the cells on each axis.

        Raises:
            InputError: There are more of them than elements.
        """
        cells = self._cells(len(space))
        if cells > min(space):
            raise InputError(f"a grid of {cells} cells does not fit an axis of {min(space)}; give a smaller --grid")
        return cells

    def _cells(self, axes: int) -> int:
        return self.grid or (CELLS if axes > 1 else CELLS**2)

    def counts(self, space: tuple[int, ...]) -> dict[int, NDArray[np.intp]]:
        """Returns how many cells may be perturbed at each level; a coarse grid has none for some of them.

        Example:
            >>> MaskLaw(grid=2, levels=3).counts((4, 4))
            {0: array([0, 1]), 1: array([2]), 2: array([3, 4])}
        """
        total = self.cells_per_axis(space) ** len(space)
        level = level_of(np.arange(total + 1) / total, self.levels)
        return {int(b): np.flatnonzero(level == b) for b in np.unique(level)}

    def draw(self, space: tuple[int, ...], index: int) -> DrawnMasks:
        """Returns the masks number `index` of all levels, the same for every image of this size."""
        random = generator(self.seed, "recalx", None, index)
        counts = [int(random.choice(options)) for options in self.counts(space).values()]
        cells = self.cells_per_axis(space)
        rank = np.empty(cells ** len(space), np.intp)
        rank[random.permutation(rank.size)] = np.arange(rank.size)
        step = np.searchsorted(counts, rank, side="right").astype(np.min_scalar_type(len(counts)))
        step_map = step.reshape((cells,) * len(space))[np.ix_(*(_cell_of(size, cells) for size in space))]
        shares = [float((step_map < k).mean()) for k in range(1, len(counts) + 1)]
        return DrawnMasks(step_map=step_map[None], perturbed_fraction=np.array(shares))


def _cell_of(size: int, cells: int) -> NDArray[np.intp]:
    """Returns the cell of each element of an axis: cell i begins at element ⌈i·size/cells⌉."""
    return np.arange(size) * cells // size
