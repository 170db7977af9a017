"""Baselines that are images from elsewhere: another one of the same source, or a file with one for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from c2i_fast.data.columns import read_ids
from c2i_fast.data.fingerprint import of_records
from c2i_fast.data.map_source import FolderMaps, MapSource
from c2i_fast.data.names import some
from c2i_fast.data.records import Records
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.random_numbers import generator
from c2i_fast.types import Floats

ANOTHER, FILE = "another-image", "file:"
MOST_DRAWS = 100  # of an image that can be read

OtherImage = Callable[[str], Floats]
"""From an image's id to the pixels (C, *space) of its baseline."""


def other_images(baselines: Iterable[str], source: ImageSource, seed: int) -> dict[str, OtherImage]:
    """Returns, for those of the baselines that come from elsewhere, where from.

    Args:
        baselines: names; those made of the image itself are left out.
        source: of the images that are scored.
        seed: of the run.

    Raises:
        InputError: Another image of one; a file that cannot be used, or that lacks some of the images.
    """
    found: dict[str, OtherImage] = {}
    for name in dict.fromkeys(baselines):
        if name == ANOTHER:
            found[name] = _another(source, seed)
        elif name.startswith(FILE):
            found[name] = _from_file(name, source.ids)
    return found


def fingerprints(baselines: Iterable[str]) -> dict[str, str]:
    """Returns SHA-256 in hex of the files among the baselines, by name, ids and contents."""
    return {name: _opened(name).fingerprint() for name in dict.fromkeys(baselines) if name.startswith(FILE)}


def _another(source: ImageSource, seed: int) -> OtherImage:
    if len(source) < 2:
        raise InputError(f"baseline {ANOTHER} needs a second image, and there is one; give more --images")
    places = {image: place for place, image in enumerate(source.ids)}

    def load(image: str) -> Floats:
        drawn = generator(seed, f"baseline {ANOTHER}", image).integers(len(source) - 1, size=MOST_DRAWS)
        for place in drawn + (drawn >= places[image]):
            try:
                with closing(source.loads(int(place))) as loads:  # type: ignore[type-var]
                    return next(loads)()
            except InputError:  # one that cannot be read is reported, or skipped, at its own turn
                continue
        raise InputError(f"{image}: none of {MOST_DRAWS} other images could be read for baseline {ANOTHER}; mend them")

    return load


class _Pictures(MapSource):
    """`images` (N, C, *space), or uint8 (N, H, W, C), and `ids` (N,) of an .npz."""

    def __init__(self, path: Path) -> None:
        self._images = Records(path, "images")
        super().__init__(path.name, read_ids(path, self._images.shape[0]), path)

    def fingerprint(self) -> str:
        return of_records(list(self.ids), self.where, "images", len(self.ids))

    def read(self, key: str) -> np.ndarray:
        return self._images.read(self._known[key])


def _opened(name: str) -> MapSource:
    path = Path(name.removeprefix(FILE))
    if path.is_dir():
        return FolderMaps(path.name, path)
    if path.is_file() and path.suffix.lower() == ".npz":
        return _Pictures(path)
    raise InputError(f"baseline {name}: expected an .npz with images and ids, or a folder of <image id>.npy; mend PATH")


def _from_file(name: str, ids: Iterable[str]) -> OtherImage:
    stored = _opened(name)
    missing = [image for image in ids if stored.find(image) is None]
    if missing:
        raise InputError(f"baseline {name} lacks {len(missing)} images: {some(missing)}; add them, or leave them out")

    def load(image: str) -> Floats:
        key = stored.find(image)
        values = np.asarray(stored.read(key or ""))
        if values.dtype == np.uint8 and values.ndim == 3:
            values = np.moveaxis(values, -1, 0) / np.float32(255)
        if values.dtype.kind != "f" or not np.isfinite(values).all():
            raise InputError(
                f"baseline {name} of image {image}: expected finite floats (C, *space) or uint8 (H, W, C), got "
                f"{values.dtype} {values.shape}; save it so"
            )
        return np.ascontiguousarray(values, np.float32)

    return load


def baselines_of(protocols: Iterable[object]) -> tuple[str, ...]:
    """Returns the names of the baselines that some protocols use."""
    named = (getattr(protocol, "baseline", None) for protocol in protocols)
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str)))


Elsewhere = Mapping[str, OtherImage]
"""By the baseline's name."""
