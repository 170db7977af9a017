"""`open_images`: folders, CSVs and .npz files from the user's side."""

import subprocess
import sys

import numpy as np
import pytest

from c2i_fast.data import Image, Skipped, open_images
from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import Preprocessing

SMALL = Preprocessing(size=(8, 8))


def test_a_flat_folder(tmp_path, picture):
    for name in ("b.png", "a.jpg", "c.bmp"):
        picture(tmp_path / name)
    source = open_images(tmp_path, preprocessing=SMALL)
    assert list(source.ids) == ["a.jpg", "b.png", "c.bmp"]
    assert source.labels is None
    assert source.notes == []
    assert [image.pixels.shape for image in source.stream()] == [(3, 8, 8)] * 3


def test_a_folder_of_classes_known_to_the_model(tmp_path, picture):
    for name in ("n01443537/x.png", "tench/y.png"):
        picture(tmp_path / name)
    names = ["n01440764 tench, Tinca tinca", "n01443537 goldfish"]
    source = open_images(str(tmp_path), preprocessing=SMALL, class_names=names)
    assert list(zip(source.ids, source.labels, strict=True)) == [("n01443537/x.png", (1,)), ("tench/y.png", (0,))]
    assert source.notes == []


def test_a_folder_of_unknown_classes_is_numbered_aloud(tmp_path, picture):
    for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
        picture(tmp_path / name)
    source = open_images(tmp_path, preprocessing=SMALL)
    assert source.labels == [(0,), (0,), (1,)]
    assert "cat=0, dog=1" in " ".join(source.notes)


def test_a_limit_that_cuts_classes_off_says_so(tmp_path, picture):
    for name in ("0/1.png", "0/2.png", "1/1.png"):
        picture(tmp_path / name)
    source = open_images(tmp_path, preprocessing=SMALL, limit=2)
    assert list(source.ids) == ["0/1.png", "0/2.png"]
    assert "1 of 2 classes" in " ".join(source.notes)
    assert open_images(tmp_path, preprocessing=SMALL, limit=3).notes == []


def test_folders_outside_the_classes(tmp_path, picture):
    picture(tmp_path / "10" / "x.png")
    with pytest.raises(InputError, match=r"0\.\.9, but 10/x\.png has 10"):
        open_images(tmp_path, preprocessing=SMALL, classes=10)


def test_a_csv(tmp_path, picture):
    picture(tmp_path / "pictures" / "b.png", 1)
    picture(tmp_path / "pictures" / "a.png", 2)
    (tmp_path / "list.CSV").write_text("file,label\npictures/b.png,3;17\npictures/a.png,1\n")
    source = open_images(tmp_path / "list.CSV", preprocessing=Preprocessing())
    flat = open_images(tmp_path / "pictures", preprocessing=Preprocessing())
    assert [(image.id, image.labels) for image in source.stream()] == [
        ("pictures/b.png", (3, 17)),
        ("pictures/a.png", (1,)),
    ]
    for ours, theirs in zip(source.stream(), reversed(list(flat.stream())), strict=True):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    with pytest.raises(InputError, match=r"list\.CSV.*0\.\.9, but pictures/b\.png has 17"):
        open_images(tmp_path / "list.CSV", preprocessing=SMALL, classes=10)


def test_a_broken_picture_stops_with_its_name_or_is_left_out(tmp_path, picture):
    for name in ("a.png", "c.png"):
        picture(tmp_path / name)
    (tmp_path / "b.jpg").write_text("a text file")
    source = open_images(tmp_path, preprocessing=SMALL)
    with pytest.raises(InputError, match=r"b\.jpg: expected a picture.*--on-error skip"):
        list(source.stream())
    images = list(source.stream(on_error="skip"))
    assert [type(image) for image in images] == [Image, Skipped, Image]
    assert "b.jpg" in images[1].reason
    assert "--on-error" not in images[1].reason


def test_one_channel(tmp_path, picture):
    picture(tmp_path / "a.png")
    (image,) = open_images(tmp_path, preprocessing=SMALL, channels=1).stream()
    assert image.pixels.shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "does not exist"),
        ("nowhere.csv", None, "does not exist"),
        ("nowhere.npz", None, "does not exist"),
        ("one.jpg", b"", r"file of kind '\.jpg'"),
        ("README", b"", "file of kind 'no suffix'"),
        ("empty.npz", b"", r"expected an \.npz"),
    ],
)
def test_sources_that_are_none(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{message}") as caught:
        open_images(tmp_path / name, preprocessing=SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 4}, "1 or 3 channels, but the model takes 4"),
        ({"preprocessing": Preprocessing(size=(128,))}, r"size H,W, got \(128,\)"),
    ],
)
def test_networks_that_take_no_pictures(tmp_path, picture, options, message):
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        open_images(tmp_path, **({"preprocessing": SMALL} | options))


def test_a_limit_of_nothing(tmp_path):
    with pytest.raises(UsageError, match="--limit"):
        open_images(tmp_path, preprocessing=SMALL, limit=0)


def test_importing_the_room_imports_no_decoder():
    code = "import sys, c2i_fast.data; print('PIL' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_imagenet_pictures(assets):
    names = (assets / "models" / "imagenet" / "synset_words.txt").read_text().splitlines()
    rule = Preprocessing(size=(224, 224))
    path = assets / "images" / "imagenet_val" / "manifest.csv"
    source = open_images(path, preprocessing=rule, classes=1000, class_names=names)
    assert len(source) == len(set(source.ids)) == len(source.labels) == 1000
    assert source.labels[:2] == [(133,), (625,)]
    image = next(source.stream())
    assert image.pixels.shape == (3, 224, 224)
    assert 0 <= image.pixels.min() < 0.2 < 0.8 < image.pixels.max() <= 1


def test_cifar_arrays(assets):
    path = assets / "images" / "cifar10_test.npz"
    source = open_images(path, preprocessing=Preprocessing(size=(32, 32)), classes=10)
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    count = 0
    for image in source.stream():
        np.testing.assert_array_equal(np.rint(image.pixels * 255).astype(np.uint8), images[count].transpose(2, 0, 1))
        assert image.labels == (labels[count],)
        count += 1
    assert count == 6000
