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


class Gamblers:
    """Many means at once: against every candidate m, one gambler on higher values and one on lower.

    Args:
        count: independent sequences of differences.
        candidates: (G,) ascending, in the unit of the differences.
        bound: b, the largest |difference|.
        images: N for the estimand `set`, None for `population`.
        tail: the probability with which a true candidate may ever be given up on either side.

    Attributes:
        low_out: (count, G), whether "the mean is at most m" was given up; it takes all lower candidates along.
        high_out: (count, G), whether "the mean is at least m" was.
        seen: images so far.
    """

    def __init__(self, count: int, candidates: Doubles, *, bound: float, images: int | None, tail: float) -> None:
        shape = (count, len(candidates))
        self.candidates, self.bound, self.images = candidates, bound, images
        self.seen = 0
        self.low_out, self.high_out = np.zeros(shape, bool), np.zeros(shape, bool)
        self._scaled = (candidates / bound + 1) / 2
        self._log_threshold = -float(np.log(tail))
        self._low_capital, self._high_capital = np.zeros(shape), np.zeros(shape)  # logarithms
        self._sum, self._mean = np.zeros(count), np.full(count, 0.5)
        self._squares = np.full(count, PRIOR_VARIANCE)

    def update(self, differences: Doubles) -> None:
        """Lets everyone bet on the next differences, (count,)."""
        x = np.clip((differences / self.bound + 1) / 2, 0, 1)
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
        self.low_out |= (self._low_capital >= self._log_threshold) | (now < -ROUNDING)
        self.high_out |= (self._high_capital >= self._log_threshold) | (now > 1 + ROUNDING)
        self._sum += x
        mean = (0.5 + self._sum) / (self.seen + 1)
        self._squares += (x - self._mean) * (x - mean)
        self._mean = mean

    def _next_mean(self) -> Doubles:
        """Returns what each candidate says of the next value, in [0, 1] if it is possible, (count, G)."""
        if self.images is None:
            return np.broadcast_to(self._scaled, self.low_out.shape)
        mean: Doubles = (self.images * self._scaled - self._sum[:, None]) / (self.images - self.seen + 1)
        return mean

    def means(self) -> Doubles:
        """Returns the mean differences so far, (count,)."""
        mean: Doubles = (2 * self._sum / self.seen - 1) * self.bound
        return mean

    def verdicts(self, margin: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Returns who is equivalent and who separated, (count,) each; −margin, 0 and margin must be candidates."""
        if self.seen == self.images:  # nothing is left to chance
            equivalent = np.abs(self.means()) < margin
            return equivalent, ~equivalent
        below, zero, above = np.searchsorted(self.candidates, [-margin, 0.0, margin])
        return self.low_out[:, below] & self.high_out[:, above], self.low_out[:, zero] | self.high_out[:, zero]

    def intervals(self) -> Doubles:
        """Returns the confidence sequences now, (count, 2), on the candidates, rounded outwards."""
        if self.seen == self.images:
            return np.stack([self.means()] * 2, axis=1)
        low = np.where(self.low_out, self.candidates, -self.bound).max(axis=1)
        high = np.where(self.high_out, self.candidates, self.bound).min(axis=1)
        return np.stack([low, high], axis=1)


def candidates(bound: float, margin: float) -> Doubles:
    """Returns values from −bound to bound, dense where margins are, with −margin, 0 and margin among them."""
    curved = np.sinh(np.linspace(-1, 1, GRID) * np.arcsinh(bound / margin)) * margin
    return np.unique(np.r_[curved[1:-1], -margin, 0.0, margin])


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
        self.pairs, self._margin = list(pairs), margin
        tail = (1 - confidence) / 2 / (comparisons or len(self.pairs))
        grid = candidates(bound, margin)
        self._gamblers = Gamblers(len(self.pairs), grid, bound=bound, images=images, tail=tail)
        self._decided: list[tuple[str, int] | None] = [None] * len(self.pairs)

    @property
    def seen(self) -> int:
        """Images so far."""
        return self._gamblers.seen

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
        everyone = self._gamblers
        if everyone.images is not None and self.seen >= everyone.images:
            raise ValueError(f"the set has {everyone.images} images and all of them were seen")
        differences = np.array([values[first] - values[second] for first, second in self.pairs], np.float64)
        if not (np.abs(differences) <= everyone.bound * (1 + ROUNDING)).all():
            raise ValueError(f"differences must be finite and at most {everyone.bound:g}, got {differences.tolist()}")
        everyone.update(differences)
        for k, (equivalent, separated) in enumerate(zip(*everyone.verdicts(self._margin), strict=True)):
            if self._decided[k] is None and (equivalent or separated):
                self._decided[k] = (EQUIVALENT if equivalent else SEPARATED, self.seen)
        return self.done

    def state(self) -> tuple[SequentialPair, ...]:
        """Returns where every pair stands."""
        means = self._gamblers.means() if self.seen else np.full(len(self.pairs), np.nan)
        found = []
        for (first, second), decided, mean, ends in zip(
            self.pairs, self._decided, means, self._gamblers.intervals(), strict=True
        ):
            verdict, at = decided or (UNDECIDED, None)
            pair = SequentialPair(
                first=first,
                second=second,
                verdict=verdict,
                decided_at=at,
                difference=float(mean),
                interval=(float(ends[0]), float(ends[1])),
            )
            found.append(pair)
        return tuple(found)
