"""What the methods made of masked passes share: the passes, the baseline, the read-out and the counting."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.base import Context, Method, Need, check_targets
from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import Given, baseline_image, check_baseline
from c2i_fast.types import Doubles, Floats, Ints, MaskedPasses, PerturbationPlan, Tap, Taps


class MaskedMethod(Method):
    """A method whose every number is the read-out of a masked image. `options` are its settings."""

    needs: ClassVar[Need] = "passes"

    def __init__(self, context: Context) -> None:
        self.options: Mapping[str, Any] = context.settings(type(self))
        if context.passes is None:
            raise InputError(f"{self.name} needs masked passes through an engine, and the context has none")
        if "baseline" in self.options:
            check_baseline(self.options["baseline"])
        self.passes_used = 0
        self.context = context
        self.passes: MaskedPasses = context.passes

    def baseline(self, image_id: str, image: Floats) -> Floats:
        """Returns what the option `baseline` makes of an image (C, *space), in pixels."""
        given = Given(pixels=image, preprocessing=self.context.preprocessing, image=image_id, seed=self.context.seed)
        return baseline_image(self.options["baseline"], given)

    def read(self, logits: Floats, targets: NDArray[Any]) -> Doubles:
        """Counts the passes and returns their read-out, float64 (P,)."""
        self.passes_used += len(logits)
        check_targets(targets, logits.shape[1])
        return self.context.read(logits, targets)

    def clean(self, images: Floats, targets: NDArray[Any]) -> Doubles:
        """Returns the read-out of the images as they are, float64 (N,)."""
        return self.read(self.passes.direct(list(images)), targets)

    def blended(
        self, plans: Sequence[PerturbationPlan], targets: NDArray[Any], grids: Floats, axes: Sequence[Floats]
    ) -> Doubles:
        """Returns the read-out of every plan under every soft mask, float64 (N, M)."""
        work: Ints = np.indices((len(plans), len(grids)), np.int32).reshape(2, -1).T.copy()
        logits = self.passes.blend(plans, grids, axes, work)
        return self.read(logits, np.asarray(targets)[work[:, 0]]).reshape(len(plans), -1)

    def taps(self) -> Taps:
        """Returns the network's layers; an `InputError` where the context has none."""
        if self.context.taps is None:
            raise InputError(f"{self.name} reads a layer of the network, and the context has no taps")
        return self.context.taps

    def features(self, tap: Tap, images: Floats) -> Floats:
        """Counts the passes and returns a layer's values of the images as they are, (N, *tap.shape)."""
        self.passes_used += len(images)
        return tap.passes.direct(list(images)).reshape(len(images), *tap.shape)

    def at_least_one(self, option: str) -> int:
        """Returns an option that counts something; an `InputError` where it does not."""
        return at_least_one(self.name, option, self.options[option])


def soft_plan(start: Floats, end: Floats) -> PerturbationPlan:
    """Returns the plan of a blend, which reads no step map."""
    return PerturbationPlan(start=start, end=end, step_map=np.zeros((1, *start.shape[1:]), np.uint8), intervals=1)


def at_least_one(method: str, option: str, value: Any) -> int:
    """Returns a whole number of at least 1; an `InputError` that names the method and its option otherwise.

    Example:
        >>> at_least_one("rise", "masks", 4000)
        4000
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise InputError(f"{method}: {option} must be a whole number of at least 1, got {value!r}")
    return number
