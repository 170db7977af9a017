"""Read-outs: how logits become the number that a curve follows. Float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator, CurveProtocol, Doubles, Ints, Reading

Readout = Literal["raw", "calibrated", "logit", "sigmoid"]
READOUTS: tuple[Readout, ...] = get_args(Readout)
SOFTMAX, LOGIT, SIGMOID = range(3)


def check_readouts(
    readouts: tuple[str, ...],
    calibrator: Calibrator | None,
    protocols: Sequence[CurveProtocol] = (),
    recalx_mismatch: str = "refuse",
) -> tuple[str, ...]:
    """Returns the read-outs to make: those asked for, or `raw` and, where there is a calibrator, `calibrated`.

    Raises:
        InputError: An unknown name, `calibrated` without a calibrator, or by a ReCalX that was fitted for another
            baseline than the protocols', unless `recalx_mismatch` is `ok`.
    """
    from c2i_fast.calibration.recalx import check_mismatch

    readouts = readouts or (("raw", "calibrated") if calibrator else ("raw",))
    for name in readouts:
        if name not in READOUTS:
            raise InputError(f"there is no read-out {name!r}; known: {', '.join(READOUTS)}")
    if "calibrated" in readouts and calibrator is None:
        raise InputError(
            "the calibrated read-out needs a calibrator: give --calibrator FILE (c2i-fast calibrate makes one), "
            "or a model exported with one"
        )
    used = calibrator if "calibrated" in readouts else None
    check_mismatch(used, [protocol.canonical_baseline for protocol in protocols], recalx_mismatch)
    return tuple(dict.fromkeys(readouts))


def readout_notes(readouts: Sequence[str], calibrator: Calibrator | None) -> tuple[str, ...]:
    """Returns what a reader of a table of these read-outs must know."""
    if calibrator is None or calibrator.method != "recalx" or "calibrated" not in readouts or len(readouts) < 2:
        return ()
    return (
        "calibrated is a ReCalX read-out, whose temperature changes along a curve: its areas are compared between "
        "methods, never with another read-out's",
    )


def read(
    readout: str,
    logits: NDArray[Any],
    target: int,
    *,
    calibrator: Calibrator | None = None,
    perturbed_fraction: Doubles | None = None,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Doubles:
    """Returns the read-out of class `target` for logits (P, K): float64 (P,).

    `raw`: the uncalibrated softmax (or the sigmoid, for a sigmoid head); `calibrated`: the same of the calibrated
    logits; `logit`: the raw logit; `sigmoid`: 1 / (1 + exp(−logit)).

    Example:
        >>> read("raw", np.array([[0.0, 0.0]]), 1).tolist()
        [0.5]
    """
    values = logits.astype(np.float64)
    if readout == "logit":
        return values[:, target]
    if readout == "calibrated":
        assert calibrator is not None  # check_readouts refuses this before any pass
        values = calibrator.transform(values, perturbed_fraction)
    if readout == "sigmoid" or activation == "sigmoid":
        from scipy.special import expit  # imported here: `import c2i_fast` stays light

        return np.asarray(expit(values[:, target]))
    largest = values.max(axis=1)
    total = np.exp(values - largest[:, None]).sum(axis=1)
    return np.asarray(np.exp(values[:, target] - largest) / total)


def probabilities(
    logits: NDArray[Any],
    calibrator: Calibrator | None = None,
    perturbed_fraction: Doubles | None = None,
    *,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Doubles:
    """Returns the (calibrated) probabilities of every class, float64 (P, K), from raw logits (P, K).

    Example:
        >>> probabilities(np.array([[0.0, 0.0]])).tolist()
        [[0.5, 0.5]]
    """
    from scipy.special import expit, softmax

    values = logits.astype(np.float64)
    if calibrator is not None:
        values = calibrator.transform(values, perturbed_fraction)
    return np.asarray(expit(values) if activation == "sigmoid" else softmax(values, axis=1))


def readable(readouts: Sequence[str], calibrator: Calibrator | None) -> bool:
    """Returns whether a device can make these read-outs: raw, logit, sigmoid, and `calibrated` by one temperature."""
    return "calibrated" not in readouts or (calibrator is not None and calibrator.method in ("temperature", "identity"))


def reading(
    readouts: Sequence[str],
    targets: Ints,
    *,
    calibrator: Calibrator | None = None,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Reading:
    """Returns `readable` read-outs as a device takes them.

    Example:
        >>> reading(("raw", "logit"), np.zeros(1, np.int32)).kinds.tolist()
        [0, 1]
    """
    squash = SIGMOID if activation == "sigmoid" else SOFTMAX
    temperature = 1.0
    if "calibrated" in readouts and calibrator is not None and calibrator.method == "temperature":
        temperature = float(calibrator.parameters()["temperature"])
    return Reading(
        targets=np.ascontiguousarray(targets, np.int32),
        kinds=np.array([{"logit": LOGIT, "sigmoid": SIGMOID}.get(name, squash) for name in readouts], np.int32),
        scales=np.array([1 / temperature if name == "calibrated" else 1.0 for name in readouts], np.float32),
    )
