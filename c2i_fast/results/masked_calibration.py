"""From a source of images to a fitted and judged ReCalX: the function behind `calibrate --method recalx`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from c2i_fast.calibration.collect import check_labelled
from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.masked_samples import MaskedSamples, collect_masked
from c2i_fast.calibration.recalx_report import RecalxReport, recalx_report
from c2i_fast.calibration.split import split_samples
from c2i_fast.data.source import ImageSource
from c2i_fast.perturb.baseline import BASELINES, Given, baseline_image
from c2i_fast.results.estimate import SubsetSource, subset

if TYPE_CHECKING:
    from c2i_fast.types import GraphContract


def split_images(
    source: ImageSource, fit_fraction: float, images: int, seed: int
) -> tuple[SubsetSource, SubsetSource | None]:
    """Returns the images to fit on and those to judge by, at most `images` each; None where nothing is held out.

    They are split as `split_samples` does, by image, and each part is thinned at random by the ids of its images.

    Raises:
        InputError: No labels, or several for one image; a fraction that cannot be used.
    """
    check_labelled(source)
    labels = np.array([labels[0] for labels in source.labels or ()], np.int64)
    split = split_samples(labels, fit_fraction, seed)
    fit, test = (
        SubsetSource(source, subset([source.ids[place] for place in part], images, seed))
        for part in (split.fit, split.test)
    )
    return fit, test if len(test) else None


def calibrate_masked(
    source: ImageSource,
    passes: Any,
    contract: GraphContract,
    law: MaskLaw,
    baseline: str,
    *,
    fit_fraction: float = 0.5,
    images: int = 200,
    workers: int = 2,
    on_error: Literal["stop", "skip"] = "stop",
    on_images: Callable[[int], None] = lambda images: None,
) -> tuple[RecalxReport, MaskedSamples, MaskedSamples | None]:
    """Returns ReCalX with its report, and the samples it was fitted on and judged by.

    The held-out images are judged on masks of their own, so neither their pixels nor their masks were fitted on.

    Args:
        source: labelled images, one label each.
        passes: `MaskedPasses` of the classifier.
        contract: of the classifier.
        law: how masks are drawn.
        baseline: what perturbed elements become (`BASELINES`).
        fit_fraction: share of the images to fit on; 1 holds out nothing.
        images: at most so many are fitted on, and so many judged by.
        workers: decoding threads.
        on_error: `stop` at an image that cannot be read, or `skip` it.
        on_images: told how many images are done since the last call.

    Raises:
        InputError: An unknown baseline, or images and labels that cannot be used.
    """
    BASELINES[baseline]
    fit_source, test_source = split_images(source, fit_fraction, images, law.seed)

    def collect(part: SubsetSource, first: int) -> MaskedSamples:
        return collect_masked(
            part,
            passes,
            law,
            lambda image: baseline_image(baseline, Given(pixels=image, preprocessing=contract.preprocessing)),
            first=first,
            workers=workers,
            on_error=on_error,
            on_images=on_images,
        )

    fit = collect(fit_source, 0)
    test = None if test_source is None else collect(test_source, law.masks)
    return recalx_report(fit, test, law, baseline, len(contract.space)), fit, test
