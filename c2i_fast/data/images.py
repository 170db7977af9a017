"""`open_images`: which kind of source a path is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from c2i_fast.data.arrays import ArraySource
from c2i_fast.data.files import FileSource
from c2i_fast.data.folder import list_pictures
from c2i_fast.data.label_sets import present_or_absent
from c2i_fast.data.labels import ClassIndex, Labels, folder_classes
from c2i_fast.data.source import ImageSource
from c2i_fast.data.table import read_table
from c2i_fast.errors import InputError, UsageError
from c2i_fast.types import Activation, Preprocessing


def open_images(
    src: str | Path,
    *,
    preprocessing: Preprocessing,
    channels: int = 3,
    classes: int | None = None,
    activation: Activation = "softmax",
    class_names: Sequence[str] | None = None,
    limit: int | None = None,
) -> ImageSource:
    """Returns the images at `src`, checked as far as possible without decoding one.

    Args:
        src: a folder of pictures, in one sub-folder per class or without labels; a CSV with `file,label` (paths
            relative to it, several labels `3;17`); or an .npz with `images` and optional `labels`, `ids`, `targets`.
        preprocessing: its size and crop are applied to pictures; mean and std are the graph's own business.
        channels: C of the network, 3 (RGB) or 1 (grey) for pictures.
        classes: K; labels outside 0..K-1 are an error.
        activation: an image may have no label at all under a sigmoid head; one of one output takes the labels 0 and 1.
        class_names: per class, such as `tench` or `n01440764 tench, Tinca tinca`; they tell what sub-folders mean.
        limit: only the first so many images.

    Example:
        >>> source = open_images("val/", preprocessing=Preprocessing(size=(224, 224)))  # doctest: +SKIP
        >>> next(source.stream()).pixels.shape  # doctest: +SKIP
        (3, 224, 224)

    Raises:
        InputError: one line that says what was expected, what came, and how to mend it.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, got {limit}")
    path = Path(src)
    index = ClassIndex(class_names, classes, any_number=activation == "sigmoid")
    if path.is_file() and path.suffix.lower() == ".npz":
        return ArraySource(path, preprocessing=preprocessing, channels=channels, index=index, limit=limit)
    ids, labels, notes = _listing(path, index, limit)
    if labels is not None and index.one_output:
        labels = present_or_absent(labels, path)
    index.check(labels or (), ids if labels else (), path)
    root = path if path.is_dir() else path.parent
    return FileSource(root, ids, labels, notes, preprocessing=preprocessing, channels=channels)


def _listing(path: Path, index: ClassIndex, limit: int | None) -> tuple[Sequence[str], Labels | None, list[str]]:
    """Returns ids, labels and notes of a folder or a CSV."""
    if path.is_dir():
        return _classified(path, index, limit)
    if path.is_file() and path.suffix.lower() == ".csv":
        return *read_table(path, index, limit), []
    came = f"is a file of kind {path.suffix or 'no suffix'!r}" if path.exists() else "does not exist"
    raise InputError(
        f"{path}: expected a folder of pictures, a CSV with file,label, or an .npz with images, but it {came}; "
        "mend the path given to --images"
    )


def _classified(folder: Path, index: ClassIndex, limit: int | None) -> tuple[Sequence[str], Labels | None, list[str]]:
    ids, folders = list_pictures(folder)
    if folders is None:
        return ids[:limit], None, []
    label_of, notes = folder_classes(folders, index, folder)
    labels = [(label_of[name.partition("/")[0]],) for name in ids]
    if len(set(labels[:limit])) < len(set(labels)):
        notes.append(
            f"limit: the first {limit} images, in sorted order, show {len(set(labels[:limit]))} of {len(set(labels))} "
            "classes; a CSV sets another order"
        )
    return ids[:limit], labels[:limit], notes
