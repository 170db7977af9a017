"""What the metrics that correlate relevance with drops have in common: their protocols, and the correlation itself.

Each of them changes sets S of units to a baseline, x_S, and correlates Σ_{i∈S} φ_i with the drop f(x) − f(x_S).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.protocols import SIZED, Protocol, Unit
from c2i_fast.types import Doubles, Ints

Correlation = Literal["pearson", "spearman"]
ROUNDING = 1e-12  # sums of equal numbers differ by less than this share of themselves, and by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelationProtocol(Protocol):
    """What is changed, to what, and how relevance and drop are compared.

    Attributes:
        unit: as in `CurveProtocol`; a unit's relevance is the sum over its places.
        unit_size: side or number, for those units that have one.
        baseline: what a changed unit shows.
        correlation: `pearson`, or `spearman` of ranks, ties averaged.
        undefined: what a correlation is where relevance or drop does not vary: `zero`, for nothing was explained, or
            `nan`, which the mean over images then is as well.
    """

    settable: ClassVar[tuple[str, ...]] = ("baseline", "correlation", "target", "undefined", "unit", "unit_size")

    unit: Unit = "pixel"
    unit_size: int | None = None
    baseline: str = "mean"
    correlation: Correlation = "pearson"
    undefined: Literal["zero", "nan"] = "zero"

    def implied(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the changes; a new unit without a size forgets the old one."""
        forgotten = {"unit_size": None} if "unit" in changes else {}
        return {**forgotten, **changes}

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        if (self.unit in SIZED) != (self.unit_size is not None):
            return f"unit={self.unit} {'needs' if self.unit in SIZED else 'has no use for'} unit_size"
        if self.baseline.startswith("running-"):
            return f"baseline={self.baseline} is made step by step, and these sets do not follow one another"
        return None

    def value(self, relevance: Doubles, drops: Doubles) -> float:
        """Returns the correlation of relevance (n,) and drops (n,), or what stands for an undefined one."""
        found = correlation(relevance, drops, self.correlation)
        return 0.0 if np.isnan(found) and self.undefined == "zero" else found


def correlation(x: Doubles, y: Doubles, how: Correlation = "pearson") -> float:
    """Returns Pearson's or Spearman's correlation of x (n,) and y (n,); NaN where either does not vary.

    Example:
        >>> correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]), "spearman")
        1.0
    """
    if not (_varies(x) and _varies(y)):
        return float("nan")
    if how == "spearman":
        from scipy.stats import rankdata  # imported here: `import c2i_fast` stays light

        x, y = rankdata(x), rankdata(y)
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.abs(x).max(), y / np.abs(y).max()  # squares of tiny drops would underflow
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


def _varies(values: Doubles) -> bool:
    return len(values) > 1 and bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def relevance(unit_values: NDArray[Any], subsets: Sequence[NDArray[np.integer]]) -> Doubles:
    """Returns the relevance of each subset, Σ_{i∈S} φ_i, float64 (n,).

    Example:
        >>> relevance(np.array([1.0, 2.0, 4.0]), [np.array([0, 2]), np.array([], int)]).tolist()
        [5.0, 0.0]
    """
    values = unit_values.astype(np.float64)
    return np.array([values[subset].sum() for subset in subsets])


def map_warning(unit_values: NDArray[Any], sums: Doubles) -> tuple[str, ...]:
    """Returns the warning of a map whose relevance does not vary between the subsets, so that nothing correlates."""
    if _varies(sums):
        return ()
    return ("zero map: correlation undefined",) if not unit_values.any() else ("constant map: correlation undefined",)


def with_clean(clean: int, passes: Ints, x: Doubles) -> tuple[Ints, Doubles]:
    """Returns the clean pass and those of the subsets, with NaN beside the former."""
    return np.concatenate([[clean], passes]).astype(np.int32), np.concatenate([[np.nan], x])
