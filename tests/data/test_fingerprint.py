"""A fingerprint changes with what is scored, and with nothing else."""

import os
import re

import numpy as np
import pytest

from c2i_fast.data import fingerprint, open_images
from c2i_fast.types import Preprocessing


def folder(root, picture, names=("cat/1.png", "dog/1.png", "dog/2.png")):
    for seed, name in enumerate(names):
        picture(root / name, seed)
    return root


def of(path, **options):
    return open_images(path, preprocessing=Preprocessing(), **options).fingerprint()


def test_it_is_sha256_of_the_content_wherever_and_whenever_that_was_written(tmp_path, picture):
    one, two = folder(tmp_path / "one", picture), folder(tmp_path / "two", picture)
    (two / "dog" / "notes.txt").write_text("no picture")
    os.utime(two / "dog" / "1.png", (0, 0))
    assert of(one) == of(two)
    assert re.fullmatch("[0-9a-f]{64}", of(one))


def test_it_changes_with_a_byte_a_name_or_a_label(tmp_path, picture):
    before = of(folder(tmp_path / "a", picture))
    assert before != of(tmp_path / "a", class_names=["dog", "cat"])
    picture(tmp_path / "a" / "dog" / "2.png", seed=9)
    assert before != of(tmp_path / "a")
    assert before != of(folder(tmp_path / "b", picture, ("cat/1.png", "dog/1.png", "dog/3.png")))


def test_it_covers_the_images_in_use_only(tmp_path, picture):
    source = folder(tmp_path / "a", picture)
    two = of(source, limit=2)
    assert two != of(source)
    picture(source / "dog" / "2.png", seed=9)
    assert two == of(source, limit=2)


def test_contents_that_change_places_change_it(tmp_path):
    for name, first, second in (("a", b"xy", b"z"), ("b", b"x", b"yz")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(first)
        (tmp_path / name / "2.jpg").write_bytes(second)
    assert of(tmp_path / "a") != of(tmp_path / "b")


def test_a_file_that_is_not_there_does_not_stop_it(tmp_path, picture):
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").symlink_to("nowhere")
    before = of(tmp_path / "a")
    (tmp_path / "a" / "2.png").unlink()
    (tmp_path / "a" / "2.png").touch()
    assert before != of(tmp_path / "a")


def test_above_the_limit_it_is_made_of_sizes_and_times(tmp_path, picture, monkeypatch):
    source = folder(tmp_path / "a", picture)
    monkeypatch.setattr(fingerprint, "MOST_BYTES", 10)
    monkeypatch.setattr(fingerprint, "_chunks", lambda path: pytest.fail("read a file"))
    before = of(source)
    assert re.fullmatch("stat:[0-9a-f]{64}", before)
    assert before == of(source)
    os.utime(source / "dog" / "1.png", (0, 0))
    assert before != of(source)


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), np.uint8)


def npz(path, save=np.savez, **changes):
    save(path, **({"images": IMAGES, "labels": np.arange(5)} | changes))
    return path


def test_npz_compression_is_not_content(tmp_path):
    assert of(npz(tmp_path / "a.npz")) == of(npz(tmp_path / "b.npz", np.savez_compressed))


@pytest.mark.parametrize(
    "change",
    [
        {"images": IMAGES[::-1]},
        {"images": IMAGES.reshape(5, 8, 2, 3)},
        {"labels": np.arange(5)[::-1]},
        {"targets": np.arange(5)},
        {"ids": [*"abcde"]},
    ],
)
def test_npz_changes(tmp_path, change):
    assert of(npz(tmp_path / "a.npz")) != of(npz(tmp_path / "b.npz", **change))


def test_npz_records_beyond_the_limit_do_not_matter(tmp_path):
    other = IMAGES.copy()
    other[4] = 0
    longer = npz(tmp_path / "a.npz"), npz(tmp_path / "b.npz", images=other)
    assert of(longer[0], limit=4) == of(longer[1], limit=4)
    assert of(longer[0]) != of(longer[1])


def test_npz_above_the_limit(tmp_path, monkeypatch):
    path = npz(tmp_path / "a.npz")
    monkeypatch.setattr(fingerprint, "MOST_BYTES", IMAGES.nbytes - 1)
    before = of(path)
    assert before.startswith("stat:")
    os.utime(path, (0, 0))
    assert before != of(path)
    assert not of(path, limit=4).startswith("stat:")
