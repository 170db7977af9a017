"""What sub-folders and label cells mean."""

import pytest

from c2i_fast.data.labels import ClassIndex, folder_classes
from c2i_fast.errors import InputError

IMAGENET = [
    "n01440764 tench, Tinca tinca",
    "n01443537 goldfish, Carassius auratus",
    "n02012849 crane",
    "n03126707 crane",
    "n02980441 castle",
]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("n01440764 tench, Tinca tinca", 0),
        ("n01440764", 0),
        ("tench, Tinca tinca", 0),
        ("tench", 0),
        ("TINCA_tinca", 0),
        ("n03126707", 3),
        ("Castle", 4),
        ("crane", None),  # two classes are called so
        ("trout", None),
        ("n01440765", None),
        ("", None),
    ],
)
def test_a_class_is_found_by_each_of_its_names(text, label):
    assert ClassIndex(IMAGENET).find(text) == label


def test_a_whole_entry_wins_over_a_synonym_of_another():
    assert ClassIndex(["lynx, cat", "cat"]).find("cat") == 1


def test_a_word_that_only_begins_like_a_wnid_is_a_word():
    assert ClassIndex(["n1234 thing"]).find("n1234") is None


def test_folders_named_after_classes():
    labels, notes = folder_classes(["castle", "n01443537"], ClassIndex(IMAGENET), "src")
    assert labels == {"castle": 4, "n01443537": 1}
    assert notes == []


def test_folders_named_by_integers_count_by_value_not_by_spelling():
    labels, notes = folder_classes(["10", "2", "007"], ClassIndex(None, 11), "src")
    assert labels == {"10": 10, "2": 2, "007": 7}
    assert notes == []


def test_a_class_name_that_is_a_digit_is_a_name_first():
    assert folder_classes(["1", "0"], ClassIndex(["1", "0"]), "src")[0] == {"1": 0, "0": 1}


def test_unknown_folders_count_in_sorted_order_and_it_is_said():
    labels, notes = folder_classes(["dog", "cat"], ClassIndex(None), "src")
    assert labels == {"cat": 0, "dog": 1}
    assert len(notes) == 1
    assert "cat=0, dog=1" in notes[0]


def test_folders_known_in_part_are_refused():
    with pytest.raises(InputError, match=r"src.*not known.*zebra"):
        folder_classes(["castle", "zebra"], ClassIndex(IMAGENET), "src")


@pytest.mark.parametrize(("label", "classes"), [(3, 3), (-1, 3), (-1, None)])
def test_labels_outside_the_classes(label, classes):
    with pytest.raises(InputError, match=rf"here: labels.*b\.jpg has {label} \(1 such"):
        ClassIndex(None, classes).check([(0,), (1, label)], ["a.jpg", "b.jpg"], "here")


def test_labels_inside_the_classes_and_any_label_where_they_are_unknown():
    ClassIndex(None, 3).check([(0, 2)], ["a"], "here")
    ClassIndex(None).check([(10**6,)], ["a"], "here")


def test_the_number_of_names_is_the_number_of_classes_unless_told():
    assert ClassIndex(IMAGENET).classes == 5
    assert ClassIndex(IMAGENET, 1000).classes == 1000
    assert ClassIndex(None).classes is None
