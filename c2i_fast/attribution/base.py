"""What a saliency method is: a class built from a `Context` whose `explain` turns images and targets into maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from c2i_fast.attribution.follow import followed
from c2i_fast.errors import InputError
from c2i_fast.types import Activation, Calibrator, Doubles, Floats, MaskedPasses, Preprocessing, Taps

if TYPE_CHECKING:
    import torch

Need = Literal["nothing", "passes", "torch"]
Readout = Callable[[NDArray[Any], NDArray[Any]], Doubles]
# What a method follows unless told: passes the probability, as RISE does, and gradients the logit, as Grad-CAM does.
DEFAULT_FOLLOW: dict[Need, str | None] = {"nothing": None, "passes": "raw", "torch": "logit"}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may use. Each takes what its `needs` names and leaves the rest.

    Attributes:
        passes: masked passes through the engine; what `needs = "passes"` asks for.
        taps: layers of the network, read through the engine.
        module: normalised (N, C, *space) → network output; what `needs = "torch"` asks for.
        preprocessing: how pixels become the module's input, which outputs are classes, and what `zero` is in pixels.
        activation: what makes the logits probabilities.
        follow: `raw`, `calibrated`, `logit` or `calibrated-logit`; None is the method's own, `DEFAULT_FOLLOW`.
        calibrator: of the two calibrated ones.
        readout: logits (P, K) and targets (P,) → what masked passes follow instead, float64 (P,).
        seed: of every random number.
        options: of this method, by the names in its `defaults`; what is missing takes the default.
    """

    passes: MaskedPasses | None = None
    taps: Taps | None = None
    module: torch.nn.Module | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    activation: Activation = "softmax"
    follow: str | None = None
    calibrator: Calibrator | None = None
    readout: Readout | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def read(self, logits: NDArray[Any], targets: NDArray[Any], perturbed_fraction: Doubles | None = None) -> Doubles:
        """Returns what masked passes follow, of logits (P, K), targets (P,) and shares of the image hidden (P,).

        Example:
            >>> Context().read(np.zeros((1, 4)), np.array([2]))
            array([0.25])
        """
        if self.readout is not None:
            return self.readout(logits, targets)
        return followed(
            self.follow or "raw",
            logits,
            targets,
            calibrator=self.calibrator,
            activation=self.activation,
            perturbed_fraction=perturbed_fraction,
        )

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

    Two more where they hold: `own_target`, no read-out of the context is followed; `gives_fraction`, `Context.read` is
    told how much of the image each pass hides.
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
