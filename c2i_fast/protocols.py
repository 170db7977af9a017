"""Protocols as data: everything that defines a metric but its read-out, frozen, hashed and stored with every result.

One class a family of metrics. A field is only here if it changes a number, so two protocols with one hash are one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

Order = Literal["morf", "lerf"]
End = Literal["image", "baseline"]
Ties = Literal["index", "reverse-index", "together"]
Unit = Literal["pixel", "channel", "patch", "token", "window", "grid", "superpixel"]
Counts = Literal["equal", "floor", "linspace", "ceil-block", "floor-jump", "pixels", "list", "percentile"]
Ends = Literal["both", "no-start", "no-end", "neither"]

SIZED = ("patch", "token", "window", "grid", "superpixel")
SYNONYMS = {"zero": "mean"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What every protocol has.

    Attributes:
        name: the preset's, plus `+FIELD=VALUE` for every override; not part of the hash.
        metric: the plain name of what it defines, e.g. `deletion`.
        target: `top1` of the raw logits on the clean image, `label`, or a class index in digits.
    """

    kind: ClassVar[str] = ""
    settable: ClassVar[tuple[str, ...]] = ("target",)

    name: str
    metric: str
    target: str = "top1"

    def __post_init__(self) -> None:
        for item in fields(self):  # JSON brings lists
            value = getattr(self, item.name)
            if isinstance(value, list):
                object.__setattr__(self, item.name, tuple(value))

    @property
    def canonical_baseline(self) -> str | None:
        """The baseline under the one name its synonyms share; None where none is removed to."""
        name = getattr(self, "baseline", None)
        return None if name is None else SYNONYMS.get(name, name)

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        return None

    def implied(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the changes of `--set`, and what follows from them for the other fields."""
        return dict(changes)

    def hash(self) -> str:
        """Returns the first 16 hex digits of SHA-256 over canonical JSON of every field but the name."""
        return _hash(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns every field, the kind and the hash: an entry of `run.json`."""
        return {"kind": self.kind, **asdict(self), "hash": self.hash()}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Returns the protocol of such an entry.

        Raises:
            ValueError: Unknown kind or fields, or a hash that is another's.
        """
        content = {name: value for name, value in entry.items() if name not in ("kind", "hash")}
        kinds = {kind.kind: kind for kind in _kinds(Protocol)}
        if entry.get("kind") not in kinds:
            raise ValueError(f"there is no protocol kind {entry.get('kind')!r}")
        made = kinds[entry["kind"]](**content)
        if made.hash() != entry.get("hash") or not isinstance(made.name, str):
            raise ValueError("a protocol is not the one that its hash says")
        return made  # type: ignore[return-value]


@lru_cache(maxsize=1024)  # asked for once a row
def _hash(protocol: Protocol) -> str:
    content = {"kind": protocol.kind} | {key: value for key, value in asdict(protocol).items() if key != "name"}
    if "baseline" in content:
        content["baseline"] = SYNONYMS.get(content["baseline"], content["baseline"])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _kinds(parent: type[Protocol]) -> list[type[Protocol]]:
    return [kind for child in parent.__subclasses__() for kind in (child, *_kinds(child))]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveProtocol(Protocol):
    """A curve: what changes at one go, in which order, how much at each point, to what, and how it is summed up.

    Attributes:
        unit: `pixel` (all channels together), `channel` (single values), `patch` (squares of side `unit_size`; edges
            may be short), `token` (the same, where the size must divide the image), `window` (the same for signals),
            `grid` (`unit_size` cells along each axis) or `superpixel` (about `unit_size` SLIC segments).
        unit_size: side or number, for those units that have one.
        unit_grid: of patches that do not divide the image: the first is whole (`start`), or both ends are short
            (`centred`).
        unit_value: how a unit's saliency is made of its pixels', `mean` or `sum`.
        order: `morf` (most relevant first) or `lerf`, its exact reversal.
        ties: among equal saliency, `index` lets the smaller flat index go first, `reverse-index` the larger; `together`
            moves all of them once the first of them moves.
        counts: how the number of changed units grows: `equal`, `floor`, `linspace`, `ceil-block`, `floor-jump`,
            `pixels`, `list` or `percentile`; see `point_counts`.
        intervals: n for the rules that take it, else None.
        pixels_per_step: p for the rule `pixels`; None there means eight rows of the map, as RISE's data-set run.
        count_list: the counts of the rule `list`.
        percentiles: those of the rule `percentile`, falling.
        limit: the largest share of the units that changes.
        most_steps: the curve ends after so many steps.
        start: the end the curve starts from.
        ends: which of the first and the last point are scored.
        baseline: what the other end is (`list baselines`).
        x: `fraction`, the changed share; `step`, k/n; or `index`, k.
        value: what is followed at each point: the `readout`; its `drop` from the clean image; or its `ratio` to it.
        summary: of the curve: `trapezoid`, the area over x; `abs-trapezoid`, its absolute value; `above`, the x range
            less the area; or `mean` of the points.
    """

    kind: ClassVar[str] = "curve"
    settable: ClassVar[tuple[str, ...]] = (
        "baseline",
        "counts",
        "ends",
        "intervals",
        "limit",
        "most_steps",
        "pixels_per_step",
        "summary",
        "target",
        "ties",
        "unit",
        "unit_grid",
        "unit_size",
        "unit_value",
        "value",
        "x",
    )

    unit: Unit = "pixel"
    unit_size: int | None = None
    unit_grid: Literal["start", "centred"] = "start"
    unit_value: Literal["mean", "sum"] = "mean"
    order: Order = "morf"
    ties: Ties = "index"
    counts: Counts = "equal"
    intervals: int | None = 32
    pixels_per_step: int | None = None
    count_list: tuple[int, ...] | None = None
    percentiles: tuple[float, ...] | None = None
    limit: float = 1.0
    most_steps: int | None = None
    start: End = "image"
    ends: Ends = "both"
    baseline: str = "mean"
    x: Literal["fraction", "step", "index"] = "fraction"
    value: Literal["readout", "drop", "ratio"] = "readout"
    summary: Literal["trapezoid", "abs-trapezoid", "above", "mean"] = "trapezoid"

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        if (self.unit in SIZED) != (self.unit_size is not None):
            wants = "needs" if self.unit in SIZED else "has no use for"
            return f"unit={self.unit} {wants} unit_size"
        if (self.counts == "percentile") != (self.percentiles is not None):
            return f"counts={self.counts} and percentiles={self.percentiles} go together or not at all"
        if self.counts == "percentile" and self.ties != "together":
            return f"counts=percentile is a threshold, which ties={self.ties} contradicts; ties=together is its own"
        if self.baseline.startswith("running-") and self.start == "baseline":
            return f"baseline={self.baseline} is made step by step from the image, and start=baseline begins without it"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapProtocol(Protocol):
    """A metric of the map alone, or of the map and a region, that leaves nothing to choose."""

    kind: ClassVar[str] = "map"


@dataclass(frozen=True, slots=True, kw_only=True)
class PointingProtocol(Protocol):
    """Whether the maximum of a map lies in a region.

    Attributes:
        tolerance: a maximum at most so many pixels from the region counts as inside.
    """

    kind: ClassVar[str] = "pointing"
    settable: ClassVar[tuple[str, ...]] = ("target", "tolerance")

    tolerance: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MassProtocol(Protocol):
    """The share of a map's relevance that lies in a region.

    Attributes:
        relevance: of signed maps, `positive` counts max(v, 0) and `absolute` |v|.
    """

    kind: ClassVar[str] = "mass"
    settable: ClassVar[tuple[str, ...]] = ("relevance", "target")

    relevance: Literal["positive", "absolute"] = "positive"


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapProtocol(Protocol):
    """How well what a map marks and a region cover each other.

    Attributes:
        threshold: what a map marks: above its `otsu` threshold, its top K with K the `region-size`, or at least a
            `share` of its maximum.
        share: that share.
    """

    kind: ClassVar[str] = "overlap"
    settable: ClassVar[tuple[str, ...]] = ("share", "target", "threshold")

    threshold: Literal["otsu", "region-size", "share"] = "otsu"
    share: float | None = None

    def clash(self) -> str | None:
        """Returns which fields contradict each other, in words; None where none do."""
        if (self.threshold == "share") != (self.share is not None):
            return f"threshold={self.threshold} and share={self.share} do not fit; threshold=share goes with a share"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationProtocol(Protocol):
    """The total variation of what a map marks above its Otsu threshold.

    Attributes:
        power: of each axis's mean, before they are added.
    """

    kind: ClassVar[str] = "variation"
    settable: ClassVar[tuple[str, ...]] = ("power", "target")

    power: int = 1
