"""Maps by image id: what is found, what is accepted, and what is refused with the map's name."""

import tracemalloc

import numpy as np
import pytest

from c2i_fast.data import fingerprint, resize_map
from c2i_fast.data.map_source import ArrayMaps, FolderMaps
from c2i_fast.errors import InputError

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """Saves maps as `<key>.npy` and opens the folder."""

    def make(maps):
        for key, values in maps.items():
            path = tmp_path / "rise" / f"{key}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, values)
        return FolderMaps("rise", tmp_path / "rise")

    return make


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "deflated"])
def arrays(request, tmp_path):
    """Saves maps as an .npz and opens it."""

    def make(**content):
        request.param(tmp_path / "rise.npz", **content)
        return ArrayMaps("rise", tmp_path / "rise.npz")

    return make


@pytest.mark.parametrize("key", ["cats/1.jpg", "cats/1", "1"])
def test_a_map_is_named_by_id_by_path_or_by_stem(folder, key):
    values = RNG.normal(size=(4, 5)).astype(np.float32)
    source = folder({key: values, "other": np.zeros((4, 5))})
    assert source.find("cats/1.jpg") == key
    np.testing.assert_array_equal(source.load("cats/1.jpg", (4, 5)), values)


def test_the_whole_id_wins_over_the_stem(folder):
    source = folder({"1": np.zeros((2, 2)), "cats/1": np.ones((2, 2)), "cats/1.jpg": np.full((2, 2), 2.0)})
    assert source.load("cats/1.jpg", (2, 2))[0, 0] == 2
    assert source.load("cats/1.png", (2, 2))[0, 0] == 1
    assert source.load("dogs/1.png", (2, 2))[0, 0] == 0
    assert list(source.ids) == ["1", "cats/1", "cats/1.jpg"]


@pytest.mark.parametrize("name", ["../secret", "../secret.jpg", "a/../../secret", "/secret", "..", ".", ""])
def test_an_id_never_leaves_the_folder(folder, tmp_path, name):
    np.save(tmp_path / "secret.npy", np.ones((2, 2)))
    source = folder({"a": np.zeros((2, 2))})
    assert source.find(name) is None
    with pytest.raises(InputError, match="no map 'rise'"):
        source.load(name, (2, 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64, np.bool_, ">f4"])
@pytest.mark.parametrize("space", [(4, 5), (9, 3)])
def test_real_types_of_any_resolution_become_float32(folder, dtype, space):
    values = RNG.integers(0, 2, (4, 5)).astype(dtype)
    got = folder({"a": values}).load("a", space)
    assert got.dtype == np.dtype("=f4")
    assert got.shape == space
    np.testing.assert_allclose(got, resize_map(values.astype(np.float64), space), atol=1e-6)
    assert not got.flags.writeable


@pytest.mark.parametrize(("shape", "space"), [((1, 4, 5), (4, 5)), ((1, 7), (7,)), ((1, 4, 5), (8, 8)), ((1, 1), (1,))])
def test_a_leading_axis_of_one_is_dropped(folder, shape, space):
    values = RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(folder({"a": values}).load("a", space), resize_map(values[0], space))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_an_axis_of_one_that_is_the_maps_own_stays(folder, shape):
    assert folder({"a": np.ones(shape)}).load("a", (3, 4)).shape == (3, 4)


def test_fortran_order_is_read_right(folder):
    values = RNG.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_array_equal(folder({"a": np.asfortranarray(values)}).load("a", (4, 5)), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[np.nan, 1], [np.inf, -np.inf]]), "3 of 4 are NaN or infinite"),
        (np.array([[1e300, 1.0]]), "1 of 2 are NaN or infinite"),
        (np.ones((2, 2), complex), "real numbers, got complex128"),
        (np.array([["a"]]), "real numbers"),
        (np.ones((3, 4, 5)), r"one map, got \(3, 4, 5\); sum or average its channels"),
        (np.ones((4, 5, 3)), "sum or average its channels"),
        (np.ones((4, 1, 5)), "sum or average its channels"),
        (np.ones(5), r"2 axes.*\(5,\)"),
        (np.ones((1, 1, 4, 5)), r"2 axes.*\(1, 1, 4, 5\)"),
        (np.ones((0, 5)), r"at least one element.*\(0, 5\)"),
        (np.float32(1), r"\(\)"),
    ],
)
def test_maps_that_cannot_be_ranked_are_refused_with_image_and_method(folder, values, message):
    with pytest.raises(InputError, match=rf"map 'rise' of image x\.jpg.*{message}") as caught:
        folder({"x": values}).load("x.jpg", (4, 5))
    assert "\n" not in str(caught.value)


