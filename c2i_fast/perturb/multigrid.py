"""The membrane equation of ROAD's imputation, solved by conjugate gradients with one multigrid cycle as their guess.

Unknown pixels u of a picture satisfy d·u = Σ w·(neighbours), w = 1/6 beside and 1/12 across, d the sum of the weights
inside the picture. The matrix is symmetric, positive definite and the same for all channels. Its stencil is 1,2,1 in
both directions less its centre, all twelfths, which costs four additions, and one Jacobi step leaves a third of all
that a grid of half the size cannot show. A cycle leaves about a tenth of the error however large the holes are, so five
suffice, where a direct solver's work grows with n^1.5.

Arrays are (C, N): pictures with a border of one zero on each side, flattened, so that a neighbour is a shift.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import EngineError
from c2i_fast.types import Floats

TOLERANCE = 2e-4  # of the spread of the known values: what the last cycle still changed, ten times what is left
MOST_CYCLES = 60
WAVES_AT_ONCE = 5000  # points of a grid on which all nine waves of `galerkin` still fit a cache
DIRECT = 1024  # grids of at most so many points are solved by a banded Cholesky factorisation
REGULAR = 1e-5  # on the smallest grid's diagonal: hat functions can coincide on a few unknown pixels
DAMPING = 0.55  # of absolute row sums: more than half, so that smoothing never amplifies


def solve(image: Floats, unknown: NDArray[np.bool_]) -> Floats:
    """Returns the picture (C, H, W) with its unknown pixels at the weighted mean of their neighbours, float32.

    Args:
        image: what is known of it is kept; the values of unknown pixels play no part.
        unknown: bool (H, W), some True and some False.
    """
    first = np.unravel_index(unknown.argmin(), unknown.shape)
    shift = image[:, first[0], first[1], None, None]  # of two nearly equal numbers, the difference is exact
    known = np.where(unknown, np.float32(0), image - shift)
    spread = max(float(known.max()), -float(known.min()))
    if spread == 0:
        return np.where(unknown, shift, image)
    found = _solved(_padded(known), unknown, TOLERANCE * spread)
    return np.where(unknown, _unpadded(found, unknown.shape) + shift, image)


def _solved(known: Floats, unknown: NDArray[np.bool_], tolerance: float) -> Floats:
    """Returns u (C, N), zero where the pixel is known, by conjugate gradients, one system for each channel.

    A cycle's answer to the residual is the error but for a tenth, so it says when to stop, and is added to the last.
    """
    fine = FineGrid(unknown)
    grids = _hierarchy(fine)
    residual = fine.right_side(known)
    found, direction, old = np.zeros_like(residual), np.zeros_like(residual), np.ones((len(residual), 1), np.float32)
    for _ in range(MOST_CYCLES):
        change = cycle(grids, residual)
        if max(change.max(), -change.min()) <= tolerance:
            found += change
            return found
        new = _dot(residual, change)
        direction *= new / old
        direction += change
        applied = grids[0].apply(direction)
        length = _ratio(new, _dot(direction, applied))
        applied *= length
        residual -= applied
        found += np.multiply(length, direction, out=applied)
        old = np.where(new > 0, new, 1)
    raise EngineError("ROAD's imputation did not converge; are there NaN or infinite pixels in the image?")


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("cn,cn->c", a, b)[:, None])


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def cycle(grids: list[Grid], residual: Floats) -> Floats:
    """Returns about A⁻¹·residual: smoothed once, corrected on the next grid, smoothed once; symmetric and definite."""
    grid = grids[0]
    if isinstance(grid, LastGrid):
        return grid.solved(residual)
    found = grid.smoother * residual
    found += grid.prolonged(cycle(grids[1:], grid.restricted(_less(residual, grid.apply(found)))))
    change = _less(residual, grid.apply(found))
    change *= grid.smoother
    found += change
    return found


def _less(a: Floats, b: Floats) -> Floats:
    return np.subtract(a, b, out=b)


def _hierarchy(fine: FineGrid) -> list[Grid]:
    grids: list[Grid] = [fine]
    while True:
        coarse = grids[-1].galerkin()
        if coarse[0].size <= DIRECT:
            return [*grids, LastGrid(coarse)]
        grids.append(CoarseGrid(coarse))


class _Work(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[tuple[str, tuple[int, ...]], Floats] = {}


_WORK = _Work()


def _memory(name: str, shape: tuple[int, ...]) -> Floats:
    """Returns this thread's array of that name and shape, first zero.

    To get large arrays anew for each step costs more than what is done in them.
    """
    if (name, shape) not in _WORK.arrays:
        _WORK.arrays[name, shape] = np.zeros(shape, np.float32)
    return _WORK.arrays[name, shape]


class Grid:
    """A level: its matrix, its smoother, and the way to the next one, whose point i lies at this one's 2i.

    Attributes:
        shape: (h, w), without the border.
        inside: (N,), 1 where there is an unknown.
        smoother: (N,), what one Jacobi step multiplies a residual by.
    """

    shape: tuple[int, int]
    inside: Floats
    smoother: Floats

    def apply(self, values: Floats) -> Floats:
        """Returns A·values; the last grid is solved at once and has no use for it."""
        raise TypeError(f"a {type(self).__name__} is not applied")

    def prolonged(self, coarse: Floats) -> Floats:
        """Returns linear interpolation from the next grid, 0 outside the unknowns."""
        h, w = self.shape
        small = coarse.reshape(len(coarse), h // 2 + 3, w // 2 + 3)
        wide = _memory("wide", (len(coarse), h // 2 + 3, w + 2))
        _between(small, wide, w)
        made = _memory("made", (len(coarse), h + 2, w + 2))
        _between(wide.swapaxes(1, 2), made.swapaxes(1, 2), h)
        return made.reshape(len(coarse), -1) * self.inside

    def restricted(self, values: Floats) -> Floats:
        """Returns the transpose of `prolonged`; `values` are 0 outside the unknowns."""
        h, w = self.shape
        wide = _memory("wide", (len(values), h // 2 + 3, w + 2))
        _gathered(values.reshape(-1, h + 2, w + 2).swapaxes(1, 2), wide.swapaxes(1, 2), h)
        made = np.zeros((len(values), h // 2 + 3, w // 2 + 3), values.dtype)
        _gathered(wide, made, w)
        return made.reshape(len(values), -1)

    def galerkin(self) -> Floats:
        """Returns the next grid's matrix Pᵀ·A·P as nine coefficients a point, (9, h, w), in the order of the stencil.

        Points three apart share no neighbour, so a wave of ones at every third point reads one coefficient of each.
        """
        h, w = (size // 2 + 1 for size in self.shape)
        made = np.zeros((9, h, w), np.float32)
        waves = np.zeros((9, h + 2, w + 2), np.float32)
        for number, wave in enumerate(waves):
            wave[1 + number // 3 : h + 1 : 3, 1 + number % 3 : w + 1 : 3] = 1
        for part in np.split(np.arange(9), 1 if h * w < WAVES_AT_ONCE else 3):
            answers = self.restricted(self.apply(self.prolonged(waves[part].reshape(len(part), -1))))
            for number, answer in zip(part, answers, strict=True):
                _read(answer.reshape(h + 2, w + 2), made, number // 3, number % 3)
        return made


class FineGrid(Grid):
    """The picture's own pixels.

    Attributes:
        weight: a twelfth at unknown pixels, else 0.
        centre: of the matrix, with the stencil's own centre, 4/12, added.
    """

    def __init__(self, unknown: NDArray[np.bool_]) -> None:
        self.shape = (unknown.shape[0], unknown.shape[1])
        self.inside = _padded(unknown[None].astype(np.float32))[0]
        self.weight = self.inside / np.float32(12)
        self.centre = self.surroundings(_padded(np.ones((1, *self.shape), np.float32)))[0] * self.weight
        self.smoother = self.inside  # d is 1 but at the picture's edge, and less there

    def right_side(self, known: Floats) -> Floats:
        """Returns what known pixels contribute to the equations of unknown ones."""
        return np.asarray(self.surroundings(known) * self.weight)

    def surroundings(self, values: Floats) -> Floats:
        """Returns the sum over the 3×3 neighbourhood with the weights 1,2,1 both ways."""
        row = self.shape[1] + 2
        pairs, made = _memory("pairs", values.shape), np.empty_like(values)
        made[:, -row - 1 :] = 0
        np.add(values[:, :-row], values[:, row:], out=pairs[:, :-row])
        rows = np.add(pairs[:, : -2 * row], pairs[:, row:-row], out=made[:, : -2 * row])  # of pixels row, row + 1, …
        np.add(rows[:, :-1], rows[:, 1:], out=pairs[:, : -2 * row - 1])
        np.add(pairs[:, : -2 * row - 2], pairs[:, 1 : -2 * row - 1], out=made[:, row + 1 : -row - 1])
        made[:, : row + 1] = 0
        return made

    def apply(self, values: Floats) -> Floats:
        """Returns A·values: centre − surroundings / 12."""
        around = self.surroundings(values)
        around *= self.weight
        centre = np.multiply(self.centre, values, out=_memory("pairs", values.shape))
        np.subtract(centre, around, out=around)
        return around


class CoarseGrid(Grid):
    """A grid with a stencil of its own at each point (9, h, w)."""

    def __init__(self, stencil: Floats) -> None:
        self.shape = (stencil.shape[1], stencil.shape[2])
        self.stencil = _padded(stencil)
        diagonal, reach = self.stencil[4], np.abs(self.stencil).sum(axis=0)
        self.inside = (diagonal > 0).astype(np.float32)
        self.smoother = self.inside / np.maximum(np.maximum(diagonal, np.float32(DAMPING) * reach), np.float32(1e-30))

    def apply(self, values: Floats) -> Floats:
        """Returns A·values, nine shifted products."""
        row, size = self.shape[1] + 2, values.shape[1]
        begin, end = row + 1, size - row - 1
        made = np.asarray(self.stencil[4] * values)
        for number in (0, 1, 2, 3, 5, 6, 7, 8):
            shift = (number // 3 - 1) * row + number % 3 - 1
            made[:, begin:end] += self.stencil[number, begin:end] * values[:, begin + shift : end + shift]
        return made


class LastGrid(Grid):
    """The smallest grid, solved at once."""

    def __init__(self, stencil: Floats) -> None:
        from scipy.linalg import cholesky_banded  # imported here: `import c2i_fast` stays light

        self.shape = h, w = stencil.shape[1], stencil.shape[2]
        bands = np.zeros((w + 2, h * w))
        bands[0] = np.where(stencil[4] > 0, stencil[4] * (1 + REGULAR), 1).ravel()
        for number, below in ((5, 1), (6, w - 1), (7, w), (8, w + 1)):
            bands[below] += stencil[number].ravel()
        self._factor = cholesky_banded(bands, lower=True, check_finite=False)

    def solved(self, residual: Floats) -> Floats:
        """Returns A⁻¹·residual."""
        from scipy.linalg import cho_solve_banded

        right = _unpadded(residual, self.shape).reshape(len(residual), -1).T
        found = cho_solve_banded((self._factor, True), right, check_finite=False)
        return _padded(found.T.astype(np.float32).reshape(-1, *self.shape))


def _between(coarse: Floats, fine: Floats, size: int) -> None:
    """Fills the last axis of `fine`, `size` points and a border, with `coarse` and the means between its points."""
    fine[..., 1 : size + 1 : 2] = coarse[..., 1 : 1 + (size + 1) // 2]
    between = coarse[..., 1 : 1 + size // 2] + coarse[..., 2 : 2 + size // 2]
    between *= coarse.dtype.type(0.5)
    fine[..., 2 : size + 1 : 2] = between


def _gathered(fine: Floats, coarse: Floats, size: int) -> None:
    """The transpose of `_between`."""
    coarse[..., 1 + size // 2] = 0
    coarse[..., 1 : 1 + (size + 1) // 2] = fine[..., 1 : size + 1 : 2]
    between = fine[..., 2 : size + 1 : 2] * fine.dtype.type(0.5)
    coarse[..., 1 : 1 + size // 2] += between
    coarse[..., 2 : 2 + size // 2] += between


def _read(answer: Floats, stencil: Floats, first: int, second: int) -> None:
    """Enters what a wave (first, second) answers: at each point the coefficient towards the one of its neighbours."""
    h, w = stencil.shape[1:]
    for number in range(9):
        down, right = number // 3 - 1, number % 3 - 1
        rows, columns = (first - down) % 3, (second - right) % 3
        here = answer[1 + rows : h + 1 : 3, 1 + columns : w + 1 : 3]
        stencil[number, rows::3, columns::3] = here
    stencil[:3, 0], stencil[6:, -1] = 0, 0
    stencil[::3, :, 0], stencil[2::3, :, -1] = 0, 0


def _padded(values: Floats) -> Floats:
    """Returns (C, H, W) with a border of zeros, flattened: (C, N)."""
    count, h, w = values.shape
    made = np.zeros((count, h + 2, w + 2), values.dtype)
    made[:, 1:-1, 1:-1] = values
    return made.reshape(count, -1)


def _unpadded(values: Floats, shape: tuple[int, ...]) -> Floats:
    h, w = shape
    return values.reshape(-1, h + 2, w + 2)[:, 1:-1, 1:-1]
