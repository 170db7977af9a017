"""Read-outs: how logits become the number that a curve follows. Float64."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any, Literal, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.protocols import Protocol
from c2i_fast.types import Calibrator, Doubles, Ints, Reading

Readout = Literal["raw", "calibrated", "logit", "sigmoid"]
READOUTS: tuple[Readout, ...] = get_args(Readout)
SOFTMAX, LOGIT, SIGMOID, MAPPED_SOFTMAX, MAPPED_SIGMOID = range(5)
# Calibrators w ⊙ z + b, and what they call w and b.
CLASSWISE = {"vector": ("weights", "bias"), "platt": ("slopes", "intercepts")}


def check_readouts(
    readouts: tuple[str, ...],
    calibrator: Calibrator | None,
    protocols: Sequence[Protocol] = (),
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
    check_mismatch(used, filter(None, (protocol.canonical_baseline for protocol in protocols)), recalx_mismatch)
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
    complement: bool = False,
) -> Doubles:
    """Returns the read-out of class `target` for logits (P, K): float64 (P,).

    `raw`: the uncalibrated softmax (or the sigmoid, for a sigmoid head); `calibrated`: the same of the calibrated
    logits; `logit`: the raw logit; `sigmoid`: 1 / (1 + exp(−logit)). With `complement`, one less a probability, from
    the logits of the others: it keeps its digits where the probability is all but 1.

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

        return np.asarray(expit(-values[:, target] if complement else values[:, target]))
    shares = np.exp(values - values.max(axis=1, keepdims=True))
    total = shares.sum(axis=1)
    if complement:
        return np.asarray(np.delete(shares, target, axis=1).sum(axis=1) / total)
    return np.asarray(shares[:, target] / total)


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


@runtime_checkable
class PerPassScale(typing.Protocol):
    """A calibrator that multiplies all logits of a pass by one number, which depends on what the pass shows."""

    def scales(self, perturbed_fraction: Doubles) -> Doubles:
        """Returns that number for each perturbed fraction λ (P,), float64 (P,): calibrated logits are scale · z."""


def readable(readouts: Sequence[str], calibrator: Calibrator | None, *, per_pass: bool = False) -> bool:
    """Returns whether a device can make these read-outs.

    It can make raw, logit and sigmoid; and `calibrated` by one temperature, by a factor and an offset a class, or,
    where `reading` will be told perturbed fractions (`per_pass`), by a temperature that depends on them.
    """
    if "calibrated" not in readouts:
        return True
    if isinstance(calibrator, PerPassScale):
        return per_pass
    return calibrator is not None and calibrator.method in ("temperature", "identity", *CLASSWISE)


def reading(
    readouts: Sequence[str],
    targets: Ints,
    *,
    calibrator: Calibrator | None = None,
    perturbed_fraction: Doubles | None = None,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Reading:
    """Returns `readable` read-outs as a device takes them; `perturbed_fraction` (P,) for a `PerPassScale`.

    Example:
        >>> reading(("raw", "logit"), np.zeros(1, np.int32)).kinds.tolist()
        [0, 1]
    """
    squash, mapped = (SIGMOID, MAPPED_SIGMOID) if activation == "sigmoid" else (SOFTMAX, MAPPED_SOFTMAX)
    kinds = {"logit": LOGIT, "sigmoid": SIGMOID, "calibrated": squash}
    scales = np.ones((len(targets), len(readouts)), np.float32)
    weights = offsets = None
    if "calibrated" in readouts and calibrator is not None:
        column = list(readouts).index("calibrated")
        if isinstance(calibrator, PerPassScale):
            assert perturbed_fraction is not None  # `readable` says that it has to be told
            scales[:, column] = calibrator.scales(perturbed_fraction)
        elif calibrator.method in CLASSWISE:
            kinds["calibrated"] = mapped
            weights, offsets = (np.asarray(calibrator.parameters()[name]) for name in CLASSWISE[calibrator.method])
        elif calibrator.method == "temperature":
            scales[:, column] = 1 / float(calibrator.parameters()["temperature"])
    return Reading(
        targets=np.ascontiguousarray(targets, np.int32),
        kinds=np.array([kinds.get(name, squash) for name in readouts], np.int32),
        scales=scales,
        weights=weights,
        offsets=offsets,
    )