def test_object_arrays_are_refused_with_their_file(folder, tmp_path):
    source = folder({"x": np.zeros(1)})
    np.save(tmp_path / "rise" / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy.*Python objects"):
        source.load("x", (4, 5))


def test_an_empty_folder(tmp_path):
    (tmp_path / "note.txt").touch()
    with pytest.raises(InputError, match=r"expected maps.*found none"):
        FolderMaps("rise", tmp_path)


def test_npz_maps_in_any_order(arrays):
    maps = RNG.normal(size=(6, 3, 4)).astype(np.float32)
    source = arrays(maps=maps, ids=[f"p/{i}.jpg" for i in range(6)])
    assert list(source.ids) == [f"p/{i}.jpg" for i in range(6)]
    for index in (0, 1, 2, 5, 3, 0):
        np.testing.assert_array_equal(source.load(f"p/{index}.jpg", (3, 4)), maps[index])


def test_npz_maps_of_signals_with_integer_ids(arrays):
    maps = RNG.normal(size=(3, 8)).astype(np.float64)
    source = arrays(maps=maps, ids=np.array([30, 10, 20]))
    np.testing.assert_allclose(source.load("10", (8,)), maps[1], rtol=1e-6)
    assert source.load("20", (16,)).shape == (16,)


def test_npz_memory_does_not_grow_with_the_file(tmp_path):
    np.savez_compressed(tmp_path / "m.npz", maps=np.zeros((200, 200, 200), np.float32), ids=np.arange(200))
    tracemalloc.start()
    source = ArrayMaps("m", tmp_path / "m.npz")
    assert sum(source.load(name, (200, 200)).size for name in source.ids) == 200 * 200 * 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000  # of 32 million bytes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"maps": np.ones((2, 3, 3))}, "expected the array 'ids'"),
        ({"ids": ["a"]}, "expected the array 'maps'"),
        ({"maps": np.ones((2, 3, 3)), "ids": ["a"]}, r"ids.*shape \(2,\)"),
        ({"maps": np.ones((2, 3, 3)), "ids": ["a", "a"]}, "'a' occurs twice"),
        ({"maps": np.array([None]), "ids": ["a"]}, "Python objects"),
        ({"maps": np.ones((0, 3, 3)), "ids": np.zeros(0, "U1")}, "no records"),
    ],
)
def test_npz_faults(arrays, content, message):
    with pytest.raises(InputError, match=rf"rise\.npz.*{message}"):
        arrays(**content)


def test_npz_maps_are_checked_like_files(arrays):
    source = arrays(maps=np.array([[[np.nan]], [[1.0]]]), ids=["a", "b"])
    with pytest.raises(InputError, match=r"map 'rise' of image a\.jpg.*1 of 1"):
        source.load("a.jpg", (2, 2))
    assert source.load("b.jpg", (2, 2)).sum() == 4


def test_fingerprints_change_with_content_and_keys_only(folder, arrays, tmp_path, monkeypatch):
    maps = {"a": np.zeros((2, 2)), "b": np.ones((2, 2))}
    before = folder(maps).fingerprint()
    (tmp_path / "rise" / "note.txt").touch()
    assert folder(maps).fingerprint() == FolderMaps("other name", tmp_path / "rise").fingerprint() == before
    assert folder({"a": np.full((2, 2), 3.0)}).fingerprint() != before
    assert folder(maps | {"c": np.ones(1)}).fingerprint() != before
    stacked = np.stack(list(maps.values()))
    packed = arrays(maps=stacked, ids=["a", "b"]).fingerprint()
    assert packed == arrays(maps=stacked, ids=["a", "b"]).fingerprint()
    assert packed != arrays(maps=stacked, ids=["b", "a"]).fingerprint()
    assert packed != arrays(maps=stacked[::-1], ids=["a", "b"]).fingerprint()
    monkeypatch.setattr(fingerprint, "MOST_BYTES", 1)
    assert folder(maps).fingerprint().startswith("stat:")
