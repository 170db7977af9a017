"""Which calibrator to take: the one of lowest cross-validated NLL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.error import per_sample
from c2i_fast.calibration.interface import CALIBRATORS, new_calibrator, serving
from c2i_fast.calibration.label_error import label_outcomes
from c2i_fast.calibration.label_split import stratified_parts
from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Calibrator, Doubles

FOLDS = 5

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What cross-validation found.

    Attributes:
        losses: float64 (N,) by method, −log p_y of each sample under the calibrator that had not seen it; best first.
        refused: why a method could not be tried.
        folds: how many there were.
    """

    losses: Mapping[str, Doubles]
    refused: Mapping[str, str]
    folds: int

    @property
    def names(self) -> tuple[str, ...]:
        """The methods tried, lowest mean loss first."""
        return tuple(self.losses)


def choose(logits: NDArray[Any], labels: NDArray[Any], seed: int, activation: Activation = "softmax") -> Choice:
    """Returns every calibrator for such heads that can be fitted, ranked by its cross-validated NLL.

    Five folds (fewer samples, fewer folds), seeded, stratified where each class has as many samples as there are folds;
    for a sigmoid head so that each label keeps its share.

    Args:
        logits: (N, K), checked.
        labels: int64 (N,), checked; for a sigmoid head bool (N, K).
        seed: of the folds.
        activation: of the head.

    Raises:
        InputError: fewer than two samples.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 40), np.array([0, 0, 0, 1] * 10)
        >>> round(float(choose(logits, labels, seed=0).losses["temperature"].mean()), 4)  # the entropy of 3 in 4
        0.5623
    """
    if len(labels) < 2:
        raise InputError("auto needs at least two samples to fit on; name one method instead")
    parts = list(_label_folds(labels, seed) if activation == "sigmoid" else _folds(labels, seed))
    losses, refused = {}, {}
    for name in serving(activation):
        if CALIBRATORS[name].needs_perturbed_fraction:
            continue
        try:
            losses[name] = _validated(name, logits, labels, parts, activation)
        except InputError as error:
            refused[name] = str(error)
    ranked = sorted(losses.items(), key=lambda item: float(item[1].mean()))
    return Choice(losses=dict(ranked), refused=refused, folds=len(parts))


def _validated(
    name: str, logits: NDArray[Any], labels: NDArray[Any], parts: list[Fold], activation: Activation
) -> Doubles:
    losses = np.empty(len(labels))
    for fit, held_out in parts:
        calibrator = new_calibrator(name, activation).fit(logits[fit], labels[fit])
        losses[held_out] = sample_nll(logits[held_out], labels[held_out], calibrator, activation)
    return losses


def sample_nll(
    logits: NDArray[Any], labels: NDArray[Any], calibrator: Calibrator | None, activation: Activation
) -> Doubles:
    """Returns the loss of each sample, float64 (N,); for a sigmoid head the mean over its labels."""
    if activation == "sigmoid":
        return np.asarray(label_outcomes(logits, labels, calibrator).nll.mean(axis=1))
    return per_sample(logits, labels, calibrator).nll


def _label_folds(applies: NDArray[np.bool_], seed: int) -> Iterator[Fold]:
    samples, folds = len(applies), min(FOLDS, len(applies))
    sizes = [samples // folds + (number < samples % folds) for number in range(folds)]
    for held_out in stratified_parts(applies, sizes, seed):
        yield np.setdiff1d(np.arange(samples), held_out), held_out


def _folds(labels: NDArray[np.int64], seed: int) -> Iterator[Fold]:
    from sklearn.model_selection import KFold, StratifiedKFold

    folds = min(FOLDS, len(labels))
    _, counts = np.unique(labels, return_counts=True)
    kind = StratifiedKFold if counts.min() >= folds else KFold
    yield from kind(folds, shuffle=True, random_state=seed).split(labels, labels)
