"""`--until-separated`: images in random order until every pair of methods is separated or equivalent.

The order depends on the seed and the ids alone, and the rule looks at image after image, so where it stops is a
function of the rows in their order: a run that was killed stops where it would have stopped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter
from typing import Any

from c2i_fast.attribution import CONTROLS
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError, UsageError
from c2i_fast.metrics.base import METRICS
from c2i_fast.reliability.sequential import ESTIMANDS, SequentialComparison
from c2i_fast.types import Floats

MARGIN = 0.01
BOUNDED = ("raw", "calibrated", "sigmoid")
Rows = Iterable[tuple[Any, ...]]
"""Tuples in the order of `summary.COLUMNS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule:
    """When a run may end.

    Attributes:
        confidence: of all verdicts together, over pairs, metrics and read-outs.
        margin: differences smaller than that are equivalence, in the metric's unit.
        estimand: `set`, the mean over these images, or `population`, the mean over what they were drawn from.
        decide_on: (metric, read-out) pairs that must be decided.
    """

    confidence: float
    margin: float
    estimand: str
    decide_on: tuple[tuple[str, str], ...]


def stopping_rule(
    confidence: float,
    margin: float | None,
    estimand: str | None,
    decide_on: Sequence[str] | None,
    *,
    metrics: Sequence[str],
    readouts: Sequence[str],
) -> StoppingRule:
    """Returns the rule that options ask for, checked.

    Args:
        confidence: above 0, below 1.
        margin: 0.01 where None.
        estimand: `set` where None.
        decide_on: METRIC or METRIC:READOUT each; by default the first metric under the first read-out.
        metrics: what the run scores.
        readouts: the run's.

    Raises:
        UsageError: A number out of its range, a metric or read-out that is not scored, or one without bounds.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"--until-separated is a confidence between 0 and 1, for example 0.95; got {confidence:g}")
    if estimand not in (None, *ESTIMANDS):
        raise UsageError(f"--estimand must be one of {', '.join(ESTIMANDS)}; got {estimand!r}")
    chosen = dict.fromkeys(_asked(text, metrics, readouts) for text in decide_on or (metrics[0],))
    margin = MARGIN if margin is None else margin
    for metric, readout in chosen:
        if readout not in BOUNDED:
            raise UsageError(f"--until-separated needs a bounded read-out ({', '.join(BOUNDED)}), not {readout}")
        if not math.isfinite(_bound(metric)):
            raise UsageError(f"--until-separated needs a bounded metric, and {metric} has no bounds; decide on another")
        if not 0 < margin < _bound(metric):
            raise UsageError(
                f"--equivalence-margin must lie between 0 and {_bound(metric):g} for {metric}, got {margin:g}"
            )
    return StoppingRule(confidence=confidence, margin=margin, estimand=estimand or "set", decide_on=tuple(chosen))


def _asked(text: str, metrics: Sequence[str], readouts: Sequence[str]) -> tuple[str, str]:
    metric, _, readout = text.partition(":")
    readout = readout or readouts[0]
    if metric not in metrics or readout not in readouts:
        raise UsageError(
            f"--decide-on {text}: this run scores {', '.join(metrics)} under {', '.join(readouts)}; give METRIC:READOUT"
        )
    return metric, readout


def _bound(metric: str) -> float:
    low, high = METRICS[metric].bounds
    return high - low


class Stopping:
    """The rule at work: fed with the rows of image after image.

    Args:
        rule: what is to be decided, and how surely.
        methods: of the run. Pairs of two controls are not waited for, unless there are controls alone.
        images: how many the source holds.

    Raises:
        UsageError: There is one method and no pair.
    """

    def __init__(self, rule: StoppingRule, methods: Sequence[str], images: int) -> None:
        pairs = list(combinations(methods, 2))
        pairs = [pair for pair in pairs if not set(pair) <= set(CONTROLS)] or pairs
        if not pairs:
            raise UsageError("--until-separated compares methods and there is one; give more --maps, or --controls")
        self.rule, self.images = rule, images
        self.seen = 0
        self._races = {
            (metric, readout): SequentialComparison(
                pairs,
                bound=_bound(metric),
                margin=rule.margin,
                images=images if rule.estimand == "set" else None,
                confidence=rule.confidence,
                comparisons=len(pairs) * len(rule.decide_on),
            )
            for metric, readout in rule.decide_on
        }

    @property
    def done(self) -> bool:
        """Whether every pair is decided."""
        return all(race.done for race in self._races.values())

    def update(self, rows: Rows) -> bool:
        """Takes rows of whole images, in their order, up to the image that decides; returns whether it has come."""
        for _, group in groupby(rows, key=itemgetter(0)):
            if self.done:
                break
            values: dict[tuple[str, str], dict[str, float]] = {key: {} for key in self._races}
            for _, method, metric, _, readout, value in group:
                if (metric, readout) in values:
                    values[metric, readout][method] = value
            for key, race in self._races.items():
                _feed(race, values[key])
            self.seen += 1
        return self.done

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON: the estimand, what was promised, and where every pair stands."""
        return {
            "done": self.done,
            "images": self.seen,
            "of": self.images,
            "estimand": self.rule.estimand,
            "confidence": self.rule.confidence,
            "margin": self.rule.margin,
            "pairs": [
                {"metric": metric, "readout": readout, **pair.to_dict()}
                for (metric, readout), race in self._races.items()
                for pair in race.state()
            ],
        }


def _feed(race: SequentialComparison, values: dict[str, float]) -> None:
    try:
        race.update(values)
    except ValueError as error:
        raise InputError(f"--until-separated cannot go on: {error}") from error


class ShuffledSource(ImageSource):
    """A source in a random order that depends on the seed and the ids alone."""

    def __init__(self, source: ImageSource, seed: int) -> None:
        def key(place: int) -> bytes:
            return hashlib.sha256(f"{seed}\0order\0{source.ids[place]}".encode("utf-8", "surrogatepass")).digest()

        self._source = source
        self._places = sorted(range(len(source)), key=key)
        labels, targets = source.labels, source.targets
        super().__init__(
            [source.ids[place] for place in self._places],
            None if labels is None else [labels[place] for place in self._places],
            None if targets is None else [targets[place] for place in self._places],
        )

    def fingerprint(self) -> str:
        """Returns the source's."""
        return self._source.fingerprint()

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what returns the pixels from the `start`-th image of the random order on."""
        return self._source.picks(self._places[start:])
