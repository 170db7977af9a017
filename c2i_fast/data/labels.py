"""From what people call a class (its name, a wnid, an integer) to its index in the model's output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from c2i_fast.data.names import some
from c2i_fast.errors import InputError

Labels = Sequence[tuple[int, ...]]

_WNID = re.compile(r"n\d{8}\b")


class ClassIndex:
    """The classes a model knows, found by name.

    An entry such as `n01440764 tench, Tinca tinca` is known whole, by its wnid, by the words after it, and by each of
    its synonyms that no other entry uses. Case, and `_` for a space, make no difference.

    With `any_number` an image may have no label, and each label counts once.

    Example:
        >>> ClassIndex(["n01440764 tench, Tinca tinca", "n01443537 goldfish"]).find("Tench")
        0
    """

    def __init__(self, names: Sequence[str] | None, classes: int | None = None, *, any_number: bool = False) -> None:
        entries = [_spellings(name) for name in names or ()]
        self.classes = classes if classes is not None or not entries else len(entries)
        self.any_number = any_number
        self._exact = _unambiguous((key, i) for i, (exact, _) in enumerate(entries) for key in exact)
        self._synonyms = _unambiguous((key, i) for i, (_, synonyms) in enumerate(entries) for key in synonyms)

    @property
    def one_output(self) -> bool:
        """Whether the labels are 0 and 1, absent and present, of one class."""
        return self.any_number and self.classes == 1

    def find(self, text: str) -> int | None:
        """Returns the index of the class called `text`, or None; of one output its label, 1."""
        key = _normal(text)
        found = self._exact.get(key, self._synonyms.get(key))
        return 1 if found == 0 and self.one_output else found

    def check(self, labels: Labels, ids: Sequence[str], where: object) -> None:
        """Raises an `InputError` that names the first image whose label is no class of the model."""
        top = np.inf if self.classes is None else self.classes
        bad = [(name, label) for name, own in zip(ids, labels, strict=True) for label in own if not 0 <= label < top]
        if bad:
            classes = "not be negative" if self.classes is None else f"lie in 0..{self.classes - 1}"
            name, label = bad[0]
            raise InputError(
                f"{where}: labels must {classes}, but {name} has {label} ({len(bad)} such label(s)); "
                "mend the labels, or check the model and --drop-class"
            )


def folder_classes(folders: Sequence[str], index: ClassIndex, where: object) -> tuple[dict[str, int], list[str]]:
    """Returns the class of every sub-folder, and what must be said aloud about it.

    Names the model knows come first, then integers; only when no folder is either are they numbered in sorted order.
    Some known and some not is an `InputError`: numbering those would label pictures wrongly without a word.
    """
    found = {folder: _name_or_integer(folder, index) for folder in folders}
    known = {folder: label for folder, label in found.items() if label is not None}
    unknown = [folder for folder in folders if folder not in known]
    if not unknown:
        return known, []
    if known:
        raise InputError(
            f"{where}: expected a class name, wnid or integer for every sub-folder; not known to the model: "
            f"{some(unknown)}; rename or remove these"
        )
    numbered = {folder: label for label, folder in enumerate(sorted(folders))}
    pairs = some([f"{folder}={label}" for folder, label in numbered.items()])
    return numbered, [f"labels: no sub-folder is a class known to the model, so they count in sorted order: {pairs}"]


def _name_or_integer(text: str, index: ClassIndex) -> int | None:
    label = index.find(text)
    return int(text) if label is None and text.isdecimal() else label


def _spellings(entry: str) -> tuple[set[str], set[str]]:
    """Returns the exact keys of an entry and its synonyms, normalised."""
    wnid = _WNID.match(entry)
    words = entry[wnid.end() :] if wnid else entry
    exact = {entry, words} | ({wnid.group()} if wnid else set())
    return {_normal(key) for key in exact} - {""}, {_normal(key) for key in words.split(",")} - {""}


def _normal(text: str) -> str:
    return " ".join(text.replace("_", " ").split()).casefold()


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Returns the keys that stand for one class only (ImageNet has two cranes)."""
    table: dict[str, set[int]] = {}
    for key, label in pairs:
        table.setdefault(key, set()).add(label)
    return {key: labels.pop() for key, labels in table.items() if len(labels) == 1}
