"""Reading an .npz record by record."""

import io
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from c2i_fast.data import records as module
from c2i_fast.data.records import Records, members
from c2i_fast.errors import InputError

SAVE = {"stored": np.savez, "deflated": np.savez_compressed}
ARRAY = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float32)


@pytest.fixture(params=SAVE)
def save(request, tmp_path):
    """Writes an .npz, stored and compressed."""

    def write(**arrays):
        SAVE[request.param](tmp_path / "a.npz", **arrays)
        return tmp_path / "a.npz"

    return write


def test_every_record_in_any_order(save):
    path = save(before=np.arange(1000), x=ARRAY, after=np.zeros(3))
    with Records(path, "x") as records:
        assert (records.shape, records.record_shape, records.record_bytes) == ((9, 3, 4), (3, 4), 48)
        for index in [0, 1, 2, 8, 3, 3, 0, 7]:
            np.testing.assert_array_equal(records.read(index), ARRAY[index])
        np.testing.assert_array_equal(records.read_all(), ARRAY)


def test_other_methods_of_compression(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, ARRAY)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("x.npy", buffer.getvalue())
    with Records(tmp_path / "a.npz", "x") as records:
        np.testing.assert_array_equal(records.read(5), ARRAY[5])


def test_threads_may_share_it(save):
    array = np.arange(400 * 50).reshape(400, 50)
    with Records(save(x=array), "x") as records, ThreadPoolExecutor(8) as pool:
        order = np.random.default_rng(0).permutation(100)
        rows = list(pool.map(records.read, order))
    np.testing.assert_array_equal(rows, array[order])


def test_a_stored_file_is_sought_and_not_read_through(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=ARRAY)
    with Records(tmp_path / "a.npz", "x") as records:
        monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("read by way of zipfile"))
        np.testing.assert_array_equal(records.read(8), ARRAY[8])


def test_memory_holds_a_record_not_the_array(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((400, 100_000), np.uint8))
    tracemalloc.start()
    with Records(tmp_path / "a.npz", "x") as records:
        for index in range(400):
            assert not records.read(index).any()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_members(save):
    assert members(save(x=ARRAY, labels=[1])) == {"x", "labels"}


def test_a_missing_array_lists_those_there(save):
    with pytest.raises(InputError, match=r"a\.npz: expected the array 'images', but it holds labels, x"):
        Records(save(x=ARRAY, labels=[1]), "images")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((0, 3)), r"no records.*\(0, 3\)"),
        (np.zeros((3, 0)), r"no records.*\(3, 0\)"),
        (np.float32(3), "no records"),
        (np.asfortranarray(ARRAY), "Fortran order"),
        (np.array([{}], object), "Python objects"),
    ],
)
def test_arrays_that_cannot_be_streamed(save, array, message):
    with pytest.raises(InputError, match=rf"a\.npz\['x'\].*{message}"):
        Records(save(x=array), "x")


def test_limits(save, monkeypatch):
    path = save(x=ARRAY)
    monkeypatch.setattr(module, "MOST_SMALL_BYTES", ARRAY.nbytes - 1)
    with Records(path, "x") as records, pytest.raises(InputError, match="at most"):
        records.read_all()
    monkeypatch.setattr(module, "MOST_RECORD_BYTES", 47)
    with pytest.raises(InputError, match="records of 48 bytes"):
        Records(path, "x")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 and then nothing"])
def test_a_file_that_is_no_zip(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz: expected an \.npz"):
        Records(tmp_path / "a.npz", "x")


def test_a_damaged_compressed_record_is_an_error(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).integers(0, 256, (50, 1000), np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with Records(tmp_path / "a.npz", "x") as records, pytest.raises(InputError, match=r"a\.npz\['x'\].*record"):
        [records.read(index) for index in range(50)]


def test_a_file_cut_off_after_it_was_opened(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAY)
    with Records(tmp_path / "a.npz", "x") as records:
        with (tmp_path / "a.npz").open("r+b") as file:
            file.truncate(300)
        with pytest.raises(InputError, match="ends inside record 8"):
            records.read(8)


def forged(path, field, value):
    """Rewrites one 4-byte field of the first central directory entry."""
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + field
    content[at : at + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)


@pytest.mark.parametrize("kind", SAVE)
def test_a_member_that_claims_more_than_it_can_hold(tmp_path, kind):
    path = tmp_path / "a.npz"
    SAVE[kind](path, x=ARRAY)
    forged(path, 24, 4_000_000_000)
    with pytest.raises(InputError, match="claims 4000000000 bytes"):
        Records(path, "x")


def test_an_encrypted_member(tmp_path):
    np.savez(tmp_path / "a.npz", x=ARRAY)
    forged(tmp_path / "a.npz", 8, 1)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[6] |= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        Records(tmp_path / "a.npz", "x")
