"""`open_regions`: what a file or folder says of where the objects are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from c2i_fast.data.folder import files_below
from c2i_fast.data.names import id_fault, some
from c2i_fast.data.region_source import BoxRegions, MaskArray, MaskFolder, MemoryRegions, RegionSource
from c2i_fast.data.source import ImageSource
from c2i_fast.data.table import read_rows
from c2i_fast.errors import InputError
from c2i_fast.types import Doubles

FILE_COLUMNS = ("file", "image", "image_name")
BOX_COLUMNS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"))
MOST_TABLE_BYTES = 1 << 28


def open_regions(regions: Any, images: ImageSource) -> RegionSource:
    """Returns the regions of a source of images, each checked.

    A box is x0 ≤ x < x1, y0 ≤ y < y1 in pixels of the stored picture, upright as its EXIF orientation says, where pixel
    i covers [i, i + 1); whole numbers therefore exclude x1 and y1. A mask has that picture's size, and what is not zero
    is inside. Several boxes of an image are one region, their union; labels of boxes are not looked at.

    Args:
        regions: a CSV with `file,x0,y0,x1,y1` (also `image_name`, and `xmin,ymin,xmax,ymax`), a row a box; a folder of
            masks `<image id>.png` or `.npy`; an .npz with `masks` and `ids`; or an array (N, *size).
        images: whose ids, or these without folder or extension, name the regions.

    Raises:
        InputError: Nothing there, none of the images named, boxes outside the image, masks of another size.
    """
    source = _open(Path(regions), images) if isinstance(regions, str | Path) else MemoryRegions(images, regions)
    source.check()
    return source


def _open(path: Path, images: ImageSource) -> RegionSource:
    if path.is_dir():
        files = files_below(path, (".png", ".npy"))
        files = [name for name in files if name.endswith((".png", ".npy"))]
        if not files:
            raise InputError(f"{path}: expected masks (<image id>.png or .npy), but found none; mend --regions")
        return MaskFolder(images, path, files)
    if path.is_file() and path.suffix.lower() == ".csv":
        return BoxRegions(images, path, read_boxes(path))
    if path.is_file() and path.suffix.lower() == ".npz":
        return MaskArray(images, path)
    came = f"is a file of kind {path.suffix or 'no suffix'!r}" if path.exists() else "does not exist"
    raise InputError(
        f"{path}: expected a CSV with file,x0,y0,x1,y1, a folder of masks, or an .npz with masks and ids, but it "
        f"{came}; mend the path given to --regions"
    )


def read_boxes(path: Path) -> dict[str, Doubles]:
    """Returns file → float64 (boxes, 4), the columns x0, y0, x1, y1; other columns are ignored.

    Raises:
        InputError: A column is missing, the table is empty or above 256 MiB, or a cell is no finite number.
    """
    if path.stat().st_size > MOST_TABLE_BYTES:
        raise InputError(f"{path}: expected at most {MOST_TABLE_BYTES} bytes of boxes; split the table")
    header, rows = read_rows(path)
    named = next((name for name in FILE_COLUMNS if name in header), None)
    corners = next((names for names in BOX_COLUMNS if set(names) <= set(header)), None)
    if named is None or corners is None:
        raise InputError(
            f"{path}: expected the columns file,x0,y0,x1,y1 in the first line, but found {some(header, 8) or 'nothing'}"
            "; name them so, and separate them with commas"
        )
    if not rows:
        raise InputError(f"{path}: expected one row per box below the first line, but there is none; add some")
    at, numbers = header.index(named), [header.index(name) for name in corners]
    boxes: dict[str, list[list[float]]] = {}
    for line, cells in rows:
        boxes.setdefault(_file(path, line, cells[at]), []).append(_corners(path, line, [cells[n] for n in numbers]))
    return {name: np.array(values, np.float64) for name, values in boxes.items()}


def _file(path: Path, line: int, cell: str) -> str:
    fault = id_fault(cell.strip())
    if fault is not None:
        raise InputError(f"{path}, line {line}: expected the name of an image, but {cell!r} {fault}; mend it")
    return cell.strip()


def _corners(path: Path, line: int, cells: list[str]) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = [np.nan]
    if not np.isfinite(values).all():
        raise InputError(f"{path}, line {line}: expected four numbers, got {', '.join(cells)}; mend or remove the row")
    return values
