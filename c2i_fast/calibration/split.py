"""Which samples a calibrator is fitted on and which judge it: seeded, stratified, disjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Row numbers of the two parts, each ascending; together every row once.

    Attributes:
        note: why the split could not be stratified, else None.
    """

    fit: Indices
    test: Indices
    note: str | None = None


def split_samples(labels: NDArray[np.int64], fit_fraction: float, seed: int) -> Split:
    """Returns the split with `fit_fraction` of the samples for fitting, classes in proportion in both parts.

    With 1 all samples are for fitting. Below 1 neither part is empty. A plain shuffle serves where classes cannot be in
    proportion: one has a single member, or a part has fewer samples than there are classes.

    Raises:
        InputError: a fraction outside (0, 1], a seed outside 0..2³²−1, or a single sample to split.

    Example:
        >>> split_samples(np.array([0, 0, 1, 1]), 0.5, seed=0).note is None
        True
    """
    samples = len(labels)
    size = check_split(samples, fit_fraction, seed)
    if size == samples:
        return Split(fit=np.arange(samples), test=np.arange(0))
    reason = _why_not_stratified(labels, size)
    if reason is None:
        return _stratified(labels, size, seed)
    order = np.random.default_rng(seed).permutation(samples)
    note = f"the split is a plain shuffle, not stratified: {reason}"
    return Split(fit=np.sort(order[:size]), test=np.sort(order[size:]), note=note)


def check_split(samples: int, fit_fraction: float, seed: int) -> int:
    """Returns how many samples are for fitting: all with a fraction of 1, below it at least one and not all.

    Raises:
        InputError: as `split_samples`.
    """
    if not 0 < fit_fraction <= 1:
        raise InputError(f"expected a fit fraction above 0 and at most 1, got {fit_fraction}")
    if not 0 <= seed < 2**32:
        raise InputError(f"expected a seed in 0..2**32−1, got {seed}")
    if fit_fraction == 1:
        return samples
    if samples == 1:
        raise InputError("one sample cannot be split into a fit and a test part; use a fit fraction of 1")
    return min(max(round(fit_fraction * samples), 1), samples - 1)


def _why_not_stratified(labels: NDArray[np.int64], size: int) -> str | None:
    classes, counts = np.unique(labels, return_counts=True)
    smaller = min(size, len(labels) - size)
    if counts.min() == 1:
        return f"class {classes[counts.argmin()]} has one sample"
    return f"{len(classes)} classes and {smaller} samples in a part" if smaller < len(classes) else None


def _stratified(labels: NDArray[np.int64], size: int, seed: int) -> Split:
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(1, train_size=size, test_size=len(labels) - size, random_state=seed)
    fit, test = next(splitter.split(labels, labels))
    return Split(fit=np.sort(fit), test=np.sort(test))
