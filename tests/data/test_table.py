"""CSV sources."""

import pytest

from c2i_fast.data.labels import ClassIndex
from c2i_fast.data.table import read_table
from c2i_fast.errors import InputError


@pytest.fixture
def table(tmp_path):
    """Writes a CSV beside three files, and reads it."""
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    def read(text, names=None, limit=None):
        path = tmp_path / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(path, ClassIndex(names), limit)

    return read


def test_rows_keep_their_order_and_labels_may_be_several(table):
    ids, labels = table("file,label\nsub/c.jpg,3;17\na.jpg, 0 \n")
    assert ids == ("sub/c.jpg", "a.jpg")
    assert labels == [(3, 17), (0,)]


def test_the_label_column_is_optional_and_others_are_ignored(table):
    assert table("x0,file\n1,a.jpg\n2,b.jpg\n") == (("a.jpg", "b.jpg"), None)


def test_labels_may_be_names_the_model_knows(table):
    _, labels = table('file,label\na.jpg,"tench, Tinca tinca"\nb.jpg,goldfish;0\n', ["tench, Tinca tinca", "goldfish"])
    assert labels == [(0,), (1, 0)]


def test_byte_order_mark_blank_lines_and_crlf(table):
    assert table(b"\xef\xbb\xbffile,label\r\n\r\na.jpg,1\r\n")[1] == [(1,)]


def test_paths_are_normalised_to_ids(table):
    assert table("file\n./sub//c.jpg\n")[0] == ("sub/c.jpg",)


def test_limit_reads_no_further(table):
    assert table("file,label\na.jpg,1\nmissing.jpg,oops\n", limit=1) == (("a.jpg",), [(1,)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.jpg,1\n", "columns file,label.*found path, label"),
        ("file;label\na.jpg;1\n", "separate columns with commas"),
        ("", "found nothing"),
        ("file,label\n", "there is none"),
        ("file,label\na.jpg,1\n,2\n", "line 3.*empty"),
        ("file,label\na.jpg,\n", "line 2.*found ''"),
        ("file,label\na.jpg\n", "line 2.*found ''"),
        ("file,label\na.jpg,1;\n", "line 2.*found '1;'"),
        ("file,label\na.jpg,1.5\n", r"line 2.*found '1\.5'"),
        ("file,label\na.jpg,cat\n", "line 2.*found 'cat'"),
        ("file\na.jpg\n./a.jpg\n", r"'a\.jpg' occurs twice"),
        ("file\n../a.jpg\n", r"'\.\./a\.jpg' leads out"),
        ("file\nsub/../../a.jpg\n", "leads out"),
        ("file\n/etc/passwd\n", "absolute path"),
        ("file\nC:\\a.jpg\n", "absolute path"),
        ("file\na.jpg\nno.jpg\nneither.jpg\n", r"2 of 3 are not there: no\.jpg, neither\.jpg"),
        ("file\nsub\n", "1 of 1 are not there: sub"),
        (b"file\n\xff.jpg\n", "UTF-8"),
    ],
)
def test_faults_are_found_at_open_in_one_line(table, text, message):
    with pytest.raises(InputError, match=message) as caught:
        table(text)
    assert "list.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
