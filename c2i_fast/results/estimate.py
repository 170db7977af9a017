"""Low precision as an estimator of fp32: a random subset is scored in both, and the difference corrects the mean."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from c2i_fast.data.frame import Frame
from c2i_fast.data.source import Image, ImageSource
from c2i_fast.errors import ContractError
from c2i_fast.reliability.intervals import Estimate, paired
from c2i_fast.results.summary import Cell, aligned
from c2i_fast.types import Floats

FP32 = "fp32"
"""The prefix of the subset's part files."""

EXPECTED_SHARE = {"bf16": 0.01, "fp16": 0.01, "int8": 0.05}
"""How far a mean usually moves in that precision, as a share of the spread between images."""


def subset(ids: Sequence[str], size: int, seed: int) -> frozenset[str]:
    """Returns a random subset that depends on the seed and the ids alone, not on their order.

    Example:
        >>> subset(["a", "b", "c"], 2, 0) == subset(["c", "b", "a"], 2, 0)
        True
    """
    keyed = sorted(ids, key=lambda image: hashlib.sha256(f"{seed}\0{image}".encode()).digest())
    return frozenset(keyed[:size])


class SubsetSource(ImageSource):
    """Some of the images of a source, in its order."""

    def __init__(self, source: ImageSource, chosen: frozenset[str]) -> None:
        self._source = source
        self._places = [place for place, image in enumerate(source.ids) if image in chosen]
        labels, targets = source.labels, source.targets
        super().__init__(
            [source.ids[place] for place in self._places],
            None if labels is None else [labels[place] for place in self._places],
            None if targets is None else [targets[place] for place in self._places],
        )

    def fingerprint(self) -> str:
        """Returns the whole source's."""
        return self._source.fingerprint()

    def frame(self, number: int) -> Frame:
        """Returns what the source does to the size of that image."""
        return self._source.frame(self._places[number])

    def loads(self, start: int) -> Iterator[Callable[[], Floats]]:
        """Yields what returns the pixels of chosen image `start`, `start + 1`, …."""
        return self._source.picks(self._places[start:])


def calibration_images(source: ImageSource, count: int, seed: int) -> Iterator[Floats]:
    """Yields the pixels of up to `count` random images, in the source's order, for `at_precision`.

    Which ones depends on the seed and the ids alone, so a resumed run calibrates on the same. They are drawn apart from
    the images that are scored in fp32 too: int8 is at its best where it was calibrated, and the correction should not
    be. Images that cannot be read are left out; the run that needs them says so.
    """
    chosen = subset(source.ids, count, seed + 1)
    for image in SubsetSource(source, chosen).stream(on_error="skip"):
        if isinstance(image, Image):
            yield image.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How one cell moved in low precision: the mean of low − fp32 over the subset, and the spread it is to be held to.

    Attributes:
        change: the mean change with its interval; it is what the corrected means take back.
        share: |mean change| over the standard deviation of the fp32 values between images.
    """

    cell: Cell
    change: Estimate
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        names = ("method", "metric", "protocol", "readout")
        return dict(zip(names, self.cell, strict=True)) | self.change.to_dict() | {"share_of_spread": self.share}


def worst_drift(low: Mapping[Cell, Mapping[str, float]], full: Mapping[Cell, Mapping[str, float]]) -> Drift | None:
    """Returns the cell that moved furthest for its spread; None where fewer than two images were scored twice."""
    found = []
    for cell, reference in full.items():
        fast, exact = aligned(low.get(cell, {}), reference)
        spread = float(np.std(exact, ddof=1)) if len(exact) > 1 else 0.0
        if spread:
            change = paired(fast, exact)
            found.append(Drift(cell=cell, change=change, share=abs(change.mean) / spread))
    return max(found, key=lambda drift: drift.share, default=None)


def reversals(
    low: Mapping[Cell, Mapping[str, float]], full: Mapping[Cell, Mapping[str, float]]
) -> list[tuple[Cell, Cell]]:
    """Returns pairs of methods that fp32 separates one way and low precision, significantly, the other way."""
    found = []
    for first, second in combinations(full, 2):
        if first[1:] != second[1:]:
            continue
        exact, fast = (paired(*aligned(table[first], table[second])).ci95 for table in (full, low))
        if exact and fast and ((exact[0] > 0 and fast[1] < 0) or (exact[1] < 0 and fast[0] > 0)):
            found.append((first, second))
    return found


def check_estimate(
    precision: str, low: Mapping[Cell, Mapping[str, float]], full: Mapping[Cell, Mapping[str, float]]
) -> None:
    """Checks that the low precision ranks the methods as fp32 does.

    A shift of the means is no failure: the corrected means take it back, and their intervals carry what is not known
    of it.

    Raises:
        ContractError: Two methods that fp32 separates are separated the other way round.
    """
    for first, second in reversals(low, full):
        raise ContractError(
            f"in {precision} {first[0]} and {second[0]} change places ({first[1]}, {first[3]}); "
            "score in fp32, or accept it with --allow-drift"
        )
