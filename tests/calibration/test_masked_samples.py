"""Masked samples: the images that were meant, their λ, and nothing that depends on who else is in the batch."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.mask_law import MaskLaw
from c2i_fast.calibration.masked_samples import collect_masked
from c2i_fast.data.memory import MemoryImages
from c2i_fast.errors import InputError
from tests.nets import NumpyPasses, smooth_function
from tests.results.case import FlakyImages

SHAPE = (3, 9, 8)
LAW = MaskLaw(levels=4, masks=3, grid=3, seed=1)
FUNCTION = smooth_function(SHAPE)


def pixels(count=5):
    return np.random.default_rng(0).random((count, *SHAPE)).astype(np.float32)


def collect(images, labels, **options):
    source = MemoryImages(images, labels=labels)
    return collect_masked(
        source, NumpyPasses(FUNCTION), options.pop("law", LAW), lambda image: image * 0 + 0.5, **options
    )


def test_every_sample_is_the_image_with_its_mask_at_the_baseline():
    images = pixels()
    found = collect(images, np.arange(5) % 4)
    assert found.logits.shape == (5, 12, 4)
    np.testing.assert_array_equal(found.labels, np.arange(5) % 4)
    np.testing.assert_allclose(found.clean, [FUNCTION(image) for image in images], rtol=1e-6)
    for number, image in enumerate(images):
        place = 0
        for index in range(3):
            drawn = LAW.draw(SHAPE[1:], index)
            for step in range(1, 5):
                mask = drawn.step_map[0] < step
                shown = np.where(mask, np.float32(0.5), image)
                np.testing.assert_allclose(found.logits[number, place], FUNCTION(shown), rtol=1e-6)
                assert found.perturbed_fraction[number, place] == mask.mean()
                place += 1


def test_flat_keeps_rows_labels_and_fractions_together():
    found = collect(pixels(), np.arange(5) % 4)
    logits, labels, fractions = found.flat()
    assert logits.shape == (60, 4)
    np.testing.assert_array_equal(logits[12 * 3 + 7], found.logits[3, 7])
    assert labels[12 * 3 + 7] == found.labels[3]
    assert fractions[12 * 3 + 7] == found.perturbed_fraction[3, 7]


def test_order_and_company_of_the_images_do_not_matter():
    images = pixels(11)
    labels = np.arange(11) % 4
    together, backwards = collect(images, labels), collect(images[::-1], labels[::-1])
    alone = collect(images[4:5], labels[4:5])
    np.testing.assert_array_equal(together.logits[::-1], backwards.logits)
    np.testing.assert_array_equal(together.logits[4:5], alone.logits)


def test_other_masks_are_drawn_from_another_number_on():
    images, labels = pixels(), np.arange(5) % 4
    later = collect(images, labels, first=3)
    longer = collect(images, labels, law=MaskLaw(levels=4, masks=6, grid=3, seed=1))
    np.testing.assert_array_equal(longer.logits[:, 12:], later.logits)
    assert (later.logits != collect(images, labels).logits).any()


def test_images_that_cannot_be_read_are_left_out_and_named():
    source = FlakyImages(pixels(4), {1})
    source.labels = [(0,), (1,), (2,), (3,)]
    told = []
    found = collect_masked(
        source, NumpyPasses(FUNCTION), LAW, lambda image: image, on_error="skip", on_images=told.append
    )
    assert found.labels.tolist() == [0, 2, 3]
    assert [image.id for image in found.skipped] == ["1"]
    assert sum(told) == 4
    source = FlakyImages(pixels(2), {0, 1})
    source.labels = [(0,), (1,)]
    with pytest.raises(InputError, match="none of the 2 images could be read"):
        collect_masked(source, NumpyPasses(FUNCTION), LAW, lambda image: image, on_error="skip")


def test_labels_are_needed_one_an_image():
    with pytest.raises(InputError, match="needs labels"):
        collect(pixels(), None)
