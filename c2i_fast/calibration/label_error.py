"""Calibration measures of a sigmoid head, whose K ≥ 1 labels apply or not, each by itself; pure functions of arrays.

All take logits (N, K), raw or calibrated, and look at their sigmoid in float64.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_applies, check_matrix, row_blocks
from c2i_fast.calibration.measures.binned import ece
from c2i_fast.types import Calibrator, Doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOutcomes:
    """What a sigmoid head said of every sample and label, and what was so.

    Attributes:
        probability: float64 (N, K), that the label applies.
        applies: bool (N, K).
        nll: float64 (N, K), the binary cross-entropy −y·log p − (1 − y)·log(1 − p), ≥ 0.
    """

    probability: Doubles
    applies: NDArray[np.bool_]
    nll: Doubles

    @property
    def brier(self) -> Doubles:
        """(p − y)², float64 (N, K), in [0, 1]."""
        return np.asarray((self.probability - self.applies) ** 2)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the label applies exactly where p ≥ 0.5, bool (N, K)."""
        return np.asarray((self.probability >= 0.5) == self.applies)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMeasures:
    """Means over samples and labels, N·K numbers, but for the last three.

    Attributes:
        nll: binary cross-entropy, natural logarithm, ≥ 0.
        ece: mean over labels of the ECE of p against how often the label applies (15 equal-width bins, `(lo,hi]`).
        brier: (p − y)², in [0, 1].
        accuracy: share of labels that apply exactly where p ≥ 0.5.
        ece_worst: the largest ECE of a label.
        ece_worst_label: its index.
        exact_match: share of samples all of whose labels are right in that sense.
    """

    nll: float
    ece: float
    brier: float
    accuracy: float
    ece_worst: float
    ece_worst_label: int
    exact_match: float

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return asdict(self)


def label_outcomes(logits: ArrayLike, labels: ArrayLike, calibrator: Calibrator | None = None) -> LabelOutcomes:
    """Returns the outcomes of logits (N, K) as they are, or as a fitted `calibrator` maps them.

    Args:
        logits: (N, K), K ≥ 1.
        labels: (N, K) of 0 and 1.
        calibrator: of sigmoid heads.

    Raises:
        InputError: logits or labels that cannot be used.

    Example:
        >>> label_outcomes([[0.0, 2.0]], [[1, 1]]).nll.round(6)
        array([[0.693147, 0.126928]])
    """
    array = check_matrix(logits, least=1)
    applies = check_applies(labels, array)
    probability, loss = np.empty(array.shape), np.empty(array.shape)
    for block in row_blocks(*array.shape):
        raw = array[block]
        z = raw.astype(np.float64) if calibrator is None else calibrator.transform(raw)
        probability[block] = np.exp(-np.logaddexp(0, -z))
        loss[block] = np.logaddexp(0, np.where(applies[block], -z, z))
    return LabelOutcomes(probability=probability, applies=applies, nll=loss)


def label_eces(outcomes: LabelOutcomes) -> Doubles:
    """Returns the ECE of each label, float64 (K,): 15 bins of equal width, `(lo,hi]`."""
    pairs = zip(outcomes.probability.T, outcomes.applies.T, strict=True)
    return np.array([ece(p, y) for p, y in pairs])


def label_measures(outcomes: LabelOutcomes) -> LabelMeasures:
    """Returns the measures of a part.

    Example:
        >>> found = label_measures(label_outcomes([[0.0, 2.0]], [[1, 1]]))
        >>> found.accuracy, found.exact_match, found.ece_worst_label, round(found.ece, 4)
        (1.0, 1.0, 0, 0.3096)
    """
    errors, correct = label_eces(outcomes), outcomes.correct
    return LabelMeasures(
        nll=float(outcomes.nll.mean()),
        ece=float(errors.mean()),
        brier=float(outcomes.brier.mean()),
        accuracy=float(correct.mean()),
        ece_worst=float(errors.max()),
        ece_worst_label=int(errors.argmax()),
        exact_match=float(correct.all(axis=1).mean()),
    )
