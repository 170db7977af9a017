"""The same images and maps under two protocols and every mixture of them: `compare --protocols`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from c2i_fast.data.map_source import MapSource
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.metrics import METRICS, PRESETS, protocol_for
from c2i_fast.metrics.difference import Chosen, described, differing, hybrids, shapley
from c2i_fast.metrics.measures import Measure
from c2i_fast.protocols import CurveProtocol
from c2i_fast.reliability.intervals import Estimate, mean_interval, paired
from c2i_fast.score import ScoreTask, score_stream
from c2i_fast.types import Doubles, MaskedPasses


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldShare:
    """A group of fields, what it is on both sides, and how much of the difference it makes."""

    field: str
    first: str
    second: str
    share: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One method's number under two protocols, and where the difference comes from.

    Attributes:
        change: second − first, paired over images; the shares add up to it.
    """

    method: str
    metric: str
    readout: str
    protocols: tuple[str, str]
    first: Estimate
    second: Estimate
    change: Estimate
    shares: tuple[FieldShare, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return {
            "method": self.method,
            "metric": self.metric,
            "readout": self.readout,
            "protocols": list(self.protocols),
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            "change": self.change.to_dict(),
            "shares": [
                {"field": s.field, "first": s.first, "second": s.second, **s.share.to_dict()} for s in self.shares
            ],
        }


def curve_protocols(presets: Sequence[str], metric: str) -> list[CurveProtocol]:
    """Returns the protocol of one curve metric under each preset.

    Raises:
        InputError: Fewer than two presets, a preset without the metric, or a metric that is not one curve.
    """
    names = list(dict.fromkeys(presets))
    if len(names) < 2:
        raise InputError(f"two presets are needed to compare, got {', '.join(names) or 'none'}; see list presets")
    if METRICS[metric].protocols != (metric,) or not isinstance(PRESETS["c2i"].get(metric), CurveProtocol):
        raise InputError(f"{metric} is not one curve; protocols are compared on deletion, insertion and the like")
    found = [protocol_for(name, metric) for name in names]
    return [protocol for protocol in found if isinstance(protocol, CurveProtocol)]


def protocol_differences(
    source: ImageSource,
    maps: Mapping[str, MapSource],
    passes: MaskedPasses,
    task: ScoreTask,
    protocols: Sequence[CurveProtocol],
    *,
    workers: int = 2,
    on_images: Callable[[int], None] = lambda images: None,
) -> tuple[list[Difference], int]:
    """Returns the difference of every method between the first protocol and each other one, and the passes run.

    All mixtures are scored together: they share most of their passes, and those that only sum up differently, all.

    Args:
        source: the images.
        maps: of every method.
        passes: of the classifier.
        task: read-outs, preprocessing and calibrator; its measures are replaced.
        protocols: of one metric, two or more.
        workers: threads that decode images.
        on_images: told how many images are done.
    """
    pairs = [(protocols[0], other, hybrids(protocols[0], other)) for other in protocols[1:]]
    metric = METRICS[protocols[0].metric]
    mixtures = {p.hash(): p for _, _, mixed in pairs for p in mixed.values()}
    measures = tuple(Measure(metric=metric, protocols=(protocol,)) for protocol in mixtures.values())
    values: dict[tuple[str, str, str], list[float]] = {}
    run = 0
    for part in score_stream(
        source.stream(workers=workers), maps, passes, replace(task, measures=measures), keep_logits=False
    ):
        for image in part.images:
            run += image.run
            for score in image.scores:
                values.setdefault((score.method, score.readout, score.protocol_hash), []).append(score.value)
        on_images(len(part.images))
    found = []
    for first, second, mixed in pairs:
        for method in dict.fromkeys(key[0] for key in values):
            for readout in task.readouts:
                own = {chosen: np.array(values[method, readout, p.hash()]) for chosen, p in mixed.items()}
                found.append(_difference(method, readout, first, second, own))
    return found, run


def _difference(
    method: str, readout: str, first: CurveProtocol, second: CurveProtocol, values: Mapping[Chosen, Doubles]
) -> Difference:
    groups = differing(first, second)
    shares = shapley(values, list(groups))
    before, after = values[frozenset()], values[frozenset(groups)]
    return Difference(
        method=method,
        metric=first.metric,
        readout=readout,
        protocols=(first.name, second.name),
        first=mean_interval(before),
        second=mean_interval(after),
        change=paired(after, before),
        shares=tuple(
            FieldShare(
                field=name,
                first=described(first, members),
                second=described(second, members),
                share=mean_interval(shares[name]),
            )
            for name, members in groups.items()
        ),
    )
