"""Where the object is, image by image: boxes or masks over the stored picture, carried through its resize and crop."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.data.columns import read_ids
from c2i_fast.data.fingerprint import of_files, of_records
from c2i_fast.data.frame import Frame
from c2i_fast.data.memory import as_array
from c2i_fast.data.names import keys_of, some
from c2i_fast.data.npy import read_npy
from c2i_fast.data.records import Records
from c2i_fast.data.source import ImageSource
from c2i_fast.errors import InputError
from c2i_fast.types import Bools, Doubles, frozen


class RegionSource(ABC):
    """The regions of a source of images; memory holds one at a time.

    Attributes:
        where: the file or folder, for messages.
        known: image id → what the file calls it, for the images it names.
        notes: what the user should be told; filled by `check`.
    """

    def __init__(self, images: ImageSource, keys: Sequence[str], where: Path) -> None:
        self.where = where
        self.notes: list[str] = []
        self._images = images
        self._places = {image: number for number, image in enumerate(images.ids)}
        self.known = self._joined(frozenset(keys))
        if not self.known:
            raise InputError(
                f"{where}: no region belongs to any of the {len(images)} images: images are called like "
                f"{images.ids[0]!r}, regions like {some(sorted(keys), 1) or 'nothing'}; name them by image id or stem"
            )

    def _joined(self, keys: frozenset[str]) -> dict[str, str]:
        known, owner = dict[str, str](), dict[str, str]()
        for image in self._images.ids:
            key = next((key for key in keys_of(image) if key in keys), None)
            if key in owner:
                raise InputError(
                    f"{self.where}: region {key!r} would serve two images, {owner[key]} and {image}; "
                    "name regions by the whole image id"
                )
            if key is not None:
                known[image], owner[key] = key, image
        return known

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the contents; above 1 GiB, `stat:` and one of sizes and mtimes."""

    @abstractmethod
    def inside(self, key: str, frame: Frame) -> Bools:
        """Returns which places of the frame's space lie in the region called `key`."""

    def load(self, image: str) -> Bools | None:
        """Returns where the object of an image is, bool (*space), read-only.

        None where no region is given for the image, or none of it is in view after the crop.

        Raises:
            InputError: A box that leaves the picture, a mask of another size, or one that cannot be read.
        """
        if image not in self.known:
            return None
        try:
            region = self.inside(self.known[image], self._images.frame(self._places[image]))
        except InputError as error:
            where = "" if str(self.where) in str(error) else f"{self.where}: "
            raise InputError(f"{where}region of image {image}: {error}") from error
        return frozen(region) if region.any() else None

    def check(self) -> None:
        """Reads every region once, so that a wrong one is named before any pass, and notes how many are of no use.

        Raises:
            InputError: One of them cannot be used, or none of them is in view.
        """
        unnamed = [image for image in self._images.ids if image not in self.known]
        hidden, whole = list[str](), list[str]()
        for image in self.known:
            if not self._readable(image):
                continue
            region = self.load(image)
            if region is None or region.all():
                (hidden if region is None else whole).append(image)
        if len(hidden) == len(self.known):
            raise InputError(f"{self.where}: no region is in view after the crop: {some(hidden)}; leave --crop out")
        for images, what in (
            (unnamed, "have no region, and no row of the metrics that need one"),
            (hidden, "have a region that is out of view or smaller than a pixel, and no row of these metrics"),
            (whole, "have a region that covers all of the image, and no row of roc-auc"),
        ):
            if images:
                self.notes.append(f"regions: {len(images)} of {len(self._images)} images {what}: {some(images, 3)}")

    def _readable(self, image: str) -> bool:
        """Returns whether the picture is; where it is not, reading the images says so or skips it."""
        try:
            self._images.frame(self._places[image])
        except InputError:
            return False
        return True


