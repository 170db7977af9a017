"""What a run is begun with, and may only be continued with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self, get_type_hints

from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import GraphContract


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The options of `score` that its numbers may depend on; None means not given.

    Attributes:
        overrides: of protocol fields, `--set FIELD=VALUE`.
        passes_per_part: how many passes a part of the run must reach.
    """

    metrics: tuple[str, ...] | None = None
    presets: tuple[str, ...] | None = None
    overrides: Mapping[str, str] | None = None
    readouts: tuple[str, ...] | None = None
    controls: bool | None = None
    engine: str | None = None
    precision: str | None = None
    device: str | None = None
    threads: int | None = None
    batch_size: int | None = None
    passes_per_part: int | None = None
    keep_logits: bool | None = None
    limit: int | None = None
    seed: int | None = None
    fp32_images: int | None = None
    until_separated: float | None = None
    equivalence_margin: float | None = None
    estimand: str | None = None
    decide_on: tuple[str, ...] | None = None
    recalx_mismatch: str | None = None
    tolerance: float | None = None
    baseline_panel: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Returns the settings stored in `run.json`."""
        unknown = set(content) - {f.name for f in fields(cls)}
        if unknown:
            raise InputError(f"run.json has unknown settings {sorted(unknown)}; it is from another version of c2i-fast")
        for name, kind in get_type_hints(cls).items():
            if not _is_a(kind, content.get(name)):
                raise InputError(
                    f"run.json has the setting {name} = {content[name]!r}; the run is damaged, score it afresh"
                )
        tuples = {
            name: tuple(content[name])
            for name in ("metrics", "presets", "readouts", "decide_on")
            if content.get(name) is not None
        }
        return cls(**{**content, **tuples})

    def filled(self, defaults: Self) -> Self:
        """Returns these settings with everything not given taken from `defaults`."""
        return replace(defaults, **self._given())

    def continuing(self, stored: Self) -> Self:
        """Returns the stored settings after checking that nothing else is asked for.

        Raises:
            UsageError: An option was given that the run was not begun with.
        """
        for name, value in self._given().items():
            if value != getattr(stored, name):
                raise UsageError(
                    f"--resume goes on with {option(name)} {_shown(getattr(stored, name))}, not {_shown(value)}; "
                    "leave the option out"
                )
        return stored

    def _given(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def _is_a(kind: Any, value: Any) -> bool:
    """Returns whether a value from JSON is of the kind that a setting declares."""
    if kind == tuple[str, ...] | None:
        return value is None or (isinstance(value, list) and all(isinstance(entry, str) for entry in value))
    if kind == Mapping[str, str] | None:
        return value is None or (isinstance(value, dict) and all(isinstance(entry, str) for entry in value.values()))
    return isinstance(value, kind) and (kind == bool | None or not isinstance(value, bool))


def _shown(value: Any) -> str:
    return ", ".join(repr(entry) for entry in value) if isinstance(value, tuple) and value else repr(value)


def option(name: str) -> str:
    """Returns the option of `score` that a setting comes from.

    Example:
        >>> option("batch_size"), option("overrides")
        ('--batch-size', '--set')
    """
    others = {
        "metrics": "metric",
        "presets": "preset",
        "overrides": "set",
        "readouts": "readout",
        "passes_per_part": "part-passes",
    }
    return "--" + others.get(name, name.replace("_", "-"))


def check_hashes(stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Checks that images, maps, model and calibrator are what a run was begun with.

    Raises:
        InputError: One of them is another.
    """
    kinds = {
        "model": "another model",
        "calibrator": "another calibrator",
        "images": "other images",
        "maps": "other maps",
        "regions": "other regions",
        "baselines": "other baseline files",
    }
    for name, value in now.items():
        if stored.get(name) != value:
            raise InputError(f"this run was begun with {kinds[name]}; give what it was begun with, or another --out")


def model_hash(contract: GraphContract) -> str:
    """Returns SHA-256 in hex of what a classifier is before its calibrator: source, preprocessing, shape."""
    return hashlib.sha256(replace(contract, calibrator=None).to_json().encode()).hexdigest()
