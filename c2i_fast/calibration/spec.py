"""A calibrator as plain data: `{"method": …, "parameters": {…}}`, as files, graphs and runs carry it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from c2i_fast.calibration.interface import CALIBRATORS, GraphCalibrator
from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator


def calibrator_spec(calibrator: Calibrator) -> dict[str, Any]:
    """Returns the fitted calibrator as data, ready for JSON; `NotFittedError` before `fit`.

    Example:
        >>> from c2i_fast.calibration.identity import Identity
        >>> calibrator_spec(Identity())
        {'method': 'identity', 'parameters': {}}
    """
    return {"method": calibrator.method, "parameters": calibrator.parameters()}


def calibrator_from_spec(spec: object) -> GraphCalibrator:
    """Returns the calibrator that `calibrator_spec` described. Nothing of the data is executed.

    Raises:
        InputError: other keys than `method` and `parameters`, an unknown method, parameters it does not take.

    Example:
        >>> calibrator_from_spec({"method": "temperature", "parameters": {"temperature": 2}}).temperature_
        2.0
    """
    if not isinstance(spec, Mapping) or set(spec) != {"method", "parameters"}:
        came = f"keys {sorted(map(str, spec))}" if isinstance(spec, Mapping) else type(spec).__name__
        raise InputError(f"expected a calibrator as an object with method and parameters, got {came}")
    method, parameters = spec["method"], spec["parameters"]
    if not isinstance(method, str) or not isinstance(parameters, Mapping):
        raise InputError(f"expected method as text, parameters as an object, got {method!r:.40} and {parameters!r:.40}")
    return CALIBRATORS[method].from_parameters(parameters)


def calibrator_hash(calibrator: Calibrator) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the spec as canonical JSON (keys sorted, no spaces).

    Example:
        >>> from c2i_fast.calibration.identity import Identity
        >>> calibrator_hash(Identity())
        '72d61d724e771fbd'
    """
    canonical = json.dumps(calibrator_spec(calibrator), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
