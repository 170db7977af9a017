"""ReCalX: a temperature for each level of perturbation, so that what a masked image shows is calibrated as well.

Decker, Tresp, Buettner: Improving Perturbation-based Explanations by Understanding the Role of Uncertainty Calibration,
NeurIPS 2025 (arXiv 2511.10439).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from c2i_fast.calibration.checks import check_labels, check_logits, check_matrix
from c2i_fast.calibration.stored import check_keys, read_array, read_bound, require_fitted
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError
from c2i_fast.types import Calibrator, Doubles

if TYPE_CHECKING:
    import onnx_ir as ir

FLOOR, CEILING = 1e-3, 20.0
MOST_LEVELS = 1000
MISMATCH = ("refuse", "ok")


def level_edges(levels: int) -> NDArray[np.float32]:
    """Returns the inner edges of B levels of equal width over [0, 1], float32 (B−1,): b / B for b = 1..B−1.

    Example:
        >>> level_edges(4).tolist()
        [0.25, 0.5, 0.75]
    """
    return (np.arange(1, levels) / levels).astype(np.float32)


def level_of(perturbed_fraction: ArrayLike, levels: int) -> NDArray[np.intp]:
    """Returns the level b of each perturbed fraction λ: b/B ≤ λ < (b+1)/B, and B − 1 for λ = 1.

    λ and the edges are compared in float32, here as in graphs, so that the two never differ.

    Raises:
        InputError: λ outside [0, 1], or NaN.

    Example:
        >>> level_of([0.0, 0.0999, 0.1, 0.95, 1.0], 10).tolist()
        [0, 0, 1, 9, 9]
    """
    fractions = np.asarray(perturbed_fraction)
    if fractions.dtype.kind not in "iuf" or not ((fractions >= 0) & (fractions <= 1)).all():  # NaN compares false
        raise InputError("expected perturbed fractions in [0, 1], 0 for a clean image and 1 for a fully perturbed one")
    return np.searchsorted(level_edges(levels), fractions.astype(np.float32), side="right")


class ReCalX:
    """The map z → β_b · z, b the level of the image's perturbed fraction λ: temperature scaling with T = 1/β_b.

    B levels of equal width over λ in [0, 1], each with its lower edge and without its upper one, but for the last,
    which has λ = 1 (`level_of`). λ is the share of pixels at the baseline and is told by whoever made the mask; it is
    never found out by comparing images. `fit` gives each level the exact minimiser of its own samples' mean negative
    log-likelihood. The predicted class never changes. With one level it is temperature scaling, whatever λ is.

    Args:
        levels: B.
        baseline: what perturbed pixels were replaced by; the map is valid for it alone. `zero` is `mean`.
        mask_law: how the masks it is fitted on are drawn, as JSON; kept, not read.

    Attributes:
        inverse_temperatures_: float64 (B,), β, within 1e-3..20. A level without samples has the nearest fitted level's,
            of two the lower one's.
        at_bound_: (B,) of `lower` or `upper` where β is that bound and the optimum lies there or beyond, else None.
        samples_: (B,) how many samples each level was fitted on.

    Example:
        >>> logits, labels = np.array([[2.0, 0.0]] * 8), np.array([0, 0, 0, 1, 0, 0, 1, 1])
        >>> fitted = ReCalX(levels=2).fit(logits, labels, np.repeat([0.0, 0.9], 4))
        >>> fitted.inverse_temperatures_.round(4)  # 3 of 4 right: log 3 / 2; 2 of 4 right: 0, which is kept off
        array([0.5493, 0.001 ])
        >>> fitted.at_bound_
        (None, 'lower')
    """

    method = "recalx"
    preserves_order = True
    needs_perturbed_fraction = True
    activations = ("softmax",)

    inverse_temperatures_: Doubles
    at_bound_: tuple[str | None, ...]
    samples_: tuple[int, ...]

    def __init__(self, levels: int = 10, baseline: str = "mean", mask_law: Mapping[str, Any] | None = None) -> None:
        self.levels = levels
        self.baseline = canonical(baseline)
        self.mask_law = mask_law
        self.needs_perturbed_fraction = levels != 1

    def fit(self, logits: ArrayLike, labels: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Self:
        """Learns β from raw logits (N, K), the labels (N,) of the clean images and λ (N,), and returns itself.

        Raises:
            InputError: `levels` outside 1..1000; λ missing (of several levels), outside [0, 1] or not one a sample;
                logits or labels as for `Temperature`.
        """
        if not 1 <= self.levels <= MOST_LEVELS:
            raise InputError(f"expected 1 to {MOST_LEVELS} levels, got {self.levels}")
        rows = check_logits(logits)
        classes = check_labels(labels, rows)
        level = self._levels(perturbed_fraction, len(rows))
        samples = np.bincount(level, minlength=self.levels)
        fitted = [_fitted(rows[level == b], classes[level == b]) if samples[b] else None for b in range(self.levels)]
        chosen = [fitted[b] for b in nearest(samples > 0)]
        self.inverse_temperatures_ = np.array([each[0] for each in chosen if each])
        self.at_bound_ = tuple(each[1] for each in chosen if each)
        self.samples_ = tuple(int(count) for count in samples)
        return self

    def transform(self, logits: ArrayLike, perturbed_fraction: ArrayLike | None = None) -> Doubles:
        """Returns β_b · logits (as a division by 1/β_b), float64 (N, K), b the level of each λ (N,).

        Raises:
            InputError: λ missing (of several levels), outside [0, 1] or not one a row.

        Example:
            >>> two = {"levels": 2, "inverse_temperatures": [1, 0.5], "at_bound": [None, None], "samples": [9, 9],
            ...        "baseline": "mean", "mask_law": None}
            >>> ReCalX.from_parameters(two).transform([[2.0, 0.0], [2.0, 0.0]], [0.0, 0.5])
            array([[2., 0.],
                   [1., 0.]])
        """
        divisors = self._temperatures()
        rows = check_matrix(logits)
        quotient: Doubles = np.divide(
            rows, divisors[self._levels(perturbed_fraction, len(rows))][:, None], dtype=np.float64
        )
        return quotient

    def scales(self, perturbed_fraction: Doubles) -> Doubles:
        """Returns β_b of the level b of each λ (P,), float64 (P,): what a device multiplies logits by."""
        return np.asarray(1 / self._temperatures()[self._levels(perturbed_fraction, len(perturbed_fraction))])

    def parameters(self) -> dict[str, Any]:
        """Returns `levels`, `inverse_temperatures` (β), `at_bound`, `samples`, `baseline` and `mask_law`."""
        return {
            "levels": self.levels,
            "inverse_temperatures": require_fitted(self, "inverse_temperatures_").tolist(),
            "at_bound": list(self.at_bound_),
            "samples": list(self.samples_),
            "baseline": self.baseline,
            "mask_law": None if self.mask_law is None else dict(self.mask_law),
        }

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Returns the calibrator with these parameters, all of them required.

        Raises:
            InputError: unknown, missing or impossible parameters.
        """
        check_keys(parameters, ("levels", "inverse_temperatures", "at_bound", "samples", "baseline", "mask_law"), ())
        levels, baseline, law = (parameters[name] for name in ("levels", "baseline", "mask_law"))
        if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= MOST_LEVELS:
            raise InputError(f"expected levels to be a whole number in 1..{MOST_LEVELS}, got {levels!r:.40}")
        if not isinstance(baseline, str) or not (law is None or isinstance(law, Mapping)):
            raise InputError(f"expected baseline as text and mask_law as an object, got {baseline!r:.40}, {law!r:.40}")
        bounds, samples = parameters["at_bound"], read_array(parameters["samples"], "samples", (levels,), 0, 1e15)
        if not isinstance(bounds, list | tuple) or len(bounds) != levels or (samples != samples.astype(int)).any():
            raise InputError(
                f"expected at_bound and samples of {levels} levels, samples as whole numbers; fit it again"
            )
        calibrator = cls(levels, baseline, law)
        beta = read_array(parameters["inverse_temperatures"], "inverse_temperatures", (levels,), FLOOR, CEILING)
        calibrator.inverse_temperatures_ = beta
        calibrator.at_bound_ = tuple(read_bound(bound, ("lower", "upper")) for bound in bounds)
        calibrator.samples_ = tuple(int(count) for count in samples)
        return calibrator

    def to_graph(self, tape: ir.tape.Tape, logits: ir.Value, perturbed_fraction: ir.Value | None = None) -> ir.Value:
        """Adds the level lookup and a division, and returns float32 (…, K).

        Raises:
            InputError: several levels, and no perturbed fraction.
        """
        from c2i_fast.calibration.nodes import Nodes

        nodes, temperatures = Nodes(tape), self._temperatures()
        if self.levels == 1:
            return nodes.op("Div", logits, nodes.constant("temperature", temperatures[0]))
        if perturbed_fraction is None:
            raise InputError("recalx needs the graph's perturbed_fraction")
        last = nodes.constant("last_axis", [-1], np.int64)
        fraction = nodes.op("Unsqueeze", perturbed_fraction, last)
        passed = nodes.op("GreaterOrEqual", fraction, nodes.constant("edges", level_edges(self.levels)))
        level = nodes.op("ReduceSum", nodes.op("Cast", passed, to=_int32()), last, keepdims=1)
        return nodes.op("Div", logits, nodes.op("Gather", nodes.constant("temperatures", temperatures), level, axis=0))

    def _temperatures(self) -> Doubles:
        # T ↦ 1/T ↦ 1/(1/T) is the identity on reciprocals that were rounded once, as Temperature's are.
        return cast(Doubles, 1 / require_fitted(self, "inverse_temperatures_"))

    def _levels(self, perturbed_fraction: ArrayLike | None, rows: int) -> NDArray[np.intp]:
        if perturbed_fraction is None:
            if self.levels != 1:
                raise InputError("recalx needs the perturbed fraction of every sample; a clean image has 0")
            return np.zeros(rows, np.intp)
        level = level_of(perturbed_fraction, self.levels)
        if level.shape != (rows,):
            raise InputError(f"expected one perturbed fraction for each of {rows} rows, got shape {level.shape}")
        return level


