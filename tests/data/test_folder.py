"""Folders: what is listed, in which order, and what is refused."""

import os

import pytest

from c2i_fast.data.folder import EXTENSIONS, files_below, list_pictures
from c2i_fast.errors import InputError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_flat_folder_is_sorted_and_leaves_out_what_is_no_picture(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", "10.jpeg", "9.webp", "notes.txt", ".hidden.jpg", "._a.jpg")
    assert list_pictures(tmp_path) == (("10.jpeg", "9.webp", "a.jpg", "b.PNG"), None)


def test_order_does_not_depend_on_the_operating_system(tmp_path, monkeypatch):
    touch(tmp_path, "x/1.jpg", "x/2.jpg", "y/1.jpg")
    expected = list_pictures(tmp_path)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: sorted(scandir(path), key=lambda e: e.name, reverse=True))
    assert list_pictures(tmp_path) == expected


def test_sub_folders_are_classes_searched_at_any_depth(tmp_path):
    touch(tmp_path, "dog/1.jpg", "dog/deep/er/2.jpg", "cat/1.jpg", "cat/.cache/3.jpg", ".git/4.jpg")
    ids, folders = list_pictures(tmp_path)
    assert ids == ("cat/1.jpg", "dog/1.jpg", "dog/deep/er/2.jpg")
    assert folders == ["cat", "dog"]


def test_an_empty_class_keeps_its_place(tmp_path):
    touch(tmp_path, "c/1.jpg", "a/1.jpg")
    (tmp_path / "b").mkdir()
    assert list_pictures(tmp_path)[1] == ["a", "b", "c"]


def test_a_sub_folder_without_pictures_does_not_make_a_flat_folder_classes(tmp_path):
    touch(tmp_path, "1.jpg", "masks/1.npy")
    assert list_pictures(tmp_path) == (("1.jpg",), None)


def test_pictures_beside_and_inside_sub_folders_are_ambiguous(tmp_path):
    touch(tmp_path, "1.jpg", "thumbs/1.jpg")
    with pytest.raises(InputError, match=r"1\.jpg lies beside thumbs/1\.jpg"):
        list_pictures(tmp_path)


def test_an_empty_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError) as caught:
        list_pictures(tmp_path)
    assert all(extension in str(caught.value) for extension in EXTENSIONS)
    assert str(tmp_path) in str(caught.value)


def test_a_linked_class_is_followed_and_a_circle_is_not(tmp_path):
    touch(tmp_path / "elsewhere", "1.jpg")
    source = tmp_path / "source"
    touch(source, "cat/1.jpg")
    (source / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(source)
    (source / "cat" / "up").symlink_to(source)
    assert files_below(source, (".jpg",)) == ["cat/1.jpg", "dog/1.jpg"]


def test_a_name_that_is_not_utf8_is_refused_with_its_folder(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(InputError, match="not valid UTF-8"):
        list_pictures(tmp_path)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        list_pictures(tmp_path)
