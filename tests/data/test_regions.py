"""Regions: every kind of source, through resizing and cropping, and what is refused with the image's name."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from c2i_fast.data import open_images
from c2i_fast.data.memory import MemoryImages
from c2i_fast.data.regions import open_regions
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

SIZE = (10, 14)  # height, width of the stored pictures


@pytest.fixture
def images(tmp_path, picture):
    """Opens three pictures `a.png`, `b.png` and `c.png`."""
    for name in "abc":
        picture(tmp_path / "images" / f"{name}.png", size=SIZE[::-1])

    def make(size=None, crop=None):
        return open_images(tmp_path / "images", preprocessing=Preprocessing(size=size, crop=crop))

    return make


@pytest.fixture
def table(tmp_path):
    """Writes a CSV of boxes."""

    def write(*rows, header="file,x0,y0,x1,y1"):
        (tmp_path / "boxes.csv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / "boxes.csv"

    return write


def box(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def masks(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).random((3, *SIZE)) < 0.3


# -------------------------------------------------------------------------------- boxes


def test_a_box_excludes_its_far_edges_and_several_are_one_region(images, table):
    regions = open_regions(table("a.png,2,3,5,9", "b.png,0,0,14,10", "a.png,4,1,6,4", "c.png,13,9,14,10"), images())
    np.testing.assert_array_equal(regions.load("a.png"), box(2, 3, 5, 9) | box(4, 1, 6, 4))
    assert regions.load("b.png").all()
    assert np.argwhere(regions.load("c.png")).tolist() == [[9, 13]]
    assert regions.notes == ["regions: 1 of 3 images have a region that covers all of the image, and no row of "
                             "roc-auc: b.png"]  # fmt: skip


def test_fractions_of_a_pixel_count_by_the_pixels_centre(images, table):
    regions = open_regions(table("a.png,1.5,0,2.51,1", "b.png,1.51,0,2.5,1", "c.png,0,0,1,0.6"), images())
    assert np.argwhere(regions.load("a.png")).tolist() == [[0, 1], [0, 2]]
    assert regions.load("b.png") is None
    assert np.argwhere(regions.load("c.png")).tolist() == [[0, 0]]


@pytest.mark.parametrize("options", [{"size": (5, 7)}, {"size": (23, 9)}, {"size": (8, 8), "crop": 0.8}])
def test_boxes_and_the_masks_they_are_go_through_resize_and_crop_alike(images, table, options):
    boxes = {"a": (2, 1, 9, 8), "b": (5, 0, 6, 10), "c": (3, 2, 14, 7)}
    source = images(**options)
    by_box = open_regions(table(*(f"{n}.png,{','.join(map(str, b))}" for n, b in boxes.items())), source)
    by_mask = open_regions(_saved(source, np.array([box(*b) for b in boxes.values()])), source)
    for image in source.stream():
        region = by_box.load(image.id)
        assert region.shape == image.pixels.shape[1:]
        np.testing.assert_array_equal(region, by_mask.load(image.id))


def test_an_npz_of_pictures_frames_its_regions_as_files_do(images, table, tmp_path):
    options = {"size": (8, 8), "crop": 0.8}
    stored = [np.asarray(Image.open(tmp_path / "images" / f"{name}.png")) for name in "abc"]
    np.savez(tmp_path / "images.npz", images=np.array(stored), ids=["a.png", "b.png", "c.png"])
    boxes = table("a.png,2,1,9,8", "b.png,5,0,6,10", "c.png,3,2,14,7")
    arrays = open_images(tmp_path / "images.npz", preprocessing=Preprocessing(**options))
    for name in arrays.ids:
        region = open_regions(boxes, arrays).load(name)
        assert region.shape == (8, 8)
        np.testing.assert_array_equal(region, open_regions(boxes, images(**options)).load(name))
    as_they_are = open_images(tmp_path / "images.npz", preprocessing=Preprocessing(size=SIZE, crop=0.5))
    np.testing.assert_array_equal(open_regions(boxes, as_they_are).load("a.png"), box(2, 1, 9, 8))


def _saved(source, values):
    path = source._root.parent / "masks.npz"
    np.savez(path, masks=values, ids=[name.removesuffix(".png") for name in source.ids])
    return path


def test_what_the_crop_cuts_away_leaves_an_image_without_region(images, table):
    source = images(size=(8, 8), crop=0.8)  # columns below 2 and above 11 of the 14 are cut away
    regions = open_regions(table("a.png,0,0,1,10", "b.png,4,4,8,8"), source)
    assert regions.load("a.png") is None
    assert regions.load("b.png").any()
    assert regions.load("c.png") is None
    assert regions.notes == [
        "regions: 1 of 3 images have no region, and no row of the metrics that need one: c.png",
        "regions: 1 of 3 images have a region that is out of view or smaller than a pixel, and no row of these "
        "metrics: a.png",
    ]
    with pytest.raises(InputError, match=r"no region is in view after the crop: a\.png"):
        open_regions(table("a.png,0,0,1,10"), source)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("file,label,x0,y0,x1,y1", "a.png"),
        ("image_name,breed,xmin,ymin,xmax,ymax", "a"),
        ("image,odd, x0 ,y0,x1,y1", "a.png"),
    ],
)
def test_other_tables_headers_are_understood(images, table, header, name):
    regions = open_regions(table(f"{name},7,2,3,5,9", header=header), images())
    np.testing.assert_array_equal(regions.load("a.png"), box(2, 3, 5, 9))


@pytest.mark.parametrize("cells", ["-1,0,3,3", "0,0,15,3", "0,0,3,10.5", "3,0,3,3", "0,5,3,4", "0,-0.01,3,3"])
def test_a_box_outside_the_image_is_an_error_that_names_it(images, table, cells):
    said = r"region of image b\.png: expected a box inside the picture, 0 ≤ x0 < x1 ≤ 14 and 0 ≤ y0 < y1 ≤ 10, got x "
    with pytest.raises(InputError, match=said):
        open_regions(table("a.png,0,0,1,1", f"b.png,{cells}"), images())


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (["a.png,0,0,1,1"], "path,x0,y0,x1,y1", "expected the columns file,x0,y0,x1,y1 .* found path, x0"),
        (["a.png,0,0,1,1"], "file,x0,y0,xmax,ymax", "expected the columns file,x0,y0,x1,y1"),
        ([], "file,x0,y0,x1,y1", "expected one row per box below the first line"),
        (["a.png,0,0,1,nan"], "file,x0,y0,x1,y1", "line 2: expected four numbers, got 0, 0, 1, nan"),
        (["a.png,0,0,1,1", "b.png,0,0,1"], "file,x0,y0,x1,y1", "line 3: expected four numbers, got 0, 0, 1, "),
        (["a.png,0,0,inf,1"], "file,x0,y0,x1,y1", "line 2: expected four numbers"),
        (["../a.png,0,0,1,1"], "file,x0,y0,x1,y1", r"line 2: .*'\.\./a\.png' leads out of the folder"),
        ([",0,0,1,1"], "file,x0,y0,x1,y1", "line 2: expected the name of an image, but '' is not a plain"),
        (["x.png,0,0,1,1"], "file,x0,y0,x1,y1", r"no region belongs to any of the 3 images: .*'a\.png', .* x\.png"),
    ],
)
def test_a_table_that_cannot_be_used(images, table, rows, header, said):
    with pytest.raises(InputError, match=said):
        open_regions(table(*rows, header=header), images())


def test_a_table_too_large_is_not_read(images, table, monkeypatch):
    monkeypatch.setattr("c2i_fast.data.regions.MOST_TABLE_BYTES", 20)
    with pytest.raises(InputError, match="expected at most 20 bytes of boxes"):
        open_regions(table("a.png,0,0,1,1"), images())


def test_boxes_are_refused_for_signals(table):
    signals = MemoryImages(np.zeros((2, 1, 9), np.float32), ids=["a", "b"])
    with pytest.raises(InputError, match=r"boxes are for pictures, and this image has shape \(9,\); give masks"):
        open_regions(table("a,0,0,1,1"), signals)


def test_boxes_are_of_the_picture_as_its_orientation_turns_it(tmp_path, table):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: stored 14×10, shown 10×14
    (tmp_path / "turned").mkdir()
    Image.new("RGB", SIZE).save(tmp_path / "turned" / "a.jpg", exif=exif)
    source = open_images(tmp_path / "turned", preprocessing=Preprocessing())
    assert next(source.stream()).pixels.shape[1:] == SIZE
    np.testing.assert_array_equal(open_regions(table("a.jpg,2,3,14,9"), source).load("a.jpg"), box(2, 3, 14, 9))


# -------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("kind", ["1", "L", "P", "npy", "ints"])
def test_a_folder_of_masks_of_any_kind(images, tmp_path, kind):
    (tmp_path / "masks").mkdir()
    for name, mask in zip("abc", masks(), strict=True):
        path = tmp_path / "masks" / name
        if kind in ("npy", "ints"):
            np.save(f"{path}.npy", mask if kind == "npy" else mask * np.int16(-3))
            continue
        made = Image.fromarray(mask.astype(np.uint8) * (7 if kind == "P" else 255), "L")
        if kind == "P":
            made.putpalette([0, 0, 0] * 256)  # class indices count, not their colours
        (made.convert("1") if kind == "1" else made).save(f"{path}.png")
    regions = open_regions(str(tmp_path / "masks"), images())
    for name, mask in zip("abc", masks(), strict=True):
        np.testing.assert_array_equal(regions.load(f"{name}.png"), mask)
        assert regions.load(f"{name}.png").dtype == bool
        assert not regions.load(f"{name}.png").flags.writeable


def test_masks_of_an_array_and_of_an_npz(images):
    source = images()
    expected = masks()
    for regions in (open_regions(expected, source), open_regions(_saved(source, expected), source)):
        for name, mask in zip(source.ids, expected, strict=True):
            np.testing.assert_array_equal(regions.load(name), mask)
    signals = MemoryImages(np.zeros((2, 1, 9), np.float32))
    marked = np.arange(18).reshape(2, 9) % 2 == 1
    np.testing.assert_array_equal(open_regions(marked, signals).load("1"), marked[1])


def test_an_empty_mask_is_no_region(images):
    values = masks()
    values[1] = False
    regions = open_regions(values, images())
    assert regions.load("b.png") is None
    assert len(regions.notes) == 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros((3, 9, 14), bool), r"image a\.png: expected a mask of the stored picture's size \(10, 14\), got \(9"),
        (np.ones((3, *SIZE)), "expected a mask of booleans or integers, got float64; save it as bool"),
        (np.ones((2, *SIZE), bool), r"regions must be \(N, \*size\) for 3 images, got \(2, 10, 14\)"),
    ],
)
def test_an_array_that_is_no_masks(images, values, said):
    with pytest.raises(InputError, match=said):
        open_regions(values, images())


def _folder(place, **files):
    place.mkdir()
    for name, content in files.items():
        path = place / name.replace("_", ".")
        path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    return place


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, r"expected masks \(<image id>\.png or \.npy\), but found none"),
        ({"a_png": Image.new("RGB", SIZE[::-1])}, r"mask of one channel .* its mode is RGB"),
        ({"a_png": b"hello"}, "expected a mask, but its content is no picture format"),
        ({"a_npy": b"hello"}, "expected a NumPy array"),
        ({"a_png": Image.new("1", (20_000, 20_000))}, r"it has more than 178956970 pixels"),
        ({"a_png": Image.new("1", SIZE[::-1], 1), "a_npy": b""}, r"two masks are called like a\.(npy|png)"),
    ],
)
def test_a_folder_that_cannot_be_used(images, tmp_path, files, said):
    with pytest.raises(InputError, match=said):
        open_regions(_folder(tmp_path / "bad", **files), images())


def test_what_is_neither(images, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    for name, said in (("a.txt", "is a file of kind '.txt'"), ("absent", "does not exist")):
        with pytest.raises(InputError, match=f"{name}: expected a CSV with file,x0.*{re.escape(said)}"):
            open_regions(tmp_path / name, images())


def test_one_region_must_not_serve_two_images(tmp_path, picture, table):
    for name in ("x/a.png", "y/a.png"):
        picture(tmp_path / "two" / name)
    source = open_images(tmp_path / "two", preprocessing=Preprocessing())
    with pytest.raises(InputError, match=r"region 'a\.png' would serve two images, x/a\.png and y/a\.png"):
        open_regions(table("a.png,0,0,1,1"), source)


def test_a_picture_that_cannot_be_read_is_left_to_whoever_reads_it(images, table, tmp_path):
    source = images()
    (tmp_path / "images" / "b.png").write_bytes(b"broken")
    regions = open_regions(table("a.png,2,3,5,9", "b.png,0,0,99,99"), source)
    assert regions.load("a.png").any()


def test_the_fingerprint_is_of_what_is_said(images, table, tmp_path):
    source = images()
    first = open_regions(table("a.png,2,3,5,9"), source).fingerprint()
    assert open_regions(table("a.png,2,3,5,9"), source).fingerprint() == first
    assert open_regions(table("a.png,2,3,5,8"), source).fingerprint() != first
    prints = set()
    for seed in (0, 1):
        prints.add(open_regions(masks(seed), source).fingerprint())
        prints.add(open_regions(_saved(source, masks(seed)), source).fingerprint())
        place = tmp_path / f"masks{seed}"
        place.mkdir()
        for name, mask in zip("abc", masks(seed), strict=True):
            Image.fromarray(mask).save(place / f"{name}.png")
        prints.add(open_regions(place, source).fingerprint())
    assert len(prints) == 6


def test_memory_does_not_grow_with_the_number_of_masks(tmp_path):
    many = MemoryImages(np.zeros((64, 1, 300, 300), np.float32))
    np.savez(tmp_path / "masks.npz", masks=np.ones((64, 300, 300), bool), ids=[str(n) for n in range(64)])
    tracemalloc.start()
    regions = open_regions(tmp_path / "masks.npz", many)
    for image in many.ids:
        regions.load(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 300 * 300