class BoxRegions(RegionSource):
    """Boxes by file name, the region being their union."""

    def __init__(self, images: ImageSource, path: Path, boxes: Mapping[str, Doubles]) -> None:
        self._boxes = boxes
        super().__init__(images, list(boxes), path)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the file."""
        return of_files("boxes", [self.where])

    def inside(self, key: str, frame: Frame) -> Bools:
        """Returns the places whose centre shows a point of x0 ≤ x < x1, y0 ≤ y < y1."""
        if len(frame.stored) != 2:
            raise InputError(f"boxes are for pictures, and this image has shape {frame.stored}; give masks")
        (height, width), (y, x) = frame.stored, frame.points()
        region = np.zeros(frame.space, np.bool_)
        for x0, y0, x1, y1 in self._boxes[key]:
            if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
                raise InputError(
                    f"expected a box inside the picture, 0 ≤ x0 < x1 ≤ {width} and 0 ≤ y0 < y1 ≤ {height}, got "
                    f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}; give pixels of the stored picture"
                )
            rows, columns = (slice(*np.searchsorted(at, ends)) for at, ends in ((y, (y0, y1)), (x, (x0, x1))))
            region[rows, columns] = True
        return region


class MaskRegions(RegionSource):
    """Masks of the size of the stored picture; whatever is not zero is inside."""

    @abstractmethod
    def read(self, key: str) -> NDArray[Any]:
        """Returns the mask called `key`, as stored."""

    def inside(self, key: str, frame: Frame) -> Bools:
        """Returns the mask sampled at the points that the places' centres show (nearest neighbour)."""
        values = self.read(key)
        if values.dtype.kind not in "biu":
            raise InputError(f"expected a mask of booleans or integers, got {values.dtype}; save it as bool")
        if values.shape != frame.stored:
            raise InputError(
                f"expected a mask of the stored picture's size {frame.stored}, got {values.shape}; resize it (nearest)"
            )
        chosen = np.ix_(*(np.floor(points).astype(np.intp) for points in frame.points()))
        return np.asarray(values[chosen] != 0)


class MaskFolder(MaskRegions):
    """A folder of `<id>.png` and `<id>.npy`; an image only ever finds files that were listed in it."""

    def __init__(self, images: ImageSource, folder: Path, files: Sequence[str]) -> None:
        self._files = {name[: -len(".npy")]: folder / name for name in files}
        if len(self._files) < len(files):
            twice = next(name for name in files if self._files[name[: -len(".npy")]] != folder / name)
            raise InputError(f"{folder}: two masks are called like {twice}; keep one of .png and .npy")
        super().__init__(images, list(self._files), folder)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the names and bytes of the masks in use."""
        keys = list(self.known.values())
        return of_files(["masks", self.known], [self._files[key] for key in keys])

    def read(self, key: str) -> NDArray[Any]:
        """Returns the picture or array in the file."""
        path = self._files[key]
        if path.suffix == ".npy":
            return read_npy(path)
        from c2i_fast.data.pictures import read_mask  # here, so that arrays need no Pillow

        return read_mask(path)


class MaskArray(MaskRegions):
    """`masks` (N, *size) and `ids` (N,) of an .npz."""

    def __init__(self, images: ImageSource, path: Path) -> None:
        self._masks = Records(path, "masks")
        ids = read_ids(path, self._masks.shape[0])
        self._numbers = {key: number for number, key in enumerate(ids)}
        super().__init__(images, ids, path)

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of ids and values."""
        return of_records(list(self._numbers), self.where, "masks", len(self._numbers))

    def read(self, key: str) -> NDArray[Any]:
        """Returns the record whose id is `key`."""
        return self._masks.read(self._numbers[key])


class MemoryRegions(MaskRegions):
    """Masks (N, *size) that are an array already, in the order of the images."""

    def __init__(self, images: ImageSource, masks: Any) -> None:
        self._masks = as_array(masks)
        if self._masks.ndim < 2 or len(self._masks) != len(images):
            raise InputError(f"regions must be (N, *size) for {len(images)} images, got {self._masks.shape}")
        super().__init__(images, list(images.ids), Path("regions"))

    def fingerprint(self) -> str:
        """Returns SHA-256 in hex of the values."""
        return hashlib.sha256(np.ascontiguousarray(self._masks).tobytes()).hexdigest()

    def read(self, key: str) -> NDArray[Any]:
        """Returns the mask of an image."""
        return np.asarray(self._masks[self._places[key]])
