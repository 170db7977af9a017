"""`--baseline-panel`: does the ranking of methods depend on what removed pixels become?

The gap is measured under four baselines and ROAD takes the place of a fifth; the rankings of the methods' means are
compared by Kendall's τ_b. Deletion and ROAD's MoRF are scored too, which costs no pass: where they end says how much of
the class a network still sees in an image of which nothing, or the least relevant tenth, is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from c2i_fast.errors import InputError
from c2i_fast.metrics.diagnostics import STILL_HIGH
from c2i_fast.metrics.measures import Measure, make_measures

BASELINES = ("mean", "blur", "noise", "another-image")
PANEL_COLUMNS = ("image", "method", "metric", "protocol_hash", "readout", "value", "curve")
PRESET = "c2i"
ROAD = "ROAD"
PARTIAL = ("ends", "limit", "most_steps", "value")  # overrides that would cut the ends off the panel's curves


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelRow:
    """The methods under one baseline.

    Attributes:
        baseline: its name, or `ROAD`.
        metric: whose means rank the methods; higher is better.
        ranking: methods, best first.
        means: by method.
        end: mean read-out of the target where removal ends: the baseline itself, or 90 % imputed (mean over methods).
        clean: mean read-out of the clean image.
        still_high: share of the ends with more than half the read-out of their clean image.
    """

    baseline: str
    metric: str
    ranking: tuple[str, ...]
    means: Mapping[str, float]
    end: float
    clean: float
    still_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The rankings of methods under several baselines.

    Attributes:
        tau: (baseline, baseline) → Kendall's τ_b of the methods' means; NaN where all means are equal.
    """

    readout: str
    rows: tuple[PanelRow, ...]
    tau: Mapping[tuple[str, str], float]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        pairs = [{"first": a, "second": b, "tau": t if np.isfinite(t) else None} for (a, b), t in self.tau.items()]
        return {"readout": self.readout, "baselines": [asdict(row) for row in self.rows], "kendall_tau": pairs}


def panel_measures(overrides: Mapping[str, str]) -> tuple[tuple[str, Measure, Measure], ...]:
    """Returns for each baseline its name, the measure that ranks methods, and the one whose curve has the end.

    Args:
        overrides: `--set`; those of the `c2i` curves and ROAD hold here too, but for the baseline and `PARTIAL`.
    """
    made = []
    for baseline in BASELINES:
        rank, end = (_measure(name, {**overrides, "baseline": baseline}) for name in ("gap", "deletion"))
        made.append((baseline, rank, end))
    return (*made, (ROAD, _measure("road-combined", overrides), _measure("road-morf", overrides)))


def _measure(metric: str, overrides: Mapping[str, str]) -> Measure:
    known = {field for protocol in make_measures((metric,), (PRESET,))[0].protocols for field in protocol.settable}
    kept = {name: value for name, value in overrides.items() if name in known.difference(PARTIAL)}
    return make_measures((metric,), (PRESET,), kept)[0]


def with_panel(
    measures: Sequence[Measure], overrides: Mapping[str, str], methods: int, axes: int = 2
) -> tuple[Measure, ...]:
    """Returns the measures and the panel's, each once.

    Raises:
        InputError: Fewer than two methods, which no ranking can be made of; signals, which ROAD does not impute.
    """
    if axes != 2:
        raise InputError(f"--baseline-panel is for pictures, which ROAD imputes, and the model takes {axes} space axis")
    if methods < 2:
        raise InputError(f"--baseline-panel ranks methods, and there is {methods}; give more --maps, or --controls")
    wanted = [measure for _, *pair in panel_measures(overrides) for measure in pair]
    unique = {_key(measure): measure for measure in [*wanted, *measures]}  # the names of `measures` are kept
    order = dict.fromkeys(_key(measure) for measure in [*measures, *wanted])
    return tuple(unique[key] for key in order)


def _key(measure: Measure) -> tuple[str, tuple[str, ...]]:
    return measure.metric.name, tuple(protocol.hash() for protocol in measure.protocols)


def baseline_panel(rows: Iterable[tuple[Any, ...]], overrides: Mapping[str, str], readout: str) -> Panel:
    """Returns the panel of a run's rows.

    Args:
        rows: in the order of `PANEL_COLUMNS`.
        overrides: what `with_panel` was given.
        readout: of the rows that are looked at.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    curves: dict[tuple[str, str], list[list[float]]] = {}
    for _, method, metric, protocol, read, value, curve in rows:
        if read == readout:
            values.setdefault((metric, protocol), {}).setdefault(method, []).append(value)
            curves.setdefault((metric, protocol), []).append(curve)
    found = []
    clean = np.empty(0)
    for name, rank, end in panel_measures(overrides):
        means = {m: float(np.mean(v)) for m, v in values[rank.metric.name, rank.protocol.hash()].items()}
        points = np.array([[curve[0], curve[-1]] for curve in curves[end.metric.name, end.protocol.hash()]])
        if name == ROAD:  # whose curve holds changes; rows of one run are in one order
            ends = clean + points[:, 1]
        else:
            clean, ends = points.T
        found.append(
            PanelRow(
                baseline=name,
                metric=rank.metric.name,
                ranking=tuple(sorted(means, key=lambda method: -means[method])),
                means=means,
                end=float(ends.mean()),
                clean=float(clean.mean()),
                still_high=float((ends > STILL_HIGH * clean).mean()),
            )
        )
    return Panel(readout=readout, rows=tuple(found), tau=_taus(found))


def _taus(rows: Sequence[PanelRow]) -> dict[tuple[str, str], float]:
    from scipy.stats import kendalltau  # imported here: it takes half a second

    methods = list(rows[0].means)
    return {
        (a.baseline, b.baseline): float(kendalltau(*([row.means[m] for m in methods] for row in (a, b))).statistic)
        for a, b in combinations(rows, 2)
    }
