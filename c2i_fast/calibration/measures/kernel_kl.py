"""Kernel estimate of the Kullback–Leibler calibration error, E KL(P(Y | f(X)) ‖ f(X)).

Popordanoska, Gruber, Tiulpin, Buettner, Blaschko 2024, "Consistent and Asymptotically Unbiased Estimation of Proper
Calibration Errors": the error is the risk less the entropy that is left, and what is left is estimated by
leave-one-out kernel regression with Dirichlet kernels (Beta for two classes) on the simplex. O(N²·K) time; memory is
one block of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_matrix, row_blocks
from c2i_fast.calibration.error import check_outcomes, log_probabilities
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

MOST_CLASSES = 20
BANDWIDTHS = np.concatenate([np.logspace(-5, -1, 50), np.linspace(0.2, 1.0, 5)])
# 2⁻⁵³, half the gap below 1: a probability that rounded to 0 or 1 is taken to have been this far from it.
SMALLEST = 2.0**-53
LIKELIHOOD_SAMPLES = 1000


def kernel_kl_top_label(confidence: ArrayLike, correct: ArrayLike, bandwidth: float | None = None) -> float:
    """Returns the KL calibration error of "the prediction is right", in nats; can be slightly negative.

    (1/N) Σ_i [q_i log q_i + (1 − q_i) log(1 − q_i)] − (1/N) Σ_i [a_i log c_i + (1 − a_i) log(1 − c_i)], q_i the kernel
    mean of the others' correctness at c_i. For two classes pass the probability of class 1 and whether it occurred:
    that is the binary error. Confidences are kept 2⁻⁵³ away from 0 and 1.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) of 0 and 1, or bool.
        bandwidth: of the Beta kernel, > 0; None takes `kernel_bandwidth`.

    Raises:
        InputError: as `check_outcomes`; fewer than 2 samples; a bandwidth that is not positive.

    Example:
        >>> round(kernel_kl_top_label([0.9, 0.9, 0.9, 0.9], [1, 0, 1, 0], bandwidth=0.02), 6)
        0.567459
    """
    sure, right = check_outcomes(confidence, correct)
    return float(kernel_kl_top_label_sets(sure, right[None], bandwidth)[0])


def kernel_kl_top_label_sets(confidence: Doubles, sets: NDArray[Any], bandwidth: float | None = None) -> Doubles:
    """Returns `kernel_kl_top_label` for each of D sets of outcomes (D, N) of the same confidences, float64 (D,).

    The kernels depend on the confidences only and are computed once.

    Example:
        >>> kernel_kl_top_label_sets(np.full(4, 0.9), np.array([[1, 0, 1, 0], [1, 1, 1, 1]]), 0.02).round(6)
        array([0.567459, 0.105361])
    """
    from scipy.special import xlogy

    p = _binary(confidence)
    width = _check_bandwidth(p, bandwidth)
    outcomes = np.asarray(sets, np.float64).T
    total = -(np.log(p[:, 1]) @ outcomes + np.log(p[:, 0]) @ (1 - outcomes))
    for block in row_blocks(len(p), len(p)):
        kernels = _scaled_kernels(p, block, width)[0]
        q = np.clip(kernels @ outcomes / kernels.sum(axis=1, keepdims=True), 0, 1)
        total += (xlogy(q, q) + xlogy(1 - q, 1 - q)).sum(axis=0)
    return np.asarray(total / len(p))


def kernel_kl_top_label_groups(
    confidence: Doubles, correct: NDArray[Any], groups: NDArray[np.intp], weights: Doubles
) -> Doubles:
    """Returns `kernel_kl_top_label` of samples that come in groups, for each of D weightings of them, float64 (D,).

    Samples of one group (masked versions of one image) share a label, so each q_i is the kernel mean over the samples
    of other groups alone. A group's weight counts in the mean over i and in every kernel mean.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) of 0 and 1, or bool.
        groups: int (N,), numbers 0..G−1, at least two of them different.
        weights: (D, G), above 0.

    Raises:
        InputError: as `check_outcomes`; a single group.

    Example:
        >>> sure, right = np.full(4, 0.9), np.array([1, 0, 1, 0])
        >>> kernel_kl_top_label_groups(sure, right, np.arange(4), np.ones((1, 4))).round(6)
        array([0.567459])
    """
    from scipy.special import xlogy

    sure, outcomes = check_outcomes(confidence, correct)
    if len(np.unique(groups)) < 2:
        raise InputError("the kernel error of grouped samples needs at least 2 groups")
    p = _binary(sure)
    width = _best_bandwidth(p, groups)
    risk = -(outcomes * np.log(p[:, 1]) + (1 - outcomes) * np.log(p[:, 0]))
    own = weights[:, groups]
    member = np.eye(weights.shape[1])[groups]
    total = own @ risk
    for block in row_blocks(len(p), len(p)):
        kernels = _scaled_kernels(p, block, width, groups)[0]
        seen = (kernels @ member) @ weights.T
        q = np.clip((kernels * outcomes @ member) @ weights.T / seen, 0, 1)
        total += np.einsum("db,bd->d", own[:, block], xlogy(q, q) + xlogy(1 - q, 1 - q))
    return np.asarray(total / own.sum(axis=1))


def kl_top_label(confidence: ArrayLike, chance: ArrayLike) -> float:
    """Returns (1/N) Σ_i [µ_i log(µ_i/c_i) + (1 − µ_i) log((1 − µ_i)/(1 − c_i))] in nats, ≥ 0, of known chances µ.

    What `kernel_kl_top_label` tends to with many samples.

    Args:
        confidence: (N,) in [0, 1].
        chance: (N,) in [0, 1], the probability of being correct.

    Raises:
        InputError: as `check_outcomes` for shares.

    Example:
        >>> round(kl_top_label([0.9], [0.5]), 6)
        0.510826
    """
    from scipy.special import rel_entr

    sure, truth = check_outcomes(confidence, chance, shares=True)
    p = _binary(sure)
    return float((rel_entr(truth, p[:, 1]) + rel_entr(1 - truth, p[:, 0])).mean())


def kernel_kl_canonical(logits: ArrayLike, labels: ArrayLike, bandwidth: float | None = None) -> float:
    """Returns the KL calibration error of all K probabilities together, in nats; can be slightly negative.

    (1/N) Σ_i Σ_k q_ik log q_ik + NLL, q_i the kernel mean of the others' one-hot labels at p_i, K ≤ 20: on a simplex
    of more classes no other sample is near.

    Args:
        logits: (N, K), of which the softmax is taken.
        labels: int (N,).
        bandwidth: of the Dirichlet kernel, > 0; None takes `kernel_bandwidth`.

    Raises:
        InputError: K > 20; logits or labels that cannot be used; fewer than 2 samples; a bandwidth not positive.

    Example:
        >>> round(kernel_kl_canonical([[0.0, 0.0]] * 4, [0, 1, 0, 1], bandwidth=0.02), 6)
        0.056633
    """
    array = check_matrix(logits)
    if array.shape[1] > MOST_CLASSES:
        raise InputError(
            f"the canonical kernel error is for at most {MOST_CLASSES} classes, got {array.shape[1]}: "
            "no sample is near another there; use kernel-kl-top-label"
        )
    p, classes = _inside(np.exp(log_probabilities(array))), check_labels(labels, array)
    likelihood = float(np.log(p[np.arange(len(p)), classes]).mean())
    return _mean_negentropy(p, classes, _check_bandwidth(p, bandwidth)) - likelihood


def kernel_bandwidth(probabilities: ArrayLike) -> float:
    """Returns the bandwidth of greatest leave-one-out likelihood among 55 from 1e-5 to 1.

    The density at each sample is the mean of the others' kernels. Of more than 1000 samples, 1000 are taken at equal
    steps in the order of their probabilities, so that the order they came in does not matter.

    Args:
        probabilities: (N, K) on the simplex, N ≥ 2.

    Raises:
        InputError: fewer than 2 samples.

    Example:
        >>> p = np.linspace(0.05, 0.95, 19)
        >>> 0.01 < kernel_bandwidth(np.stack([p, 1 - p], axis=1)) <= 1
        True
    """
    p = _inside(np.asarray(probabilities, np.float64))
    if len(p) < 2:
        raise InputError(f"a leave-one-out kernel needs at least 2 samples, got {len(p)}")
    return _best_bandwidth(p)


def _best_bandwidth(p: Doubles, groups: NDArray[np.intp] | None = None) -> float:
    """The bandwidth of greatest likelihood, each sample (or its whole group) left out of its own density."""
    order = np.lexsort(p.T)
    chosen = order[np.linspace(0, len(p) - 1, min(len(p), LIKELIHOOD_SAMPLES)).round().astype(np.intp)]
    own = None if groups is None else groups[chosen]
    if own is not None and len(np.unique(own)) < 2:  # the samples kept are of one group
        own = None
    scores = [_log_likelihood(p[chosen], float(bandwidth), own) for bandwidth in BANDWIDTHS]
    return float(BANDWIDTHS[int(np.argmax(scores))])


def _inside(p: Doubles) -> Doubles:
    return np.clip(p, SMALLEST, 1 - SMALLEST)


def _binary(confidence: Doubles) -> Doubles:
    return _inside(np.stack([1 - confidence, confidence], axis=1))


def _check_bandwidth(p: Doubles, bandwidth: float | None) -> float:
    if len(p) < 2:
        raise InputError(f"a leave-one-out kernel needs at least 2 samples, got {len(p)}")
    width = kernel_bandwidth(p) if bandwidth is None else bandwidth
    if not width > 0:
        raise InputError(f"expected a bandwidth above 0, got {width:g}")
    return width


def _mean_negentropy(p: Doubles, labels: NDArray[np.int64], bandwidth: float) -> float:
    """(1/N) Σ_i Σ_k q_ik log q_ik."""
    from scipy.special import xlogy

    one_hot = np.eye(p.shape[1])[labels]
    total = 0.0
    for block in row_blocks(len(p), len(p)):
        q = _scaled_kernels(p, block, bandwidth)[0] @ one_hot
        q /= q.sum(axis=1, keepdims=True)
        total += float(xlogy(q, q).sum())
    return total / len(p)


def _log_likelihood(p: Doubles, bandwidth: float, groups: NDArray[np.intp] | None = None) -> float:
    total = 0.0
    for block in row_blocks(len(p), len(p)):
        kernels, largest = _scaled_kernels(p, block, bandwidth, groups)
        total += float((np.log(kernels.sum(axis=1)) + largest).sum())
    return total


def _scaled_kernels(
    p: Doubles, block: slice, bandwidth: float, groups: NDArray[np.intp] | None = None
) -> tuple[Doubles, Doubles]:
    """Kernels (b, N), each row divided by its largest, and the logarithm of that, (b,).

    Scaled because all kernels at a lone sample may be below the smallest float.
    """
    kernels = _log_kernels(p, block, bandwidth)
    if groups is not None:
        kernels[groups[block][:, None] == groups] = -np.inf
    largest = kernels.max(axis=1)
    kernels -= largest[:, None]
    np.exp(kernels, out=kernels)
    return kernels, largest


def _log_kernels(p: Doubles, block: slice, bandwidth: float) -> Doubles:
    """Log Dirichlet(p_j/h + 1) density at p_i for i in the block and every j (b, N); −inf at j = i."""
    from scipy.special import gammaln

    concentration = p / bandwidth
    norm = gammaln(concentration.sum(axis=1) + p.shape[1]) - gammaln(concentration + 1).sum(axis=1)
    density = np.log(p[block]) @ concentration.T
    density += norm
    own = np.arange(*block.indices(len(p)))
    density[own - own[0], own] = -np.inf
    return density
