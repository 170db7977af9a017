from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.logits_file import load_logits
from c2i_fast.errors import InputError

LOGITS = np.arange(12, dtype=np.float32).reshape(4, 3)
LABELS = np.array([0, 1, 2, 2], np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_both_arrays_come_back(tmp_path, save):
    save(tmp_path / "logits.npz", logits=LOGITS, labels=LABELS, source_names=np.array(["a", "b", "c", "d"]))
    logits, labels = load_logits(tmp_path / "logits.npz")
    np.testing.assert_array_equal(logits, LOGITS)
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(labels, LABELS)
    assert labels.dtype == np.int64


class Trap:
    """Whoever unpickles this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_objects_are_never_unpickled(tmp_path):
    trap = np.array([Trap(tmp_path / "sprung")], object)
    np.savez(tmp_path / "logits.npz", logits=trap, labels=LABELS)
    with pytest.raises(InputError, match="damaged or holds Python objects"):
        load_logits(tmp_path / "logits.npz")
    np.save(tmp_path / "trap.npy", trap, allow_pickle=True)
    with pytest.raises(InputError, match=r"expected .*trap\.npy to be an \.npz"):
        load_logits(tmp_path / "trap.npy")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("arrays", "came"),
    [
        ({"labels": LABELS}, "labels without logits"),
        ({"logits": LOGITS}, "logits without labels"),
        ({"scores": LOGITS, "y": LABELS}, "scores, y without labels and logits"),
        ({}, "no arrays without labels and logits"),
    ],
)
def test_missing_arrays_are_named_beside_what_is_there(tmp_path, arrays, came):
    np.savez(tmp_path / "logits.npz", **arrays)
    with pytest.raises(InputError, match=f"with logits .* and labels .*, got {came}; write it with numpy.savez"):
        load_logits(tmp_path / "logits.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04 not a zip", b"logits,labels\n1,2\n", b"\x80\x04N."])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "logits.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"logits\.npz"):
        load_logits(tmp_path / "logits.npz")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "logits.npy", LOGITS)
    with pytest.raises(InputError, match="got a single array"):
        load_logits(tmp_path / "logits.npy")


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(InputError, match="cannot read the logits"):
            load_logits(path)


@pytest.mark.parametrize("where", [0.3, 0.5, 0.95])
def test_a_truncated_archive_is_refused(tmp_path, where):
    path = tmp_path / "logits.npz"
    np.savez(path, logits=LOGITS, labels=LABELS)
    path.write_bytes(path.read_bytes()[: int(where * path.stat().st_size)])
    with pytest.raises(InputError, match=r"logits\.npz"):
        load_logits(path)


def test_flipped_bytes_are_noticed(tmp_path):
    path = tmp_path / "logits.npz"
    np.savez(path, logits=LOGITS, labels=LABELS)
    content = bytearray(path.read_bytes())
    start = bytes(content).index(LOGITS.tobytes())
    content[start + 4] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        load_logits(path)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (LOGITS[0], LABELS, r"expected logits as numbers of shape \(N, K\)"),
        (LOGITS[:3], LABELS, "4 labels and 3 rows"),
        (LOGITS, np.eye(4)[:, :3], "one-hot"),
        (LOGITS, LABELS + 1, r"0\.\.2, got 1\.\.3"),
        (np.where(LOGITS == 4, np.nan, LOGITS), LABELS, "1 of 4 rows"),
    ],
)
def test_unusable_content_is_refused_with_the_path(tmp_path, logits, labels, message):
    np.savez(tmp_path / "logits.npz", logits=logits, labels=labels)
    with pytest.raises(InputError, match=message) as caught:
        load_logits(tmp_path / "logits.npz")
    assert str(tmp_path) in str(caught.value)