def _int32() -> int:
    import onnx_ir as ir

    return int(ir.DataType.INT32)


def _fitted(logits: NDArray[Any], labels: NDArray[np.int64]) -> tuple[float, str | None]:
    """Returns β and the bound of β that it is, if any; a bound of T is the other one of β."""
    found = Temperature().fit(logits, labels)
    if found.at_bound_:  # only beyond its bounds is the search another than temperature scaling's
        found = Temperature(bounds=(1 / CEILING, 1 / FLOOR)).fit(logits, labels)
    other = {"lower": "upper", "upper": "lower"}
    return 1 / found.temperature_, None if found.at_bound_ is None else other[found.at_bound_]


def nearest(known: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Returns for each place the nearest one that is known, of two the lower.

    Example:
        >>> nearest(np.array([False, True, False, True, False, False])).tolist()
        [1, 1, 1, 3, 3, 3]
    """
    places = np.flatnonzero(known)
    return np.asarray(places[np.abs(np.arange(len(known))[:, None] - places).argmin(axis=1)])


def canonical(baseline: str) -> str:
    """Returns a baseline's one name; `zero` in the network's normalised space is `mean` in pixels."""
    return "mean" if baseline == "zero" else baseline


def check_mismatch(calibrator: Calibrator | None, baselines: Iterable[str], mismatch: str) -> None:
    """Raises an `InputError` where a ReCalX would read passes of another baseline than it was fitted for.

    Args:
        calibrator: of the read-out `calibrated`.
        baselines: of the protocols to be read.
        mismatch: `refuse`, or `ok` for whoever wants it all the same.
    """
    if mismatch not in MISMATCH:
        raise InputError(f"expected --recalx-mismatch {' or '.join(MISMATCH)}, got {mismatch!r}")
    if not isinstance(calibrator, ReCalX) or mismatch == "ok":
        return
    others = sorted({canonical(name) for name in baselines} - {calibrator.baseline})
    if others:
        raise InputError(
            f"this ReCalX was fitted for the baseline {calibrator.baseline}, and what is to be scored has "
            f"{', '.join(others)}; fit one with --baseline {others[0]}, or give --recalx-mismatch ok"
        )
