"""Sources in an .npz: pictures and float images, their ids, labels and targets."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from c2i_fast.data import open_images
from c2i_fast.errors import InputError
from c2i_fast.types import Preprocessing

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (7, 4, 5, 3), np.uint8)
FLOATS = RNG.normal(size=(6, 2, 11)).astype(np.float32)


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "deflated"])
def source(request, tmp_path):
    """Opens arrays as they are given, stored and compressed."""

    def make(options=None, preprocessing=None, **arrays):
        request.param(tmp_path / "a.npz", **arrays)
        return open_images(tmp_path / "a.npz", preprocessing=preprocessing or Preprocessing(), **(options or {}))

    return make


def pixels(source, **options):
    return np.stack([image.pixels for image in source.stream(**options)])


@pytest.mark.parametrize("size", [None, (4, 5)])
def test_pictures_of_the_networks_size_are_values_over_255(source, size):
    got = pixels(source(images=PICTURES, preprocessing=Preprocessing(size=size, crop=0.5 if size else None)))
    np.testing.assert_array_equal(got, (PICTURES / 255).astype(np.float32).transpose(0, 3, 1, 2))


def test_pictures_of_another_size_are_resized_and_cropped_like_files(source, tmp_path):
    rule = Preprocessing(size=(8, 6), crop=0.75)
    (tmp_path / "files").mkdir()
    for index, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / "files" / f"{index}.png")
    files = pixels(open_images(tmp_path / "files", preprocessing=rule))
    np.testing.assert_array_equal(pixels(source(images=PICTURES, preprocessing=rule)), files)


@pytest.mark.parametrize("depth", [1, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_grey_colour_and_alpha_for_grey_and_colour_networks(source, depth, channels):
    white = np.full((2, 3, 3, depth), 255, np.uint8)
    white[1] = 0
    got = pixels(source({"channels": channels}, images=white))
    assert got.shape == (2, channels, 3, 3)
    assert got[0].min() == 1
    assert got[1].max() == (1 if depth == 4 else 0)  # black, but fully transparent over white


def test_float_images_are_bit_for_bit_as_stored(source):
    odd = FLOATS.copy()
    odd[0, 0, :3] = [np.nan, -1e30, np.inf]
    got = pixels(source({"channels": 2}, images=odd))
    np.testing.assert_array_equal(got.view(np.uint32), odd.view(np.uint32))


def test_float_images_of_the_other_byte_order(source):
    got = pixels(source({"channels": 2}, images=FLOATS.astype(">f4")))
    assert got.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(got, FLOATS)


@pytest.mark.parametrize("shape", [(3, 2, 5), (3, 2, 5, 6)])
def test_signals_and_images(source, shape):
    assert next(source({"channels": 2}, images=np.zeros(shape, np.float32)).stream()).pixels.shape == shape[1:]


def test_ids_labels_and_targets(source):
    opened = source(images=PICTURES, ids=[f"p/{i}" for i in range(7)], labels=np.arange(7), targets=np.arange(7)[::-1])
    assert opened.ids == tuple(f"p/{i}" for i in range(7))
    assert opened.labels == [(i,) for i in range(7)]
    assert opened.targets == [6, 5, 4, 3, 2, 1, 0]
    assert [(i.id, i.labels, i.target) for i in opened.stream(5)] == [("p/5", (5,), 1), ("p/6", (6,), 0)]


def test_without_ids_the_index_is_the_id(source):
    opened = source(images=PICTURES)
    assert list(opened.ids) == ["0", "1", "2", "3", "4", "5", "6"]
    assert opened.labels is None
    assert opened.targets is None


@pytest.mark.parametrize("ids", [np.arange(10, 17), np.array([str(i) for i in range(10, 17)], "S")])
def test_ids_may_be_integers_or_bytes(source, ids):
    assert source(images=PICTURES, ids=ids).ids == ("10", "11", "12", "13", "14", "15", "16")


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_limit(source, limit):
    opened = source({"limit": limit}, images=PICTURES, labels=np.arange(7), targets=np.arange(7))
    assert len(opened) == len(list(opened.stream())) == len(opened.labels) == len(opened.targets) == min(limit, 7)


@pytest.mark.parametrize("start", [0, 3, 6, 7])
def test_start_is_slicing(source, start):
    opened = source(images=PICTURES)
    assert [i.index for i in opened.stream(start)] == list(range(start, 7))
    if start < 7:
        np.testing.assert_array_equal(pixels(opened, start=start), pixels(opened)[start:])


def test_two_streams_at_once_do_not_disturb_each_other(source):
    opened = source(images=PICTURES)
    pairs = list(zip(opened.stream(), opened.stream(2), strict=False))
    assert [(a.index, b.index) for a, b in pairs] == [(i, i + 2) for i in range(5)]
    for _, b in pairs:
        np.testing.assert_allclose(b.pixels, PICTURES[b.index].transpose(2, 0, 1) / 255, atol=1e-6)


def test_memory_does_not_grow_with_the_file(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((300, 1, 40_000), np.float32))
    opened = open_images(tmp_path / "a.npz", preprocessing=Preprocessing(), channels=1)
    tracemalloc.start()
    assert sum(1 for _ in opened.stream()) == 300
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6_000_000  # of 48 million bytes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": PICTURES}, "expected the array 'images', but it holds pictures"),
        ({"images": PICTURES[:0]}, "no records"),
        ({"images": PICTURES[..., 0]}, r"uint8 pictures \(N,H,W,C\).*\(7, 4, 5\)"),
        ({"images": PICTURES.transpose(0, 3, 1, 2)}, r"got \(7, 3, 4, 5\)"),
        ({"images": PICTURES.astype(np.float64)}, "float64"),
        ({"images": PICTURES.astype(np.int32)}, "int32"),
        ({"images": np.array([None, "x"], object)}, "Python objects"),
        ({"images": np.zeros((3, 4), np.float32)}, r"float32 \(3, 4\)"),
        ({"images": np.zeros((3, 8, 8, 3), np.float32)}, r"3 channel\(s\).*\(3, 8, 8, 3\)"),
        ({"images": PICTURES, "labels": np.arange(6)}, r"labels.*shape \(7,\).*\(6,\)"),
        ({"images": PICTURES, "labels": np.zeros((7, 2), int)}, r"labels.*\(7, 2\)"),
        ({"images": PICTURES, "labels": np.zeros(7)}, "labels.*integers.*float64"),
        ({"images": PICTURES, "labels": np.array([0] * 6 + [9])}, r"'labels'.*0\.\.8, but 6 has 9"),
        ({"images": PICTURES, "targets": np.array([0, -2] * 3 + [0])}, r"'targets'.*1 has -2 \(3 such"),
        ({"images": PICTURES, "ids": [1, 2, 3]}, r"ids.*shape \(7,\)"),
        ({"images": PICTURES, "ids": [*"abcdef", "a"]}, "'a' occurs twice"),
        ({"images": PICTURES, "ids": [*"abcdef", "../g"]}, "leads out"),
        ({"images": PICTURES, "ids": np.array([*"abcdefg"], object)}, "Python objects"),
    ],
)
def test_faults_are_found_at_open(source, arrays, message):
    with pytest.raises(InputError, match=rf"a\.npz.*{message}") as caught:
        source({"classes": 9}, **arrays)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "channels", "size", "message"),
    [
        (FLOATS, 3, None, r"3 channel\(s\).*\(6, 2, 11\)"),
        (FLOATS, 2, (12,), r"size \(12,\)"),
        (FLOATS, 2, (11, 11), r"size \(11, 11\)"),
        (PICTURES, 2, None, "1 or 3 channels"),
        (PICTURES, 3, (11,), r"size H,W, got \(11,\)"),
    ],
)
def test_images_that_do_not_fit_the_network(source, array, channels, size, message):
    with pytest.raises(InputError, match=message):
        source({"channels": channels}, Preprocessing(size=size), images=array)


def test_a_size_that_float_images_already_have_is_fine(source):
    assert len(source({"channels": 2}, Preprocessing(size=(11,)), images=FLOATS)) == 6
