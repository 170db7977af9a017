"""Why two protocols give two numbers: which fields differ, and the share of each in the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np

from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Doubles

GROUPS: dict[str, tuple[str, ...]] = {
    "unit": ("unit", "unit_size", "unit_grid", "unit_value"),
    "order": ("order",),
    "ties": ("ties",),
    "counts": ("counts", "intervals", "pixels_per_step", "count_list", "percentiles", "limit", "most_steps"),
    "start": ("start",),
    "ends": ("ends",),
    "baseline": ("baseline",),
    "x": ("x",),
    "value": ("value",),
    "summary": ("summary",),
}
"""Fields that only make sense together change together."""

Chosen = frozenset[str]
"""The groups that are taken from the second protocol."""


def differing(first: CurveProtocol, second: CurveProtocol) -> dict[str, tuple[str, ...]]:
    """Returns the groups of fields in which two protocols differ; thresholds join counts and ties into one.

    Example:
        >>> a = CurveProtocol(name="a", metric="deletion")
        >>> differing(a, CurveProtocol(name="b", metric="deletion", baseline="blur", x="step"))
        {'baseline': ('baseline',), 'x': ('x',)}
    """
    groups = dict(GROUPS)
    if "percentile" in (first.counts, second.counts):
        groups["counts and ties"] = groups.pop("counts") + groups.pop("ties")
    return {name: members for name, members in groups.items() if _values(first, members) != _values(second, members)}


def described(protocol: CurveProtocol, members: Sequence[str]) -> str:
    """Returns a group's values in words: those of its fields that say something.

    Example:
        >>> described(CurveProtocol(name="a", metric="deletion"), GROUPS["counts"])
        'equal, intervals 32'
    """
    default = {"limit": 1.0, "unit_grid": "start"}
    said = []
    for name, value in zip(members, _values(protocol, members), strict=True):
        if isinstance(value, str) and value != default.get(name):
            said.append(value)
        elif value is not None and value != default.get(name):
            said.append(f"{name} {value}")
    return ", ".join(said)


def _values(protocol: CurveProtocol, members: Sequence[str]) -> tuple[object, ...]:
    values = (protocol.canonical_baseline if name == "baseline" else getattr(protocol, name) for name in members)
    return tuple(values)


def hybrids(first: CurveProtocol, second: CurveProtocol) -> dict[Chosen, CurveProtocol]:
    """Returns every mixture of two protocols, 2^d of them for d groups that differ."""
    groups = differing(first, second)
    made = {}
    for count in range(len(groups) + 1):
        for chosen in combinations(groups, count):
            changes = {name: getattr(second, name) for group in chosen for name in groups[group]}
            made[frozenset(chosen)] = replace(first, **changes, name=f"{first.name}>{second.name}:{'+'.join(chosen)}")
    return made


def shapley(values: Mapping[Chosen, Doubles], groups: Sequence[str]) -> dict[str, Doubles]:
    """Returns each group's share in the difference, averaged over every order of changing them: (N,) each.

    φ_i = Σ_S |S|! (d − |S| − 1)! / d! · [v(S ∪ {i}) − v(S)] (Shapley 1953); they add up to the difference.

    Args:
        values: per-image values (N,) of every mixture.
        groups: the d that differ.

    Example:
        >>> v = {frozenset(): np.array([0.2]), frozenset({"x"}): np.array([0.5])}
        >>> shapley(v, ["x"])["x"].tolist()
        [0.3]
    """
    shares = {}
    for group in groups:
        others = [name for name in groups if name != group]
        total = np.zeros_like(values[frozenset()])
        for count in range(len(groups)):
            weight = 1 / (len(groups) * comb(len(groups) - 1, count))
            for chosen in combinations(others, count):
                total += weight * (values[frozenset((*chosen, group))] - values[frozenset(chosen)])
        shares[group] = total
    return shares
