"""Which bin a confidence falls in. The same samples have different errors under different conventions.

| name         | bins | a bin holds | a confidence of exactly 1                         |
|--------------|------|-------------|---------------------------------------------------|
| gpleiss      | 15   | (lo, hi]    | last bin                                          |
| torchmetrics | 15   | [lo, hi)    | an extra bin of its own, behind the last          |
| netcal       | 10   | [lo, hi)    | last bin                                          |
| equal-mass   | 15   | (lo, hi]    | last bin; edges so that bins hold equally many    |

Edges of equal width are float64 `linspace`; packages that compute them in float32 can put a confidence that lies on an
edge elsewhere. A confidence of exactly 0 is in the first bin everywhere; the code `gpleiss` is named for leaves it out,
but the largest of K probabilities is never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.error import check_outcomes
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, frozen

Binning = Literal["gpleiss", "torchmetrics", "netcal", "equal-mass"]
DEFAULT_BINS: dict[str, int] = {"gpleiss": 15, "torchmetrics": 15, "netcal": 10, "equal-mass": 15}


@dataclass(frozen=True, slots=True, kw_only=True)
class BinnedOutcomes:
    """The samples of each bin that holds any, in ascending order of confidence.

    Attributes:
        counts: float64 (B,), n_b ≥ 1.
        confidence: float64 (B,), mean confidence.
        accuracy: float64 (B,), share of correct samples.
    """

    counts: Doubles
    confidence: Doubles
    accuracy: Doubles

    def __post_init__(self) -> None:
        for name in ("counts", "confidence", "accuracy"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def weights(self) -> Doubles:
        """n_b / N."""
        return np.asarray(self.counts / self.counts.sum())

    @property
    def gaps(self) -> Doubles:
        """accuracy_b − confidence_b: negative where the model is over-confident."""
        return np.asarray(self.accuracy - self.confidence)


def check_bins(bins: int | None, binning: str) -> int:
    """Returns the number of bins, the convention's own for None.

    Raises:
        InputError: an unknown convention, or fewer bins than one.

    Example:
        >>> check_bins(None, "netcal")
        10
    """
    if binning not in DEFAULT_BINS:
        raise InputError(f"there is no binning {binning!r}; known: {', '.join(DEFAULT_BINS)}")
    count = DEFAULT_BINS[binning] if bins is None else bins
    if count < 1:
        raise InputError(f"expected at least 1 bin, got {count}")
    return count


def equal_width_index(values: Doubles, bins: int, binning: str) -> NDArray[np.intp]:
    """Returns the bin of each value (any shape) in 0..B−1; `torchmetrics` puts an exact 1 in bin B.

    Example:
        >>> [equal_width_index(np.array([0.5, 1.0]), 2, name).tolist() for name in ("gpleiss", "torchmetrics")]
        [[0, 1], [1, 2]]
    """
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    index = np.searchsorted(inner, values, side="left" if binning == "gpleiss" else "right")
    if binning == "torchmetrics":
        index = index + (values == 1)  # behind the last bin, however many there are
    return index


def equal_mass_edges(confidence: Doubles, bins: int) -> Doubles:
    """Returns the inner edges of B bins that hold equally many: half-way between neighbours in sorted order.

    Samples of equal confidence stay together, so their order does not matter; an edge among them is no edge, and there
    are fewer bins then.

    Example:
        >>> equal_mass_edges(np.array([0.9, 0.2, 0.4, 0.8]), 2).round(6)
        array([0.6])
    """
    ascending = np.sort(confidence)
    parts = np.array_split(ascending, min(bins, len(ascending)))
    edges = [(below[-1] + above[0]) / 2 for below, above in pairwise(parts)]
    return np.unique(edges)


def bin_index(confidence: Doubles, binning: Binning, bins: int | None = None) -> NDArray[np.intp]:
    """Returns the bin of each confidence (N,) by the convention; `equal-mass` looks at all of them.

    Raises:
        InputError: as `check_bins`.

    Example:
        >>> bin_index(np.array([0.9, 0.2, 0.4, 0.8]), "equal-mass", 2)
        array([1, 0, 0, 1])
    """
    count = check_bins(bins, binning)
    if binning == "equal-mass":
        return np.searchsorted(equal_mass_edges(confidence, count), confidence, side="left")
    return equal_width_index(confidence, count, binning)


def bin_outcomes(
    confidence: ArrayLike, correct: ArrayLike, binning: Binning = "gpleiss", bins: int | None = None
) -> BinnedOutcomes:
    """Returns counts, mean confidence and accuracy of the bins that hold samples.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.
        binning: a convention of this module's table.
        bins: B; None takes the convention's own.

    Raises:
        InputError: as `check_outcomes` and `check_bins`.

    Example:
        >>> bin_outcomes([0.2, 0.9, 0.7], [0, 1, 0], bins=2).accuracy
        array([0. , 0.5])
    """
    sure, right = check_outcomes(confidence, correct, shares=True)
    index = bin_index(sure, binning, bins)
    counts = np.bincount(index)
    filled = counts > 0
    return BinnedOutcomes(
        counts=counts[filled].astype(np.float64),
        confidence=np.bincount(index, sure)[filled] / counts[filled],
        accuracy=np.bincount(index, right)[filled] / counts[filled],
    )
