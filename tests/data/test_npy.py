"""Headers that lie, and arrays that are none."""

import io
import struct

import numpy as np
import pytest

from c2i_fast.data.npy import read_header, read_npy
from c2i_fast.errors import InputError


def npy(header, body=b"", version=(1, 0)):
    """Returns a .npy with a header of our choosing."""
    text = header.encode().ljust(64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(text)) + text + body


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "|u1", "|b1", "<i8"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_arrays_come_back(tmp_path, dtype, shape, order):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape).astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    back = read_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype


def test_version_2_headers_are_read(tmp_path):
    content = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", struct.pack("<2f", 1, 2), (2, 0))
    (tmp_path / "a.npy").write_bytes(content)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), [1, 2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a NumPy array"),
        (b"some words that are no array", "expected a NumPy array"),
        (npy("{'descr': '<f4', 'shape': (2,)}"), "expected a NumPy array"),
        (npy("{'descr': 'nonsense', 'fortran_order': False, 'shape': (2,)}"), "expected a NumPy array"),
        (npy("__import__('os')"), "expected a NumPy array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", b"1234"), r"\(2,\), 8 bytes, but 4 follow"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", b"123"), r"\(2,\), 2 bytes, but 3 follow"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 10**9)}"), "expected a NumPy array"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000)}"), "but 0 follow"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -1)}", b"1234"), r"\(-1, -1\)"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"12345678"), "never unpickled"),
    ],
)
def test_anything_else_is_an_error_with_the_file_in_it(tmp_path, content, message):
    (tmp_path / "bad.npy").write_bytes(content)
    with pytest.raises(InputError, match=rf"bad\.npy.*{message}") as caught:
        read_npy(tmp_path / "bad.npy")
    assert "\n" not in str(caught.value)


def test_objects_are_not_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "bad.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(InputError, match="Python objects"):
        read_npy(tmp_path / "bad.npy")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_npy(tmp_path / "no.npy")


def test_the_offset_is_where_values_begin():
    file = io.BytesIO()
    np.save(file, np.arange(5, dtype=np.uint8))
    file.seek(0)
    header = read_header(file, len(file.getvalue()), "x")
    assert file.getvalue()[header.offset :] == bytes(range(5))
