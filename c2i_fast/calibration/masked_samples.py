"""Masked images through an engine, as samples to fit a calibrator on or to judge one by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from c2i_fast.calibration.collect import check_labelled
from c2i_fast.calibration.mask_law import DrawnMasks, MaskLaw
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles, Floats, Ints, PerturbationPlan

IMAGES_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskedSamples:
    """What a classifier answers to images and to masked versions of them.

    Attributes:
        clean: float32 (N, K), logits of the images themselves.
        logits: float32 (N, M, K), of M masked versions each.
        labels: int64 (N,), of the images.
        perturbed_fraction: float64 (N, M), λ of each masked version.
        skipped: images that could not be read.
    """

    clean: Floats
    logits: Floats
    labels: NDArray[np.int64]
    perturbed_fraction: Doubles
    skipped: tuple[Any, ...] = ()

    def flat(self) -> tuple[Floats, NDArray[np.int64], Doubles]:
        """Returns all masked versions in one row: logits (N·M, K), labels (N·M,), λ (N·M,)."""
        versions = self.logits.shape[1]
        rows = self.logits.reshape(-1, self.logits.shape[2])
        return rows, np.repeat(self.labels, versions), self.perturbed_fraction.ravel()


class _Passes(Protocol):
    def select(self, plans: Sequence[PerturbationPlan], work: Ints) -> Floats: ...


def collect_masked(
    source: Any,
    passes: _Passes,
    law: MaskLaw,
    baseline: Callable[[Floats], Floats],
    *,
    first: int = 0,
    workers: int = 2,
    on_error: Literal["stop", "skip"] = "stop",
    on_images: Callable[[int], None] = lambda images: None,
) -> MaskedSamples:
    """Returns the logits of every image and of `law.masks` masked versions of it at each level.

    Args:
        source: an `ImageSource` with exactly one label an image.
        passes: `select` is all that is used.
        law: the masks; all images share them.
        baseline: from an image (C, *space) to what its perturbed elements become.
        first: number of the first mask of a level; others than the fit's make judging independent of them.
        workers: decoding threads.
        on_error: `stop` at an image that cannot be read, or `skip` it.
        on_images: told how many images are done since the last call.

    Raises:
        InputError: No labels, or several for one image; no image that can be read; a grid finer than the image.
    """
    check_labelled(source)
    stream = source.stream(workers=workers, on_error=on_error)
    drawn: dict[tuple[int, ...], list[DrawnMasks]] = {}
    logits, fractions, labels, skipped = [], [], [], []
    for batch in _batches(stream):
        read = [image for image in batch if hasattr(image, "pixels")]
        skipped += [image for image in batch if not hasattr(image, "pixels")]
        plans: list[PerturbationPlan] = []
        for image in read:
            space = image.pixels.shape[1:]
            if space not in drawn:
                drawn[space] = [law.draw(space, first + number) for number in range(law.masks)]
            plans += _plans(image.pixels, baseline(image.pixels), drawn[space])
            fractions.append(np.concatenate([masks.perturbed_fraction for masks in drawn[space]]))
            labels.append(image.labels[0])
        if read:
            answers = passes.select(plans, _work(plans, law.masks))
            logits.append(answers.reshape(len(read), -1, answers.shape[1]))
        on_images(len(batch))
    if not labels:
        raise InputError(f"none of the {len(source)} images could be read: {skipped[0].reason}")
    rows = np.concatenate(logits)
    return MaskedSamples(
        clean=rows[:, 0],
        logits=rows[:, 1:],
        labels=np.asarray(labels, np.int64),
        perturbed_fraction=np.array(fractions),
        skipped=tuple(skipped),
    )


def _plans(image: Floats, baseline: Floats, masks: Sequence[DrawnMasks]) -> list[PerturbationPlan]:
    return [
        PerturbationPlan(start=image, end=baseline, step_map=m.step_map, intervals=len(m.perturbed_fraction))
        for m in masks
    ]


def _work(plans: Sequence[PerturbationPlan], masks: int) -> Ints:
    """Returns (plan, step): for each image step 0, the clean image, and then every step above 0 of all its plans."""
    rows: list[tuple[int, int]] = []
    for number, plan in enumerate(plans):
        rows += [(number, 0)] if number % masks == 0 else []
        rows += [(number, step) for step in range(1, plan.intervals + 1)]
    return np.array(rows, np.int32)


def _batches(stream: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(stream, IMAGES_AT_ONCE)):
        yield batch
