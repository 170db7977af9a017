"""Read-outs on the device: which of them, of which class, for every pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from c2i_fast.types import Calibrator, Floats, Ints

SOFTMAX, LOGIT, SIGMOID = range(3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What is to be read from logits (P, K): float32 (P, R) instead of them.

    Attributes:
        targets: int32 (P,), the class followed by each pass.
        kinds: int32 (R,), 0 softmax of logits × scale, 1 the logit, 2 sigmoid of logit × scale.
        scales: float32 (R,).
    """

    targets: Ints
    kinds: Ints
    scales: Floats


def reading(
    readouts: Sequence[str],
    targets: Ints,
    *,
    calibrator: Calibrator | None = None,
    activation: Literal["softmax", "sigmoid"] = "softmax",
) -> Reading | None:
    """Returns the read-outs as the kernel takes them, or None where one of them has to be read on the host.

    Raw, logit and sigmoid can be read on the device, and `calibrated` by temperature or identity.

    Example:
        >>> reading(("raw", "logit"), np.zeros(1, np.int32)).kinds.tolist()
        [0, 1]
    """
    squash = SIGMOID if activation == "sigmoid" else SOFTMAX
    kinds, scales = [], []
    for name in readouts:
        scale = 1.0
        if name == "calibrated":
            method = calibrator.method if calibrator else None
            if calibrator is None or method not in ("temperature", "identity"):
                return None
            scale = 1 / float(calibrator.parameters()["temperature"]) if method == "temperature" else 1.0
        kinds.append({"logit": LOGIT, "sigmoid": SIGMOID}.get(name, squash))
        scales.append(scale)
    return Reading(
        targets=np.ascontiguousarray(targets, np.int32),
        kinds=np.asarray(kinds, np.int32),
        scales=np.asarray(scales, np.float32),
    )
