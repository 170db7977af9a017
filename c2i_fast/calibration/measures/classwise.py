"""Class-wise calibration error: every class asked in turn whether its probabilities come true."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_matrix, row_blocks
from c2i_fast.calibration.error import log_probabilities
from c2i_fast.calibration.measures.binning import check_bins, equal_width_index
from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator, Doubles


def ece_classwise(
    logits: ArrayLike,
    labels: ArrayLike,
    binning: str = "gpleiss",
    bins: int | None = None,
    calibrator: Calibrator | None = None,
) -> float:
    """Returns (1/K) Σ_k Σ_b (n_kb/N)·|share of class k in the bin − mean p_k there|, in [0, 1], lower is better.

    Also called SCE or marginal calibration error (Kull et al. 2019, Nixon et al. 2019). The mean over classes; the sum,
    which some report, is K times as large. With many classes nearly all of p is near 0 and the mean says little.
    Computed block by block: memory beside the input is a few MiB and K·B sums.

    Args:
        logits: (N, K), of which the softmax is taken.
        labels: int (N,).
        binning: `gpleiss`, `torchmetrics` or `netcal`.
        bins: B; None takes the convention's own.
        calibrator: fitted; maps the logits first.

    Raises:
        InputError: logits or labels that cannot be used; `equal-mass`, which would need all of p at once.

    Example:
        >>> round(ece_classwise([[2.0, 0.0], [2.0, 0.0]], [0, 1]), 6)
        0.380797
    """
    count = check_bins(bins, binning)
    if binning == "equal-mass":
        raise InputError("class-wise ECE has bins of equal width; expected gpleiss, torchmetrics or netcal")
    array = check_matrix(logits)
    classes = check_labels(labels, array)
    gaps = np.zeros(array.shape[1] * (count + 1))  # one more for the hidden bin of torchmetrics
    for block in row_blocks(*array.shape):
        mapped = array[block] if calibrator is None else calibrator.transform(array[block])
        gaps += _gap_sums(np.exp(log_probabilities(mapped)), classes[block], count, binning)
    return float(np.abs(gaps).sum() / array.size)


def _gap_sums(p: Doubles, labels: NDArray[np.int64], bins: int, binning: str) -> Doubles:
    """Σ (1[k = y] − p_k) of each class and bin, flat (K·(B+1),): the counts cancel out of the weighted mean."""
    np.minimum(p, 1.0, out=p)  # a softmax can round to 1 + 2⁻⁵²
    index = equal_width_index(p, bins, binning) + (bins + 1) * np.arange(p.shape[1])
    size = p.shape[1] * (bins + 1)
    hits = np.bincount(index[np.arange(len(p)), labels], minlength=size)
    return np.asarray(hits - np.bincount(index.ravel(), p.ravel(), size), np.float64)
