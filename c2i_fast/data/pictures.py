"""From a picture file to pixels: the only module that decodes. Importing it imports Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from c2i_fast.data.frame import Frame
from c2i_fast.errors import InputError
from c2i_fast.types import Floats, Preprocessing

MAX_PIXELS = 178_956_970  # where Pillow itself refuses; 10 000 × 10 000 fits
WHITE = (255, 255, 255, 255)
MASK_MODES = ("1", "L", "P", "I", "I;16")

# Pillow warns at half of its limit, on stderr. A large picture is no news here, and a picture too large is an error.
if Image.MAX_IMAGE_PIXELS is not None:
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, MAX_PIXELS)


def decode(path: Path, preprocessing: Preprocessing, channels: int) -> Floats:
    """Returns the picture as float32 (channels, H, W) in [0, 1], RGB or grey, resized and cropped by `preprocessing`.

    EXIF orientation is applied. Transparent parts are laid over white. Palettes and CMYK become RGB by Pillow's rules;
    16-bit grey keeps its depth. Of an animation, the first frame counts.

    Raises:
        InputError: when the file is missing, empty, cut off, too large, or no picture.
    """
    return to_pixels(fit(_open(path, channels), preprocessing, path), channels)


def _open(path: Path, channels: int) -> Image.Image:
    try:
        with Image.open(path) as picture:
            check_area(picture.size, path)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return flatten(picture, channels)
    except InputError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
        raise InputError(f"{path}: expected a picture, but {_fault(path, error)}") from error


def _fault(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS} pixels"
    if isinstance(error, FileNotFoundError):
        return "the file is not there"
    if isinstance(error, UnidentifiedImageError):
        return "the file is empty (0 bytes)" if path.stat().st_size == 0 else "its content is no picture format we read"
    return f"it cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})"


def check_area(size: tuple[int, int], where: object) -> None:
    """Raises an `InputError` when width × height exceeds `MAX_PIXELS`, before any pixel takes memory."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(f"{where}: expected at most {MAX_PIXELS} pixels, but came {width}×{height}; scale it down")


def flatten(picture: Image.Image, channels: int) -> Image.Image:
    """Returns the picture in mode RGB, or L for one channel; 16-bit grey as mode F, scaled to 0..255."""
    if picture.mode.startswith("I"):
        return _deep_grey(picture)
    if picture.mode == "F":
        raise ValueError("float values have no known range; save such images as float32 in an .npz")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, WHITE), coloured)
    return picture.convert("L" if channels == 1 else "RGB")


def _deep_grey(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"integers must lie in 0..65535, these go from {values.min()} to {values.max()}")
    return Image.fromarray(values.astype(np.float32) / np.float32(257))


def fit(picture: Image.Image, preprocessing: Preprocessing, where: object) -> Image.Image:
    """Returns the picture at `preprocessing.size`, squashed or cropped as `Frame.of` says (Pillow bilinear)."""
    if preprocessing.size is None:
        return picture
    frame = Frame.of((picture.height, picture.width), preprocessing)
    (high, wide), (top, left), (height, width) = frame.cover, frame.corner, frame.space
    if preprocessing.crop is not None:
        check_area((wide, high), where)
    picture = picture.resize((wide, high), Image.Resampling.BILINEAR)
    return picture if preprocessing.crop is None else picture.crop((left, top, left + width, top + height))


def upright_size(path: Path) -> tuple[int, int]:
    """Returns (height, width) of a picture after its EXIF orientation, from its header alone.

    Raises:
        InputError: when the file is missing, empty or no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            sideways = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception as error:
        raise InputError(f"{path}: expected a picture, but {_fault(path, error)}") from error
    return (width, height) if sideways else (height, width)


def read_mask(path: Path) -> NDArray[Any]:
    """Returns the values (H, W) of a picture of one channel, as stored; of a palette, the indices.

    Raises:
        InputError: when the file is no picture, is too large, or has colours.
    """
    try:
        with Image.open(path) as picture:
            check_area(picture.size, path)
            if picture.mode not in MASK_MODES:
                raise InputError(
                    f"{path}: expected a mask of one channel (1-bit, 8-bit or palette), but its mode is "
                    f"{picture.mode}; save one channel"
                )
            return np.asarray(picture)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: expected a mask, but {_fault(path, error)}") from error


def to_pixels(picture: Image.Image, channels: int) -> Floats:
    """Returns float32 (channels, H, W) = value / 255; grey is repeated for three channels."""
    values = np.asarray(picture, np.float32)
    planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    pixels: Floats = np.array(np.broadcast_to(planes, (channels, *planes.shape[1:])), order="C")
    pixels /= np.float32(255)
    return pixels
