"""Drawn baselines have an address, and segments are filled with their own mean."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import Given, baseline_image, check_baseline
from c2i_fast.types import Preprocessing

PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def given(image="a.png", seed=0, shape=(3, 60, 50), **options) -> Given:
    pixels = np.random.default_rng(0).random(shape).astype(np.float32)
    return Given(pixels=pixels, preprocessing=PREPROCESSING, image=image, seed=seed, **options)


@pytest.mark.parametrize("name", ["noise", "uniform"])
def test_a_draw_depends_on_seed_image_and_baseline_alone(name):
    first = baseline_image(name, given())
    np.testing.assert_array_equal(first, baseline_image(name, given()))
    for other in (given(image="b.png"), given(seed=1)):
        assert abs(np.corrcoef(first.ravel(), baseline_image(name, other).ravel())[0, 1]) < 0.05
    both = [baseline_image(kind, given()).ravel() for kind in ("noise", "uniform")]
    assert abs(np.corrcoef(*both)[0, 1]) < 0.05


def test_noise_is_standard_normal_once_normalised_and_uniform_fills_the_unit_interval():
    mean, std = (values.reshape(3, 1, 1) for values in PREPROCESSING.channel_stats(3))
    normal = (baseline_image("noise", given()) - mean) / std
    np.testing.assert_allclose(normal.mean(axis=(1, 2)), 0, atol=0.06)  # of 3000 values: 0.018 each
    np.testing.assert_allclose(normal.std(axis=(1, 2)), 1, atol=0.05)
    flat = baseline_image("uniform", given()).ravel()
    assert flat.min() >= 0
    assert flat.max() < 1
    np.testing.assert_allclose(np.histogram(flat, 4, (0, 1))[0] / flat.size, 0.25, atol=0.02)


def test_superpixel_means_keep_each_segments_sum():
    from c2i_fast.perturb.baselines_drawn import SEGMENTS
    from c2i_fast.perturb.units import superpixels

    case = given()
    made, members = baseline_image("superpixel-mean", case), superpixels(case.pixels, SEGMENTS)
    for segment in range(members.max() + 1):
        inside = members == segment
        for filled, channel in zip(made, case.pixels, strict=True):
            assert np.ptp(filled[inside]) == 0
            assert filled[inside][0] == pytest.approx(float(np.mean(channel[inside], dtype=np.float64)), rel=1e-6)


def test_what_comes_from_elsewhere_is_taken_as_it_is_and_must_have_the_images_shape():
    case = given(elsewhere={"another-image": lambda: np.full((3, 60, 50), 2.0, np.float64)})
    made = baseline_image("another-image", case)
    assert made.dtype == np.float32
    assert (made == 2).all()
    with pytest.raises(InputError, match="expected the image's shape"):
        baseline_image("another-image", given(elsewhere={"another-image": lambda: np.zeros((3, 2, 2), np.float32)}))


@pytest.mark.parametrize(("name", "words"), [("another-image", "a source of images"), ("file:PATH", "needs a path")])
def test_without_images_to_look_in_the_error_says_so(name, words):
    with pytest.raises(InputError, match=words):
        baseline_image(name, given())


def test_a_file_that_is_not_there_is_refused_when_it_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing at that path"):
        check_baseline(f"file:{tmp_path / 'none.npz'}")
    assert check_baseline(f"file:{tmp_path}") == f"file:{tmp_path}"
