"""What a network answers, checked on random images: class scores of the right shape, one row an image, no softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import ContractError, InputError
from c2i_fast.models.running import difference
from c2i_fast.types import Activation, Preprocessing

MIXING_TOLERANCE = 1e-3  # kernels chosen by batch size stay far below, batch statistics and dropout far above


def count_classes(
    answer: NDArray[Any],
    images: int,
    preprocessing: Preprocessing,
    name: str,
    activation: Activation = "softmax",
) -> int:
    """Returns K: the columns of one answer (N, K + drop_class) without the leading classes that are left out.

    Args:
        answer: what the network returned for `images` images.
        images: N.
        preprocessing: says what is dropped, and whether the answer is logits.
        name: of the classifier, for messages.
        activation: a softmax needs two classes, a sigmoid one.

    Raises:
        InputError: another shape or type, too few classes, probabilities where logits were expected, or none where they
            were declared.
        ContractError: numbers that are not finite.

    Example:
        >>> count_classes(np.array([[1, 2, 4]], np.float32), 1, Preprocessing(drop_class=1), "net.onnx")
        2
    """
    if answer.dtype != np.float32:
        raise InputError(f"{name}: the output must be float32 scores, got {answer.dtype}; choose another by --output")
    if answer.ndim != 2 or answer.shape[0] != images:
        raise InputError(
            f"{name}: the output must be (N, K), one row of class scores an image; got {answer.shape} for N = {images}"
        )
    classes = int(answer.shape[1]) - preprocessing.drop_class
    if classes < (2 if activation == "softmax" else 1):
        least, hint = (2, "; one output a label is --activation sigmoid") if activation == "softmax" else (1, "")
        raise InputError(
            f"{name}: at least {least} classes are needed, got {answer.shape[1]} less {preprocessing.drop_class} "
            f"dropped{hint}"
        )
    if not np.isfinite(answer).all():
        raise ContractError(f"{name}: the network returns NaN or infinity for ordinary images; check its weights")
    if preprocessing.outputs == "logits" and _are_probabilities(answer):
        raise InputError(f"{name}: {PROBABILITIES}")
    if preprocessing.outputs == "probabilities" and not within_unit(answer):
        raise InputError(f"{name}: --outputs probabilities, but there are answers outside 0..1; leave it out")
    return classes


def within_unit(answer: NDArray[Any]) -> bool:
    """Returns whether all answers could be probabilities, rounding aside.

    Example:
        >>> within_unit(np.array([0.0, 1.0])), within_unit(np.array([-0.1]))
        (True, False)
    """
    return bool((answer >= -1e-5).all() and (answer <= 1 + 1e-5).all())


PROBABILITIES = (
    "outputs are probabilities where logits were expected; pass --outputs probabilities or name the logits by --output"
)


def _are_probabilities(answer: NDArray[Any]) -> bool:
    return answer.shape[1] > 1 and bool(
        (answer >= 0).all() and np.abs(answer.sum(axis=1, dtype=np.float64) - 1).max() < 1e-4
    )


def refuse_mixing(alone: NDArray[Any], together: NDArray[Any], name: str) -> None:
    """Raises `ContractError` where the first image's row depends on the images beside it, or on chance.

    Masked images are packed into batches in any order: a network in training mode, whose batch statistics or dropout
    are still on, would answer something else each time.

    Args:
        alone: (1, K) of the first image by itself.
        together: (N, K) of a batch that it leads.
        name: of the classifier, for messages.
    """
    if difference(alone, together[:1]) > MIXING_TOLERANCE:
        raise ContractError(
            f"{name}: an image's scores change with the other images of its batch, or its place among them; "
            "export the network in eval mode"
        )
