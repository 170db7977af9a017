"""What a map follows: the logit or the probability of its class, as the network gives it or calibrated.

*Calibrate to Interpret* compares an uncalibrated logit with a calibrated probability, which mixes two changes; with the
four names here each can be asked for alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.metrics.readout import read
from c2i_fast.types import Activation, Calibrator, Doubles

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

Follow = Literal["raw", "calibrated", "logit", "calibrated-logit"]
FOLLOWED: tuple[Follow, ...] = get_args(Follow)


def is_calibrated(follow: str | None) -> bool:
    """Returns whether what is followed depends on a calibrator.

    Example:
        >>> is_calibrated("calibrated-logit"), is_calibrated("raw")
        (True, False)
    """
    return follow in ("calibrated", "calibrated-logit")


def check_follow(follow: str, calibrator: Calibrator | None) -> str:
    """Returns the name; an `InputError` for an unknown one, or a calibrated one without a calibrator."""
    if follow not in FOLLOWED:
        raise InputError(f"there is no read-out {follow!r} to explain; known: {', '.join(FOLLOWED)}")
    if is_calibrated(follow) and calibrator is None:
        raise InputError(
            f"{follow} needs a calibrator: give --calibrator FILE (c2i-fast calibrate makes one), or a model exported "
            "with one"
        )
    return follow


def followed(
    follow: str,
    logits: NDArray[Any],
    targets: NDArray[Any],
    *,
    calibrator: Calibrator | None = None,
    activation: Activation = "softmax",
    perturbed_fraction: Doubles | None = None,
) -> Doubles:
    """Returns what is followed of raw logits (P, K), each of its own target (P,), float64 (P,).

    `raw` is softmax(z)_t (the sigmoid of z_t, for a sigmoid head), `logit` z_t; `calibrated` and `calibrated-logit` are
    the same of z', the calibrator's map of z.

    Args:
        follow: one of `FOLLOWED`.
        logits: raw.
        targets: class indices.
        calibrator: of the two calibrated ones.
        activation: of the head.
        perturbed_fraction: λ of each pass (P,), for a calibrator that depends on it.

    Example:
        >>> followed("raw", np.zeros((1, 4)), np.array([2])), followed("logit", np.array([[3.0, 5.0]]), np.array([1]))
        (array([0.25]), array([5.]))
    """
    check_follow(follow, calibrator)
    targets, values = np.asarray(targets, np.int64), np.asarray(logits)
    if follow == "calibrated-logit" and calibrator is not None:
        values, follow = calibrator.transform(values, perturbed_fraction), "logit"
    numbers = np.empty(len(targets))
    for target in np.unique(targets):
        rows = targets == target
        fraction = None if perturbed_fraction is None else perturbed_fraction[rows]
        numbers[rows] = read(
            follow,
            values[rows],
            int(target),
            calibrator=calibrator,
            perturbed_fraction=fraction,
            activation=activation,
        )
    return numbers


def followed_tensor(
    follow: str,
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    calibrator: Calibrator | None = None,
    activation: Activation = "softmax",
) -> torch.Tensor:
    """Returns `followed` of logits (N, K) and targets (N,), with gradients, (N,).

    The image is whole, so the perturbed fraction is 0.

    Example:
        >>> import torch
        >>> followed_tensor("raw", torch.zeros(1, 4), torch.tensor([2]))
        tensor([0.2500])
    """
    check_follow(follow, calibrator)
    if is_calibrated(follow) and calibrator is not None:
        logits = differentiable(calibrator)(logits)
    if follow in ("raw", "calibrated"):
        logits = logits.sigmoid() if activation == "sigmoid" else logits.softmax(dim=1)
    return logits.gather(1, targets[:, None])[:, 0]


def differentiable(calibrator: Calibrator) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns the calibrator's map in torch: raw logits (N, K) → calibrated ones, in their type and on their device.

    Raises:
        InputError: one whose map is made of steps or corners (histogram, isotonic): its gradient is 0 or missing.

    Example:
        >>> import torch
        >>> from c2i_fast.calibration.spec import calibrator_from_spec
        >>> halved = calibrator_from_spec({"method": "temperature", "parameters": {"temperature": 2}})
        >>> differentiable(halved)(torch.tensor([[2.0, 4.0]]))
        tensor([[1., 2.]])
    """
    if calibrator.method == "recalx":
        scale = float(calibrator.scales(np.zeros(1))[0])  # type: ignore[attr-defined]  # of a whole image, λ = 0
        return lambda z: z * scale
    if calibrator.method not in _MAPS:
        raise InputError(
            f"{calibrator.method} has no useful gradient; follow it with rise, or calibrate by one of: "
            f"{', '.join((*_MAPS, 'recalx'))}"
        )
    parameters, mapped = calibrator.parameters(), _MAPS[calibrator.method]
    return lambda z: mapped(z, parameters)


def _affine(x: torch.Tensor, parameters: dict[str, Any]) -> torch.Tensor:
    return x @ x.new_tensor(parameters["weights"]).T + x.new_tensor(parameters["bias"])


def _mixture(z: torch.Tensor, parameters: dict[str, Any]) -> torch.Tensor:
    """log(w₁·softmax(z/T) + w₂·softmax(z) + w₃/K)."""
    import torch

    terms = torch.stack([z / parameters["temperature"], z, torch.zeros_like(z)]).softmax(dim=2)
    mixed = torch.tensordot(z.new_tensor(parameters["weights"]), terms, dims=1)
    logarithm: torch.Tensor = mixed.clamp_min(float(np.finfo(np.float32).tiny)).log()
    return logarithm


_MAPS: dict[str, Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]] = {
    "temperature": lambda z, p: z / p["temperature"],
    "identity": lambda z, p: z,
    "vector": lambda z, p: z * z.new_tensor(p["weights"]) + z.new_tensor(p["bias"]),
    "platt": lambda z, p: z * z.new_tensor(p["slopes"]) + z.new_tensor(p["intercepts"]),
    "matrix": _affine,
    "dirichlet-odir": lambda z, p: _affine(z.log_softmax(dim=1), p),
    "dirichlet-l2": lambda z, p: _affine(z.log_softmax(dim=1), p),
    "ets": _mixture,
}
