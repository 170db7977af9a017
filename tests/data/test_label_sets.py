"""Labels of sigmoid heads, from every kind of source."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from c2i_fast.data.followed import LabelledImages
from c2i_fast.data.images import open_images
from c2i_fast.data.label_sets import label_sets, present_or_absent
from c2i_fast.data.memory import MemoryImages
from c2i_fast.data.source import Skipped
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

PICTURE = Preprocessing(size=(4, 4))
HOT = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
SETS = [(0, 2), (), (1,)]


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool, np.float32])
def test_multi_hot_arrays_and_lists_of_indices_say_the_same(kind):
    assert label_sets(HOT.astype(kind), 3, 3) == SETS
    assert label_sets([[2, 0, 0], [], [1]], 3, 3) == SETS
    assert label_sets(np.array([2, 0, 1]), 3, 3) == [(2,), (0,), (1,)]


@pytest.mark.parametrize("labels", [[1, 0, 1], np.array([1, 0, 1]), np.array([[1], [0], [1]]), [[0], [], [0]]])
def test_of_one_output_present_is_class_0(labels):
    assert label_sets(labels, 3, 1) == [(0,), (), (0,)]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (HOT[:2], "labels of 3 images, got 2"),
        (HOT[:, :2], r"0 and 1 of shape \(3, 3\)"),
        (HOT * 2, r"0 and 1 of shape \(3, 3\)"),
        (np.array([0.0, 1.0, 2.0]), "one integer an image"),
        ([[0], ["a"], []], "expected class indices, got 'a'"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        label_sets(labels, 3, 3)


@pytest.mark.parametrize("own", [(0, 1), (), (2,)])
def test_one_output_takes_a_0_or_a_1_an_image(own):
    with pytest.raises(InputError, match=r"0 \(absent\) or 1 \(present\)"):
        present_or_absent([(0,), own], "x.csv")


def write_csv(folder, cells):
    for number in range(len(cells)):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / f"{number}.png")
    path = folder / "list.csv"
    path.write_text("file,label\n" + "".join(f"{n}.png,{cell}\n" for n, cell in enumerate(cells)))
    return path


def opened(path, classes, activation="sigmoid", **options):
    return open_images(path, preprocessing=PICTURE, classes=classes, activation=activation, **options)


def test_a_csv_holds_several_labels_or_none(tmp_path):
    path = write_csv(tmp_path, ["2;0;2", "", "1"])
    assert opened(path, 3).labels == SETS
    with pytest.raises(InputError, match="line 3: expected class indices"):
        opened(path, 3, "softmax")
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.1, but 0\.png has 2"):
        opened(path, 2)


def test_a_csv_of_one_output_holds_0_1_or_the_class_name(tmp_path):
    assert opened(write_csv(tmp_path, ["1", "0"]), 1).labels == [(0,), ()]
    assert opened(write_csv(tmp_path, ["tumour", "0"]), 1, class_names=("tumour",)).labels == [(0,), ()]
    with pytest.raises(InputError, match="absent"):
        opened(write_csv(tmp_path, ["2"]), 1)
    with pytest.raises(InputError, match="line 2"):
        opened(write_csv(tmp_path, [""]), 1)


def test_class_folders_0_and_1_of_one_output(tmp_path):
    for name in ("0", "1"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name / "a.png")
    assert opened(tmp_path, 1).labels == [(), (0,)]


@pytest.mark.parametrize(("labels", "classes", "expected"), [(HOT, 3, SETS), ([1, 0, 1], 1, [(0,), (), (0,)])])
def test_an_npz_and_arrays_in_memory_say_the_same(tmp_path, labels, classes, expected):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.asarray(labels))
    source = opened(tmp_path / "a.npz", classes)
    assert source.labels == expected
    assert [image.labels for image in source.stream()] == expected
    assert opened(tmp_path / "a.npz", classes, limit=2).labels == expected[:2]
    assert MemoryImages(images, labels=labels, classes=classes).labels == expected


def test_an_index_that_is_no_class_is_refused_in_memory_too():
    with pytest.raises(InputError, match=r"labels must lie in 0\.\.2, but 1 has 3"):
        MemoryImages(np.zeros((2, 3, 4, 4), np.float32), labels=[[0], [3]], classes=3)


def test_a_fingerprint_knows_the_labels(tmp_path):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=HOT)
    np.savez(tmp_path / "b.npz", images=images, labels=1 - HOT)
    assert opened(tmp_path / "a.npz", 3).fingerprint() != opened(tmp_path / "b.npz", 3).fingerprint()


def test_images_without_a_label_stop_the_stream_or_are_left_out():
    source = LabelledImages(MemoryImages(np.zeros((3, 3, 4, 4), np.float32), labels=HOT, classes=3))
    with pytest.raises(InputError, match=r"1 has no label to follow; .*--on-error skip"):
        list(source.stream())
    kept = list(source.stream(on_error="skip"))
    assert [isinstance(image, Skipped) for image in kept] == [False, True, False]
    assert kept[1].reason == "1 has no label to follow"
    assert [image.index for image in source.stream(2)] == [2]
