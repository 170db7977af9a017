"""Comparisons that may be looked at after every image: confidence sequences of paired differences, and verdicts.

Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting (JRSS B 2023): if μ ≥ m, the capital
K_t = Π (1 − λ_i (x_i − m)) of a gambler who bets λ_i ≥ 0 on lower values, chosen before x_i is seen, is a nonnegative
supermartingale, so it ever reaches 1/α with probability at most α (Ville). A candidate m is given up once it has. All
that follows holds at every image at once: whoever stops whenever he likes is not fooled.

Two estimands, to be stated with every result:

- `set`: the mean over this finite set of N images, drawn without replacement in random order. A candidate m is bet
  against by what it says of the next image, m_t = (N·m − Σ_{i<t} x_i)/(N − t + 1) (their section 5, after *Confidence
  sequences for sampling without replacement*, NeurIPS 2020). After N images the mean is known.
- `population`: the mean over what the images are independent draws of; m_t = m, and N images may not suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Doubles

Estimand = Literal["set", "population"]
ESTIMANDS: tuple[Estimand, ...] = ("set", "population")
SEPARATED, EQUIVALENT, UNDECIDED = "separated", "equivalent", "undecided"
GRID = 121
CUT = 0.9  # the share of its capital that a gambler risks at most; small differences want it large
ROUNDING = 1e-9
PRIOR_VARIANCE = 0.01  # of values in [0, 1], before the first; any is valid, this one serves differences of areas


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialPair:
    """Where two methods stand.

    Attributes:
        verdict: `separated` (the sign of the difference is known), `equivalent` (|difference| < margin) or `undecided`.
        decided_at: the number of images at which the verdict fell; it never changes afterwards.
        difference: the mean of first − second so far.
        interval: its confidence sequence now, simultaneous over pairs and over time, on a grid, rounded outwards.
    """

    first: str
    second: str
    verdict: str
    decided_at: int | None
    difference: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        content = {name: getattr(self, name) for name in ("first", "second", "verdict", "decided_at", "difference")}
        return content | {"interval": list(self.interval)}


class SequentialComparison:
    """Pairs of methods, fed image by image until every pair is separated or equivalent.

    With probability at least `confidence`, over the random order of the images, no verdict on any pair is wrong and no
    interval ever misses its mean: Bonferroni over `comparisons`, half of each on either side.

    Args:
        pairs: of method names.
        bound: b, the largest |difference|: 1 for areas in [0, 1], 2 for gaps in [−1, 1].
        margin: differences smaller than that are equivalence, 0 < margin < bound.
        images: N for the estimand `set`, None for `population`.
        confidence: of all verdicts together.
        comparisons: the size of the family, where it is larger than these pairs.

    Example:
        >>> race = SequentialComparison([("ours", "theirs")], bound=1, margin=0.01, images=100)
        >>> for _ in range(40):
        ...     _ = race.update({"ours": 0.6, "theirs": 0.4})
        >>> race.state()[0].verdict, race.state()[0].decided_at
        ('separated', 20)
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        bound: float,
        margin: float,
        images: int | None,
        confidence: float = 0.95,
        comparisons: int | None = None,
    ) -> None:
        if not 0 < margin < bound:
            raise ValueError(f"the margin must lie between 0 and the largest difference {bound:g}, got {margin:g}")
        if not 0 < confidence < 1:
            raise ValueError(f"the confidence must lie between 0 and 1, got {confidence:g}")
        if comparisons is not None and comparisons < len(pairs):
            raise ValueError(f"a family of {comparisons} cannot hold {len(pairs)} pairs")
        self.pairs = list(pairs)
        self.seen = 0
        self._bound, self._margin, self._images = bound, margin, images
        self._log_threshold = float(np.log(2 * (comparisons or len(self.pairs)) / (1 - confidence)))
        # Dense where margins are, the whole range wide, and the three values that verdicts need exactly.
        curved = np.sinh(np.linspace(-1, 1, GRID) * np.arcsinh(bound / margin)) * margin
        self._grid = np.unique(np.r_[curved[1:-1], -margin, 0.0, margin])
        self._places = np.searchsorted(self._grid, [-margin, 0.0, margin])
        shape = (len(self.pairs), len(self._grid))
        self._low_capital, self._high_capital = np.zeros(shape), np.zeros(shape)  # logarithms
        self._low_out, self._high_out = np.zeros(shape, bool), np.zeros(shape, bool)
        self._sum = np.zeros(len(self.pairs))
        self._mean = np.full(len(self.pairs), 0.5)
        self._squares = np.full(len(self.pairs), PRIOR_VARIANCE)
        self._decided: list[tuple[str, int] | None] = [None] * len(self.pairs)

    @property
    def done(self) -> bool:
        """Whether every pair has its verdict."""
        return all(self._decided)

    def update(self, values: Mapping[str, float]) -> bool:
        """Takes the values of one image and returns whether every pair has its verdict now.

        Args:
            values: of every method in the pairs, all of one metric and read-out.

        Raises:
            ValueError: A value is missing or not finite, a difference exceeds the bound, or the set is used up.
        """
        if self._images is not None and self.seen >= self._images:
            raise ValueError(f"the set has {self._images} images and all of them were seen")
        differences = np.array([values[first] - values[second] for first, second in self.pairs], np.float64)
        if not (np.abs(differences) <= self._bound * (1 + ROUNDING)).all():
            raise ValueError(f"differences must be finite and at most {self._bound:g}, got {differences.tolist()}")
        self._bet(np.clip((differences / self._bound + 1) / 2, 0, 1))
        self._decide()
        return self.done

    def _bet(self, x: Doubles) -> None:
        """Lets all gamblers bet on values in [0, 1], (pairs,)."""
        self.seen += 1
        now = self._next_mean()
        inside = np.clip(now, ROUNDING, 1 - ROUNDING)
        variance = self._squares / self.seen
        # The predictable plug-in bet: √(2·log(1/α) / (σ̂² t log(1+t))), cut so that no one is ever broke.
        bet = np.sqrt(2 * self._log_threshold / (variance * self.seen * np.log1p(self.seen)))[:, None]
        gain = x[:, None] - inside
        self._low_capital += np.log1p(np.minimum(bet, CUT / inside) * gain)
        self._high_capital += np.log1p(-np.minimum(bet, CUT / (1 - inside)) * gain)
        # Given up for good; in a finite set a candidate may also have become impossible.
        self._low_out |= (self._low_capital >= self._log_threshold) | (now < -ROUNDING)
        self._high_out |= (self._high_capital >= self._log_threshold) | (now > 1 + ROUNDING)
        self._sum += x
        mean = (0.5 + self._sum) / (self.seen + 1)
        self._squares += (x - self._mean) * (x - mean)
        self._mean = mean

    def _next_mean(self) -> Doubles:
        """Returns what each candidate (grid) says of the next value, in [0, 1] if it is possible, (pairs, grid)."""
        grid = (self._grid / self._bound + 1) / 2
        if self._images is None:
            return np.broadcast_to(grid, self._low_out.shape)
        left = self._images - self.seen + 1
        mean: Doubles = (self._images * grid - self._sum[:, None]) / left
        return mean

    def _decide(self) -> None:
        below, zero, above = self._places
        equivalent = self._low_out[:, below] & self._high_out[:, above]
        separated = self._low_out[:, zero] | self._high_out[:, zero]
        if self.seen == self._images:  # nothing is left to chance
            equivalent = np.abs(self._differences()) < self._margin
            separated = ~equivalent
        for k, old in enumerate(self._decided):
            if old is None and (equivalent[k] or separated[k]):
                self._decided[k] = (EQUIVALENT if equivalent[k] else SEPARATED, self.seen)

    def _differences(self) -> Doubles:
        mean: Doubles = (2 * self._sum / max(self.seen, 1) - 1) * self._bound
        return mean

    def state(self) -> tuple[SequentialPair, ...]:
        """Returns where every pair stands."""
        means = self._differences() if self.seen else np.full(len(self.pairs), np.nan)
        found = []
        for k, (first, second) in enumerate(self.pairs):
            verdict, at = self._decided[k] or (UNDECIDED, None)
            pair = SequentialPair(
                first=first,
                second=second,
                verdict=verdict,
                decided_at=at,
                difference=float(means[k]),
                interval=self._interval(self._low_out[k], self._high_out[k], float(means[k])),
            )
            found.append(pair)
        return tuple(found)

    def _interval(self, low_out: NDArray[np.bool_], high_out: NDArray[np.bool_], mean: float) -> tuple[float, float]:
        """Returns the ends: whoever is ruled out as "at most m" takes everyone below along, and the other way round."""
        if self.seen == self._images:
            return mean, mean
        low = self._grid[low_out].max(initial=-self._bound)
        high = self._grid[high_out].min(initial=self._bound)
        return float(low), float(high)
