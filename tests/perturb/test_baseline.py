"""What a removed element becomes, always in pixels."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import BASELINES, Given, baseline_image, blur_kernel
from c2i_fast.types import Preprocessing

PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
ELSEWHERE = ("another-image", "file:PATH", "superpixel-mean")  # tested with what they need in other files
SHAPES = [(3, 9, 7), (3, 1, 1), (3, 13), (3, 1)]


def picture(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in BASELINES if name not in ELSEWHERE])
def test_every_baseline_is_a_contiguous_float32_image_of_the_same_shape(name, shape):
    image = picture(shape)
    image.flags.writeable = False
    made = baseline_image(name, Given(pixels=image, preprocessing=PREPROCESSING))
    assert made.shape == shape
    assert made.dtype == np.float32
    assert made.flags.c_contiguous
    assert np.isfinite(made).all()


@pytest.mark.parametrize("name", ["mean", "zero"])
def test_mean_and_zero_are_exactly_zero_once_normalised(name):
    mean, std = (v.reshape(3, 1, 1) for v in PREPROCESSING.channel_stats(3))
    made = baseline_image(name, Given(pixels=picture((3, 4, 5)), preprocessing=PREPROCESSING))
    assert not ((made - mean) / std).any()


def test_without_preprocessing_the_mean_is_black():
    assert not baseline_image("mean", Given(pixels=picture((2, 5)), preprocessing=Preprocessing())).any()


def test_black_and_white_are_pixel_values_and_know_no_preprocessing():
    assert not baseline_image("black", Given(pixels=picture((3, 4, 5)), preprocessing=PREPROCESSING)).any()
    assert (baseline_image("white", Given(pixels=picture((3, 4, 5)), preprocessing=PREPROCESSING)) == 1).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_image_mean_is_each_channels_mean(shape):
    image = picture(shape, 1) * 50 - 10
    made = baseline_image("image-mean", Given(pixels=image, preprocessing=PREPROCESSING))
    for channel, values in zip(made, image, strict=True):
        assert np.unique(channel).size == 1
        assert channel.flat[0] == pytest.approx(float(np.mean(values, dtype=np.float64)), rel=1e-7)


def test_image_mean_of_a_large_image_does_not_drift():
    """A float32 sum of four million times 0.1 is off in the third digit."""
    image = np.full((1, 2048, 2048), 0.1, np.float32)
    assert baseline_image("image-mean", Given(pixels=image, preprocessing=Preprocessing()))[0, 0, 0] == np.float32(0.1)


# ------------------------------------------------------------------------------------------------ blur


def kernel_by_definition() -> np.ndarray:
    """A unit delta on 11 points, blurred by a Gaussian of σ = 5 cut at 4σ, ends reflected (d c b a | a b c d)."""
    taps = [np.exp(-0.5 * (t / 5) ** 2) for t in range(-20, 21)]
    kernel = np.zeros(11)
    for place in range(11):
        for t, weight in zip(range(-20, 21), taps, strict=True):
            source = (place + t) % 22
            source = source if source < 11 else 21 - source
            kernel[place] += weight * (source == 5)
    return kernel / np.sum(taps)


def blur_by_definition(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Σ_ij K[i, j] · normalised[y + i − 5, x + j − 5], zero outside, mapped back to pixels; float64 loops."""
    kernel = kernel_by_definition()
    mean, std = (v.astype(np.float64) for v in preprocessing.channel_stats(len(image)))
    made = np.zeros(image.shape)
    for c, channel in enumerate(image.astype(np.float64)):
        normal = (channel - mean[c]) / std[c]
        for place in np.ndindex(*channel.shape):
            total = 0.0
            for tap in np.ndindex(*(11,) * channel.ndim):
                source = tuple(p + t - 5 for p, t in zip(place, tap, strict=True))
                if all(0 <= s < size for s, size in zip(source, channel.shape, strict=True)):
                    total += np.prod(kernel[list(tap)]) * normal[source]
            made[(c, *place)] = total * std[c] + mean[c]
    return made


def test_the_kernel_is_a_reflected_gaussian_of_sum_one():
    kernel = blur_kernel()
    np.testing.assert_allclose(kernel, kernel_by_definition(), atol=1e-7)
    assert kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(kernel, kernel[::-1])


@pytest.mark.parametrize("shape", [(3, 6, 13), (3, 4, 3), (3, 17), (3, 1, 1)])
def test_blur_is_its_definition(shape):
    image = picture(shape, 2)
    np.testing.assert_allclose(
        baseline_image("blur", Given(pixels=image, preprocessing=PREPROCESSING)),
        blur_by_definition(image, PREPROCESSING),
        atol=1e-6,
    )


def test_blur_of_the_mean_colour_is_the_mean_colour_and_else_the_border_fades_to_it():
    """Zero padding is in normalised space: outside the image lies the mean, not black."""
    mean = PREPROCESSING.channel_stats(3)[0].reshape(3, 1, 1)
    np.testing.assert_allclose(
        baseline_image("blur", Given(pixels=mean + np.zeros((3, 20, 20), "f"), preprocessing=PREPROCESSING)),
        mean + 0 * np.zeros((3, 20, 20)),
        atol=1e-7,
    )
    white = baseline_image("blur", Given(pixels=np.ones((3, 30, 30), np.float32), preprocessing=PREPROCESSING))
    assert (white[:, 0, 0] < white[:, 15, 15]).all()
    np.testing.assert_allclose(white[:, 15, 15], 1, atol=1e-6)


def test_blur_equals_the_published_kernel_and_images(oracles):
    with np.load(oracles / "rise.npz") as rise:
        kernel, blurred = rise["blur_kernel"], {m: rise[f"{m}_blurred"] for m in "ab"}
    np.testing.assert_allclose(np.outer(blur_kernel(), blur_kernel()), kernel, atol=1e-8)
    with np.load(oracles / "images.npz") as images:
        pixels = images["images_u8"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    for model, preprocessing in (("a", Preprocessing(mean=(0.5,), std=(0.5,))), ("b", PREPROCESSING)):
        mean, std = (v.reshape(3, 1, 1) for v in preprocessing.channel_stats(3))
        for image, expected in zip(pixels, blurred[model], strict=True):
            made = (baseline_image("blur", Given(pixels=image, preprocessing=preprocessing)) - mean) / std
            np.testing.assert_allclose(made, expected, atol=2e-6)


def test_an_unknown_baseline_is_an_error_that_lists_what_there_is():
    with pytest.raises(InputError, match=r"no baseline 'blurr' \(did you mean 'blur'\?\)"):
        baseline_image("blurr", Given(pixels=picture((3, 4, 4)), preprocessing=PREPROCESSING))
