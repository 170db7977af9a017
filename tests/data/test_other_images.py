"""Baselines from elsewhere: which image, from where, and what is refused before any pass."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.data.memory import MemoryImages
from c2i_fast.data.other_images import fingerprints, other_images
from c2i_fast.errors import InputError

IMAGES = np.random.default_rng(0).random((9, 3, 4, 5)).astype(np.float32)
IDS = [f"{number}.png" for number in range(9)]


class OnlyFour(MemoryImages):
    """Images of which only number 4 can be read."""

    def loads(self, start):
        for number in range(start, len(self)):
            yield lambda number=number: IMAGES[4] if number == 4 else _broken()


def _broken():
    raise InputError("the picture is truncated")


def another(images=IMAGES, seed=0):
    return other_images(["mean", "another-image"], MemoryImages(images, ids=IDS[: len(images)]), seed)


def test_another_image_is_one_of_the_others_and_never_itself():
    found = another()
    assert list(found) == ["another-image"]
    chosen = set()
    for seed in range(40):
        load = another(seed=seed)["another-image"]
        for place, image in enumerate(IDS):
            made = load(image)
            match = [k for k in range(9) if np.array_equal(made, IMAGES[k])]
            assert match
            assert match[0] != place
            chosen.add((place, match[0]))
    assert len(chosen) == 72  # every ordered pair comes up in 40 draws of 1 in 8, but for 1 in 3000 of all test seeds


def test_the_choice_does_not_depend_on_order_and_does_on_the_seed():
    load = another()["another-image"]
    forward = [load(image) for image in IDS]
    np.testing.assert_array_equal([load(image) for image in IDS[::-1]][::-1], forward)
    other = another(seed=1)["another-image"]
    assert any(not np.array_equal(other(image), was) for image, was in zip(IDS, forward, strict=True))


def test_images_that_cannot_be_read_are_passed_over():
    load = other_images(["another-image"], OnlyFour(IMAGES, ids=IDS), 0)["another-image"]
    np.testing.assert_array_equal(load("0.png"), IMAGES[4])
    with pytest.raises(InputError, match="could be read"):
        load("4.png")


def test_one_image_has_no_other():
    with pytest.raises(InputError, match="needs a second image"):
        another(IMAGES[:1])


@pytest.mark.parametrize("kind", ["npz", "folder", "uint8"])
def test_a_file_gives_each_image_its_own(tmp_path, kind):
    values = np.random.default_rng(1).random((9, 3, 4, 5)).astype(np.float32)
    path = tmp_path / "counter.npz"
    if kind == "folder":
        path = tmp_path / "counter"
        path.mkdir()
        for image, value in zip(IDS, values, strict=True):
            np.save(path / f"{image}.npy", value)
    elif kind == "uint8":
        pictures = (values.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        np.savez(path, images=pictures, ids=IDS)
        values = pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    else:
        np.savez(path, images=values[::-1], ids=IDS[::-1])
    name = f"file:{path}"
    load = other_images([name], MemoryImages(IMAGES, ids=IDS), 0)[name]
    for image, value in zip(IDS, values, strict=True):
        np.testing.assert_array_equal(load(image), value)


def test_files_that_lack_images_or_hold_nonsense_are_refused(tmp_path):
    source = MemoryImages(IMAGES, ids=IDS)
    np.savez(tmp_path / "few.npz", images=IMAGES[:7], ids=IDS[:7])
    with pytest.raises(InputError, match=r"lacks 2 images: 7\.png"):
        other_images([f"file:{tmp_path / 'few.npz'}"], source, 0)
    (tmp_path / "text.txt").write_text("no")
    with pytest.raises(InputError, match=r"expected an \.npz"):
        other_images([f"file:{tmp_path / 'text.txt'}"], source, 0)
    broken = IMAGES.copy()
    broken[0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "nan.npz", images=broken, ids=IDS)
    name = f"file:{tmp_path / 'nan.npz'}"
    with pytest.raises(InputError, match="finite floats"):
        other_images([name], source, 0)[name](IDS[0])


def test_the_fingerprint_is_the_contents(tmp_path):
    names = [f"file:{tmp_path / name}" for name in ("a.npz", "b.npz", "c.npz")]
    for name, values in zip(names, (IMAGES, IMAGES, IMAGES + 1), strict=True):
        np.savez(name.removeprefix("file:"), images=values, ids=IDS)
    first, same, other = fingerprints([*names, "mean", "another-image"]).values()
    assert first == same != other
