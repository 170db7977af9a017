"""The images: what they show, that the seed makes them, and that nothing but the shape tells the class."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression

from c2i_fast.data.images import open_images
from c2i_fast.demo.tetromino import SHAPES, SIZE, Scenario, _backgrounds, _blurred, make_tetrominoes
from c2i_fast.demo.train import PREPROCESSING
from c2i_fast.errors import InputError

SHARP = Scenario(scale=3)  # too small to be smoothed, so a mask is the very shape


def box(mask: np.ndarray) -> np.ndarray:
    """The mask cut to its own rows and columns."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def turned(label: int, scale: int) -> list[np.ndarray]:
    """The four ways a shape may lie."""
    shape = np.kron(SHAPES[label], np.ones((scale, scale))) > 0
    return [np.rot90(shape, quarter) for quarter in range(4)]


def test_classes_are_balanced_in_the_set_and_in_every_even_part():
    data = make_tetrominoes(20, seed=0)
    assert np.bincount(data.labels).tolist() == [10, 10]
    assert np.bincount(data.part(4, 10).labels).tolist() == [3, 3]
    assert len(data.part(4, 10)) == 6


def test_types_and_shapes():
    data = make_tetrominoes(6, seed=0)
    assert (data.images.shape, data.images.dtype) == ((6, SIZE, SIZE, 1), np.uint8)
    assert (data.masks.shape, data.masks.dtype) == ((6, SIZE, SIZE), np.bool_)
    assert len(set(data.ids)) == 6


def test_arrays_are_read_only():
    data = make_tetrominoes(2, seed=0)
    for array in (data.images, data.labels, data.masks):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_part_is_cut_from_everything():
    data = make_tetrominoes(6, seed=0)
    part = data.part(2, 4)
    assert part.ids == data.ids[2:4]
    for name in ("images", "labels", "masks"):
        assert np.array_equal(getattr(part, name), getattr(data, name)[2:4])


def test_one_seed_makes_the_same_set_and_another_one_another():
    first, again, other = (make_tetrominoes(8, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.images, other.images)
    assert not np.array_equal(first.masks, other.masks)


def test_a_mask_is_the_shape_of_its_class_lying_some_way():
    data = make_tetrominoes(60, seed=1, scenario=SHARP)
    for label, mask in zip(data.labels, data.masks, strict=True):
        assert mask.sum() == 4 * SHARP.scale**2
        assert any(np.array_equal(box(mask), shape) for shape in turned(label, SHARP.scale))


def test_shapes_lie_every_way_and_anywhere():
    data = make_tetrominoes(400, seed=1, scenario=SHARP)
    ways = set()
    corners = []
    for label, mask in zip(data.labels, data.masks, strict=True):
        ways.add((int(label), next(i for i, s in enumerate(turned(label, 3)) if np.array_equal(box(mask), s))))
        corners.append((np.flatnonzero(mask.any(1))[0], np.flatnonzero(mask.any(0))[0]))
    assert ways == {(label, quarter) for label in (0, 1) for quarter in range(4)}
    assert np.min(corners, axis=0).max() <= 2
    assert np.max(corners, axis=0).min() >= SIZE - 9 - 2


def test_linear_shapes_stand_still():
    data = make_tetrominoes(6, seed=2, scenario=Scenario(placement="linear", scale=3))
    for label, (row, column) in ((0, (8, 8)), (1, (32, 40))):
        for mask in data.masks[data.labels == label]:
            assert (np.flatnonzero(mask.any(1))[0], np.flatnonzero(mask.any(0))[0]) == (row, column)
            assert np.array_equal(box(mask), turned(label, 3)[0])


@pytest.mark.parametrize("scale", [3, 4, 8])
def test_a_mask_marks_where_the_image_differs_from_mid_grey_when_there_is_no_background(scale):
    data = make_tetrominoes(8, seed=5, scenario=Scenario(alpha=1, scale=scale))
    strength = (data.images[..., 0].astype(float) - 127.5) / 127.5
    assert strength[data.masks].min() > 0.04  # at least 0.05 of the largest, less what rounding takes
    assert strength[~data.masks].max() < 0.06


def test_the_mixture_is_the_published_one():
    """Both parts are divided by their norm over the whole set, then all by the largest value."""
    scenario, seed, count = Scenario(alpha=0.3, scale=3), 11, 10
    data = make_tetrominoes(count, seed=seed, scenario=scenario)
    patterns = data.masks.astype(float)
    only = make_tetrominoes(count, seed=seed, scenario=Scenario(alpha=0, scale=3))
    rough = only.images[..., 0] - 127.5  # the same backgrounds, rounded
    mixture = 0.3 * patterns / np.linalg.norm(patterns) + 0.7 * rough / np.linalg.norm(rough)
    expected = 127.5 + 127.5 * mixture / np.abs(mixture).max()
    assert np.abs(data.images[..., 0] - expected).max() < 2


def test_blurring_is_scipys_gaussian_filter():
    images = np.random.default_rng(0).normal(size=(2, SIZE, SIZE))
    for sigma in (1.5, 10.0):
        expected = [gaussian_filter(image, sigma) for image in images]
        np.testing.assert_allclose(_blurred(images, sigma), expected, atol=1e-12)


def test_backgrounds_are_smooth():
    backgrounds = _backgrounds(20, np.random.default_rng(0))
    neighbours = np.corrcoef(backgrounds[:, :, 1:].ravel(), backgrounds[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.98


def probe(scenario: Scenario) -> float:
    """Held-out accuracy of a linear classifier on every fourth pixel."""
    data = make_tetrominoes(1600, seed=9, scenario=scenario)
    x = data.images[:, ::4, ::4, 0].reshape(len(data), -1).astype(float) / 255
    model = LogisticRegression(max_iter=200).fit(x[:800], data.labels[:800])
    return float(model.score(x[800:], data.labels[800:]))


def test_the_background_knows_nothing_of_the_class():
    assert abs(probe(Scenario(alpha=0)) - 0.5) < 0.06  # three standard errors of 800 coin flips


def test_the_same_probe_finds_shapes_that_stand_still():
    assert probe(Scenario(placement="linear", alpha=0.3)) > 0.95


def test_a_file_is_taken_as_images(tmp_path):
    data = make_tetrominoes(4, seed=0)
    data.save(tmp_path / "images.npz")
    source = open_images(tmp_path / "images.npz", preprocessing=PREPROCESSING, channels=1, classes=2)
    assert tuple(source.ids) == data.ids
    assert source.labels == [(0,), (1,), (0,), (1,)]
    for image, pixels in zip(source.stream(), data.images, strict=True):
        np.testing.assert_allclose(image.pixels, pixels[..., 0][None] / 255, atol=1e-6)
    with np.load(tmp_path / "images.npz") as stored:
        assert np.array_equal(stored["masks"], data.masks)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises((OSError, InputError)):
        make_tetrominoes(2, seed=0).save(tmp_path / "absent" / "images.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": -0.1}, {"alpha": 1.1}, {"scale": 0}, {"scale": 22}, {"placement": "linear", "scale": 13}],
)
def test_scenarios_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="alpha must be"):
        Scenario(**wrong)
