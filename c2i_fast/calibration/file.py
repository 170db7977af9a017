"""The calibrator file: JSON, data only, written whole or not at all, distrusted when read.

    {"c2i_fast": {"calibrator": 1}, "method": …, "parameters": {…}, "classes": K, "meta": {…}}

`meta` is what its writer found worth keeping (samples, NLL before and after, the model's SHA-256, activation, …).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from c2i_fast.calibration.interface import GraphCalibrator, check_activation
from c2i_fast.calibration.spec import calibrator_from_spec, calibrator_spec
from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator

FORMAT = {"calibrator": 1}
KEYS = {"c2i_fast", "method", "parameters", "classes", "meta"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratorFile:
    """A calibrator file that was read and believed."""

    calibrator: GraphCalibrator
    classes: int
    meta: Mapping[str, Any]


def save_calibrator(
    path: str | os.PathLike[str],
    calibrator: Calibrator,
    *,
    classes: int,
    meta: Mapping[str, Any],
    force: bool = False,
) -> None:
    """Writes the fitted calibrator to `path`, under a temporary name first, so that a file there is always whole.

    Args:
        path: in a folder that exists.
        calibrator: fitted; `NotFittedError` otherwise.
        classes: K of the logits it is for.
        meta: anything JSON holds, for people and later checks.
        force: overwrite an existing file.

    Raises:
        InputError: the file exists and `force` is not set, or it cannot be written.
    """
    target = Path(path)
    content = {"c2i_fast": FORMAT, **calibrator_spec(calibrator), "classes": int(classes), "meta": dict(meta)}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if target.exists() and not force:
        raise InputError(f"{target} exists already; give another name, or --force to overwrite it")
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        raise InputError(f"cannot write the calibrator {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # it is gone already, unless writing failed
            partial.unlink()


def load_calibrator(
    path: str | os.PathLike[str], *, classes: int | None = None, activation: str | None = None
) -> GraphCalibrator:
    """Returns the calibrator stored in `path`; see `read_calibrator`."""
    return read_calibrator(path, classes=classes, activation=activation).calibrator


def read_calibrator(
    path: str | os.PathLike[str], *, classes: int | None = None, activation: str | None = None
) -> CalibratorFile:
    """Returns the calibrator stored in `path` with its class count and meta data.

    Args:
        path: what `save_calibrator` wrote.
        classes: K of the model it is to serve; None skips that check.
        activation: of its head, likewise.

    Raises:
        InputError: no such file, not JSON, another version, an unknown method, parameters that cannot be, or a
            calibrator for another class count or head; with the path, what was expected, and what came.
    """
    content = _read_object(path)
    try:
        stored = _parse(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if classes is not None and stored.classes != classes:
        raise InputError(
            f"{path} was fitted on {stored.classes} classes and the model has {classes}; "
            "fit one on this model with: c2i-fast calibrate"
        )
    if activation is not None:
        check_activation(stored.calibrator, activation)
        fitted = stored.meta.get("activation", activation)
        if fitted != activation:
            raise InputError(
                f"{path} was fitted on a {fitted} head and the model's is a {activation}; "
                "fit one on this model with: c2i-fast calibrate"
            )
    return stored


def _parse(content: Mapping[str, Any]) -> CalibratorFile:
    if content.get("c2i_fast") != FORMAT:
        came = json.dumps(content.get("c2i_fast"))[:60]
        raise InputError(f'expected a calibrator file with "c2i_fast": {json.dumps(FORMAT)}, got {came}')
    if set(content) != KEYS:
        differing = sorted(set(content) ^ KEYS)
        raise InputError(f"expected the keys {', '.join(sorted(KEYS))}; unknown or missing: {', '.join(differing)}")
    classes, meta = content["classes"], content["meta"]
    if not isinstance(meta, Mapping):
        raise InputError(f"expected meta to be an object, got {type(meta).__name__}")
    calibrator = calibrator_from_spec({key: content[key] for key in ("method", "parameters")})
    least = 1 if "sigmoid" in calibrator.activations else 2
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < least:
        raise InputError(f"expected classes to be a whole number of at least {least}, got {classes!r}")
    learnt = getattr(calibrator, "classes_", classes)
    if learnt != classes:
        raise InputError(f"the file says {classes} classes and its parameters are of {learnt}; fit it again")
    return CalibratorFile(calibrator=calibrator, classes=classes, meta=meta)


def _read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the JSON object in the file; anything else, NaN and Infinity included, is an `InputError`."""
    try:
        # Windows editors put a byte-order mark in front of what they save.
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except OSError as error:
        raise InputError(f"cannot read the calibrator {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected {path} to be JSON as c2i-fast calibrate writes it; {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"expected {path} to hold a JSON object, got {type(content).__name__}")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
