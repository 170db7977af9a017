"""The passes of one image: every metric asks here, and equal masked images are made once, whoever asks.

A masked image is known by the baseline and by the set of places that show it, nothing else: which map, order, unit or
end of a curve it came from does not matter. So deletion and LeRF insertion of one map cost the passes of one of them,
and methods, presets and metrics share what they have in common without knowing of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.perturb.baseline import Given, baseline_image
from c2i_fast.perturb.sets import EMPTY, Key, key_of
from c2i_fast.protocols import SYNONYMS
from c2i_fast.types import Doubles, Floats, Ints, PerturbationPlan

PassKey = tuple[str, Key]
T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Book:
    """The distinct passes of an image found so far. Passes are named by their number.

    Attributes:
        given: the image, and what baselines are made from.
        made_baselines: those asked for before.
    """

    given: Given
    made_baselines: dict[str, Floats] = field(default_factory=dict)
    _plans: list[PerturbationPlan] = field(default_factory=list)
    _ids: dict[PassKey, int] = field(default_factory=dict)
    _choices: list[list[tuple[int, int]]] = field(default_factory=list)
    _images: dict[int, Floats] = field(default_factory=dict)
    _fractions: list[float] = field(default_factory=list)
    _known: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def image(self) -> Floats:
        """The unperturbed image (C, *space)."""
        return self.given.pixels

    def baseline(self, name: str) -> Floats:
        """Returns the baseline of this image, made once."""
        name = SYNONYMS.get(name, name)
        if name not in self.made_baselines:
            self.made_baselines[name] = baseline_image(name, self.given)
        return self.made_baselines[name]

    def plan(self, plan: PerturbationPlan) -> int:
        """Enters a plan and returns its number."""
        self._plans.append(plan)
        return len(self._plans) - 1

    def step(self, plan: int, step: int, *, baseline: str, places: Key, fraction: float) -> int:
        """Returns the pass that shows a plan at a step.

        Args:
            plan: a number from `plan`.
            step: k.
            baseline: whose values the places show; a name shared by every equal baseline.
            places: the key of the set that shows it (`sets.py`).
            fraction: λ, the share of pixels in that set.
        """
        key = ("", EMPTY) if places == EMPTY else (SYNONYMS.get(baseline, baseline), places)
        index = self._pass(key, fraction)
        self._choices[index].append((plan, step))
        return index

    def removed(self, baseline: str, places: NDArray[np.bool_]) -> int:
        """Returns the pass in which `places`, bool (1|C, *space), show the baseline and all others the image."""
        key = key_of(places, self.image.shape)
        known = ("", EMPTY) if key == EMPTY else (SYNONYMS.get(baseline, baseline), key)
        if known in self._ids:
            return self._ids[known]
        steps = np.where(places, np.uint8(0), np.uint8(1))
        number = self.plan(PerturbationPlan(start=self.image, end=self.baseline(baseline), step_map=steps, intervals=1))
        return self.step(number, 1, baseline=baseline, places=key, fraction=float(places.mean()))

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """Returns what `make` returned for this name before, or now: what the image's next map can use again."""
        if name not in self._known:
            self._known[name] = make()
        known: T = self._known[name]
        return known

    def direct(self, image: Floats, fraction: float) -> int:
        """Returns the pass of an image (C, *space) that no mask makes; `fraction` is its share of perturbed pixels."""
        image = np.ascontiguousarray(image, np.float32)
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        key = ("direct", (int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")))
        index = self._pass(key, fraction)
        self._images.setdefault(index, image)
        return index

    def clean(self) -> int:
        """Returns the pass of the unperturbed image."""
        if ("", EMPTY) not in self._ids:
            steps = np.zeros((1, *self.image.shape[1:]), np.uint8)
            number = self.plan(PerturbationPlan(start=self.image, end=self.image, step_map=steps, intervals=1))
            return self.step(number, 0, baseline="", places=EMPTY, fraction=0.0)
        return self._ids["", EMPTY]

    def _pass(self, key: PassKey, fraction: float) -> int:
        index = self._ids.setdefault(key, len(self._choices))
        if index == len(self._choices):
            self._choices.append([])
            self._fractions.append(fraction)
        return index

    def close(self) -> tuple[tuple[PerturbationPlan, ...], Ints, tuple[Floats, ...], Doubles, Callable[[Ints], Ints]]:
        """Returns plans, the work of `select` (P, 2), the images of `direct`, λ of each pass, and a renumbering.

        Passes of `select` come first, those of `direct` after them; the renumbering takes the numbers given out so far
        to these.
        """
        masked = [i for i in range(len(self._choices)) if i not in self._images]
        order = np.array([*masked, *self._images], np.int32)
        new = np.empty(len(order), np.int32)
        new[order] = np.arange(len(order), dtype=np.int32)
        fractions = np.asarray(self._fractions)[order]
        return tuple(self._plans), self._work(masked), tuple(self._images.values()), fractions, lambda old: new[old]

    def _work(self, masked: list[int]) -> Ints:
        """Returns (P, 2). Shared end images go to the least loaded plan in use, so that batches fill evenly."""
        load = np.zeros(len(self._plans), int)
        chosen = [self._choices[i][0] for i in masked]
        ends = [n for n, i in enumerate(masked) if self._fractions[i] in (0.0, 1.0)]
        for number, (plan, _) in enumerate(chosen):
            load[plan] += number not in ends
        for number in ends:
            options = self._choices[masked[number]]
            chosen[number] = min(options, key=lambda pair: (load[pair[0]] == 0, load[pair[0]]))
            load[chosen[number][0]] += 1
        return np.asarray(chosen, np.int32).reshape(-1, 2)
