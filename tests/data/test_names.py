"""Ids: what may become a file name."""

import pytest

from c2i_fast.data.names import checked_ids, id_fault, some
from c2i_fast.errors import InputError


@pytest.mark.parametrize("name", ["a.jpg", "cats/1.jpg", "a b/ü.png", "0", "..hidden/x", "a..b"])
def test_plain_relative_paths_are_ids(name):
    assert id_fault(name) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "C:\\x.jpg", "a//b", "./a", "a/", "a\0b", "a\udcff"]
)
def test_names_that_could_leave_a_folder_or_collide_in_it_are_not(name):
    assert id_fault(name) is not None
    with pytest.raises(InputError, match="here"):
        checked_ids([name], "here")


def test_ids_are_distinct():
    assert checked_ids(iter(["a", "b"]), "x") == ("a", "b")
    with pytest.raises(InputError, match=r"list\.csv.*'a' occurs twice"):
        checked_ids(["a", "b", "a"], "list.csv")


def test_some_counts_what_it_leaves_out():
    assert some(["a", "b"]) == "a, b"
    assert some(list(range(9)), 2) == "0, 1, … (9 in all)"
    assert some([]) == ""
