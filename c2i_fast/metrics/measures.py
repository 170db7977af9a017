"""From the names on the command line to what is measured: metrics, each with its protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from c2i_fast.errors import InputError
from c2i_fast.metrics.base import METRICS, MapCase, Metric
from c2i_fast.metrics.override import check_used
from c2i_fast.metrics.presets import PRESETS, protocol_for
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.plan import Request
from c2i_fast.protocols import Protocol

DEFAULT_METRICS = ("deletion", "insertion", "gap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A metric under its protocols: one column of the table.

    Attributes:
        protocols: in the order the metric names them; the first is its rows'.
    """

    metric: Metric
    protocols: tuple[Protocol, ...]

    @property
    def protocol(self) -> Protocol:
        """The one its rows are known by."""
        return self.protocols[0]

    def request(self, case: MapCase, book: Book) -> Request | None:
        """Returns what it wants read of one map, entered into the image's book; None where it cannot judge the map."""
        asked = self.metric.request(case, book, self.protocols)
        if asked is None:
            return None
        return Request(
            method=case.method,
            metric=self.metric.name,
            protocols=self.protocols,
            x=asked.x,
            passes=asked.passes,
            lengths=asked.lengths or (len(asked.passes), *(0,) * (len(self.protocols) - 1)),
            warnings=asked.warnings,
        )


def make_measures(
    metrics: Sequence[str], presets: Sequence[str], overrides: Mapping[str, str] | None = None
) -> tuple[Measure, ...]:
    """Returns every metric under every preset that defines it, each once.

    Args:
        metrics: names; without any, each preset's own: `deletion`, `insertion` and `gap` where it has them, else all.
        presets: names in `PRESETS`.
        overrides: `--set FIELD=VALUE`, for every protocol that has the field.

    Raises:
        InputError: An unknown name; a metric that none of the presets defines; a field or value that cannot be set.
        MissingDependencyError: A metric needs a package that is not installed.

    Example:
        >>> [m.metric.name for m in make_measures(("gap",), ("c2i",))]
        ['gap']
    """
    made: dict[tuple[str, tuple[str, ...]], Measure] = {}
    for preset in dict.fromkeys(presets):
        for name in dict.fromkeys(metrics) if metrics else default_metrics(preset):
            metric = METRICS[name]
            if len(presets) > 1 and not set(metric.protocols) <= set(PRESETS[preset]):
                continue
            protocols = tuple(protocol_for(preset, curve, overrides) for curve in metric.protocols)
            made.setdefault((name, tuple(p.hash() for p in protocols)), Measure(metric=metric, protocols=protocols))
    missing = set(metrics) - {name for name, _ in made}
    if missing:
        raise InputError(f"none of the presets {', '.join(presets)} defines {', '.join(sorted(missing))}")
    check_used(overrides or {}, [p for measure in made.values() for p in measure.protocols])
    for measure in made.values():
        measure.metric.check(measure.protocols)
    return tuple(made.values())


def check_regions(measures: Sequence[Measure], given: bool) -> None:
    """Checks that regions are given where a metric needs them, and only there.

    Raises:
        InputError: One without the other.
    """
    needing = [measure.metric.name for measure in measures if "region" in measure.metric.needs]
    if needing and not given:
        raise InputError(
            f"{', '.join(needing)}: needs to know where the objects are; give --regions SRC, a CSV with "
            "file,x0,y0,x1,y1, a folder of masks <image id>.png, or an .npz with masks and ids"
        )
    if given and not needing:
        raise InputError(
            "--regions is given, but no metric that is asked for looks at regions; add one, e.g. --metric "
            "pointing-game, or leave it out"
        )


def default_metrics(preset: str) -> tuple[str, ...]:
    """Returns what a preset is scored by when no metric is named."""
    table = PRESETS[preset]
    usual = tuple(name for name in DEFAULT_METRICS if set(METRICS[name].protocols) <= set(table))
    return usual or tuple(name for name in METRICS if set(METRICS[name].protocols) <= set(table))


def protocols_of(measures: Iterable[Measure]) -> tuple[Protocol, ...]:
    """Returns the protocols of some measures, each once."""
    return tuple({p.hash(): p for measure in measures for p in measure.protocols}.values())
