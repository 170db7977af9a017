"""`--set FIELD=VALUE`: one field of a protocol changed, and whatever that implies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from c2i_fast.errors import InputError
from c2i_fast.metrics.target import check_rule, is_index
from c2i_fast.perturb.baseline import check_baseline
from c2i_fast.protocols import CurveProtocol, Protocol

UNSETTABLE = ("list", "percentile")
"""Counts rules that need more than one word."""
SHARES = ("limit", "share", "largest")
"""Fields in (0, 1]; other numbers are at least 0."""


def overridden(protocol: Protocol, overrides: Mapping[str, str]) -> Protocol:
    """Returns the protocol with those of the overrides that it has a field for, named after them.

    `intervals=N` keeps the preset's counts rule (`pixels` becomes `equal`); `pixels_per_step=p` makes any preset
    `pixels`; `unit` without a size forgets the old one.

    Raises:
        InputError: A value that the field cannot have, or fields that contradict each other.
    """
    mine = {name: overrides[name] for name in sorted(overrides) if name in protocol.settable}
    changes = {name: _parse(protocol, name, text) for name, text in mine.items()}
    if isinstance(protocol, CurveProtocol):
        changes = _implied(protocol, mine, changes)
    suffix = "".join(f"+{name}={text}" for name, text in mine.items())
    made = replace(protocol, **changes, name=protocol.name + suffix)
    if clash := made.clash():
        raise InputError(f"{made.name}, {made.metric}: {clash}")
    return made


def _implied(protocol: CurveProtocol, given: Mapping[str, str], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns the changes and what follows from them; two fields that say the same are an error."""
    if {"intervals", "pixels_per_step"} <= set(given):
        raise InputError("intervals and pixels_per_step both say how long a step is; set one of them")
    idle = "intervals" if given.get("counts", "pixels") == "pixels" else "pixels_per_step"
    if "counts" in given and idle in given:
        raise InputError(f"counts={given['counts']} has no use for {idle}; leave one of them out")
    if "intervals" in changes and protocol.counts == "pixels":
        changes = {"counts": "equal", "pixels_per_step": None} | changes
    if "pixels_per_step" in given or given.get("counts") == "pixels":
        changes |= {"counts": "pixels", "intervals": None}
    if "unit" in changes and "unit_size" not in changes:
        changes |= {"unit_size": None}
    if changes.get("counts", protocol.counts) != "percentile":
        changes |= {"percentiles": None}
    return changes


def check_used(overrides: Mapping[str, str], protocols: Sequence[Protocol]) -> None:
    """Raises an `InputError` for an override that none of the protocols has a field for."""
    known = sorted({name for protocol in protocols for name in protocol.settable})
    for name in overrides:
        if name not in known:
            raise InputError(f"a protocol has no field {name!r} to set; known: {', '.join(known)}")


def _parse(protocol: Protocol, name: str, text: str) -> Any:
    if name == "baseline":
        return check_baseline(text)
    if name == "target":
        return check_rule(text)
    kind = get_type_hints(type(protocol))[name]
    allowed = [value for value in get_args(kind) if value not in UNSETTABLE] if get_origin(kind) is Literal else []
    if allowed:
        if text not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}; got {text!r}")
        return text
    if int in (kind, *get_args(kind)):
        if not is_index(text) or int(text) < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {text!r}")
        return int(text)
    return _number(name, text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if name in SHARES and not 0 < value <= 1:
        raise InputError(f"{name} must be a number above 0 and at most 1, got {text!r}")
    if not 0 <= value < np.inf:
        raise InputError(f"{name} must be a number of at least 0, got {text!r}")
    return value
