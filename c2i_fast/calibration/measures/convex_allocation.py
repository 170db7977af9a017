"""ECE-AC: adaptive bins and convex allocation, the measure that "Calibrate to Interpret" reports.

Posocco and Bonnefoy, "Estimating Expected Calibration Errors", ICANN 2021. The bins hold equally many samples
(adaptive); a sample belongs to the two bins whose centres surround it (convex). Bins reach from 0 to 1, edges lie
half-way between neighbours in sorted order, centres half-way between edges; beyond the outer centres a sample belongs
to the end bin alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from c2i_fast.calibration.error import check_outcomes
from c2i_fast.calibration.measures.binning import equal_mass_edges
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles


def ece_ac_farther_centre(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Returns Σ_b |Σ_i w_ib (a_i − c_i)|/N, a sample's larger share going to the centre *farther* away, in [0, 1].

    The allocation of the authors' released code: the weight in a bin is d/(d + d'), d being the distance to that bin's
    own centre and d' to the other's. It is the reverse of interpolation; use it only to compare with published numbers.
    A sample exactly on a centre is wholly in the bin below.

    Args:
        confidence: (N,) in [0, 1], of the predicted class.
        correct: (N,) of 0 and 1, bool, or where the truth is known its probability of being correct.
        bins: B.

    Raises:
        InputError: as `check_outcomes`, or fewer bins than one.

    Example:
        >>> round(ece_ac_farther_centre([0.2, 0.4, 0.8, 0.9], [0, 1, 1, 0], bins=2), 6)
        0.135
    """
    return _ece_ac(confidence, correct, bins, farther=True)


def ece_ac_linear(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Returns ECE-AC with linear interpolation: the larger share goes to the nearer centre, d'/(d + d'), in [0, 1].

    What convex allocation is meant to be; it has no jumps as a confidence moves across a centre. Arguments and errors
    are those of `ece_ac_farther_centre`.

    Example:
        >>> round(ece_ac_linear([0.2, 0.4, 0.8, 0.9], [0, 1, 1, 0], bins=2), 6)
        0.215
    """
    return _ece_ac(confidence, correct, bins, farther=False)


def _ece_ac(confidence: ArrayLike, correct: ArrayLike, bins: int, *, farther: bool) -> float:
    sure, right = check_outcomes(confidence, correct, shares=True)
    if bins < 1:
        raise InputError(f"expected at least 1 bin, got {bins}")
    limits = np.concatenate([[0.0], equal_mass_edges(sure, bins), [1.0]])
    return _allocated_gap(sure, right - sure, (limits[1:] + limits[:-1]) / 2, farther)


def _allocated_gap(sure: Doubles, gaps: Doubles, centres: Doubles, farther: bool) -> float:
    if len(centres) == 1:
        return float(abs(gaps.mean()))
    upper = np.clip(np.searchsorted(centres, sure, side="left"), 1, len(centres) - 1)
    lower = upper - 1
    apart = centres[upper] - centres[lower]  # 0 where two centres round to one, as they may next to 0
    share = np.divide(sure - centres[lower], apart, out=np.zeros(len(sure)), where=apart > 0)
    share = np.clip(share, 0, 1)  # of the upper, by interpolation
    if farther:
        inside = (sure > centres[0]) & (sure <= centres[-1])
        share = np.where(inside, 1 - share, share)
    total = np.bincount(lower, gaps * (1 - share), len(centres)) + np.bincount(upper, gaps * share, len(centres))
    return float(np.abs(total).sum() / len(sure))
