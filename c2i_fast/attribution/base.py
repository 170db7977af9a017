"""What a saliency method is: a class built from a `Context` whose `explain` turns images and targets into maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Doubles, Floats, MaskedPasses, Preprocessing, Taps

if TYPE_CHECKING:
    import torch

Need = Literal["nothing", "passes", "torch"]
Readout = Callable[[NDArray[Any], NDArray[Any]], Doubles]


def target_probability(logits: NDArray[Any], targets: NDArray[Any]) -> Doubles:
    """Returns the raw softmax probability of each row's target, float64 (P,), from logits (P, K) and targets (P,).

    Example:
        >>> target_probability(np.zeros((1, 4)), np.array([2]))
        array([0.25])
    """
    shifted = np.asarray(logits, np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    chosen = np.take_along_axis(shifted, np.asarray(targets)[:, None], axis=1)[:, 0]
    probability: Doubles = chosen / shifted.sum(axis=1)
    return probability


def target_sigmoid(logits: NDArray[Any], targets: NDArray[Any]) -> Doubles:
    """Returns the raw probability of each row's target under a sigmoid head, float64 (P,).

    Example:
        >>> target_sigmoid(np.zeros((1, 1)), np.array([0]))
        array([0.5])
    """
    from scipy.special import expit

    chosen = np.take_along_axis(np.asarray(logits, np.float64), np.asarray(targets)[:, None], axis=1)[:, 0]
    return np.asarray(expit(chosen))


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may use. Each takes what its `needs` names and leaves the rest.

    Attributes:
        passes: masked passes through the engine; what `needs = "passes"` asks for.
        taps: layers of the network, read through the engine.
        module: normalised (N, C, *space) → network output; what `needs = "torch"` asks for.
        preprocessing: how pixels become the module's input, which outputs are classes, and what `zero` is in pixels.
        activation: what makes the logits probabilities.
        readout: logits (P, K) and targets (P,) → what masked passes follow, float64 (P,); None is the raw probability.
        seed: of every random number.
        options: of this method, by the names in its `defaults`; what is missing takes the default.
    """

    passes: MaskedPasses | None = None
    taps: Taps | None = None
    module: torch.nn.Module | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    activation: Activation = "softmax"
    readout: Readout | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, logits: NDArray[Any], targets: NDArray[Any]) -> Doubles:
        """Returns the read-out of logits (P, K) for targets (P,), float64 (P,)."""
        own = target_sigmoid if self.activation == "sigmoid" else target_probability
        return (self.readout or own)(logits, targets)

    def settings(self, method: type[Method]) -> dict[str, Any]:
        """Returns the method's defaults overridden by `options`; an option it does not have is an `InputError`."""
        unknown = sorted(set(self.options) - set(method.defaults))
        if unknown:
            known = ", ".join(method.defaults) or "none"
            raise InputError(f"{method.name} has no option {unknown[0]!r}; it has: {known}")
        return {**method.defaults, **self.options}


class Method(Protocol):
    """A saliency method. Maps are any real values, higher = more relevant.

    Attributes:
        name: as registered.
        needs: which part of the context it cannot do without.
        defaults: its options with their default values.
        passes_used: images sent through the classifier so far; it grows while `explain` runs.
    """

    name: ClassVar[str]
    needs: ClassVar[Need]
    defaults: ClassVar[Mapping[str, Any]]
    passes_used: int

    def __init__(self, context: Context) -> None: ...

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns one map an image, float32 (N, *space).

        Args:
            ids: of the images; the key of random numbers that belong to an image.
            images: float32 (N, C, *space) in the units of the fused graph's `pixels`.
            targets: class indices (N,), after leading classes have been dropped.
        """
        ...


@runtime_checkable
class MakesMore(Protocol):
    """A method that makes something besides its maps, which is no saliency map itself: an uncertainty.

    Attributes:
        further: names of what is made.
        further_maps: of the last call, float32 (N, *space) by those names.
    """

    further: ClassVar[tuple[str, ...]]
    further_maps: Mapping[str, Floats]


def check_batch(ids: Sequence[str], images: NDArray[Any], targets: NDArray[Any]) -> None:
    """Raises an `InputError` unless there is one id and one target an image, and images are (N, C, *space)."""
    if images.ndim < 3 or not len(ids) == len(images) == len(targets):
        raise InputError(
            f"expected images (N, C, *space) with N ids and N targets, got images {images.shape}, "
            f"{len(ids)} ids and {len(targets)} targets"
        )


def check_targets(targets: NDArray[Any], classes: int) -> None:
    """Raises an `InputError` when a target is not one of `classes` classes."""
    outside = [int(target) for target in targets if not 0 <= target < classes]
    if outside:
        raise InputError(f"target {outside[0]} is not one of the model's {classes} classes (0 to {classes - 1})")
