"""Files that are there whole or not at all, and outputs that are checked before any work."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from c2i_fast.errors import InputError
from c2i_fast.results.files import (
    claim_file,
    claim_output,
    is_empty_folder,
    is_temporary,
    read_json,
    write_atomically,
    write_json,
)


def test_the_file_appears_under_its_name_only_when_it_is_whole(tmp_path):
    target = tmp_path / "out.bin"

    def write(temporary: Path) -> None:
        assert temporary.parent == tmp_path
        assert temporary != target
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")

    write_atomically(target, write)
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("before", [None, b"older"])
def test_a_failing_writer_leaves_what_was_there_and_nothing_else(tmp_path, error, before):
    target = tmp_path / "out.bin"
    if before is not None:
        target.write_bytes(before)

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half a file")
        raise error

    with pytest.raises(type(error)):
        write_atomically(target, write)
    assert [f.name for f in tmp_path.iterdir()] == ([] if before is None else ["out.bin"])
    assert before is None or target.read_bytes() == before


def test_a_disk_that_fails_at_the_last_moment_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "out.bin", lambda temporary: temporary.write_bytes(b"x"))
    assert list(tmp_path.iterdir()) == []


def test_contents_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    target, seen = tmp_path / "out.bin", []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: seen.append(target.exists()) or real(number))
    write_atomically(target, lambda temporary: temporary.write_bytes(b"x"))
    assert seen == [False]


def test_json_goes_there_and_back(tmp_path):
    content = {"Hündin": [1, 2.5, None, True], "nested": {"a": "b"}}
    write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "Hündin" in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "x.json", "thing") == content == json.loads(text)


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"bad": object()})
    assert list(tmp_path.iterdir()) == []


def test_missing_and_broken_json_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no run at .*x\.json"):
        read_json(tmp_path / "x.json", "run")
    for broken in (b"{", b"\xff\xfe", b""):
        (tmp_path / "x.json").write_bytes(broken)
        with pytest.raises(InputError, match=r"x\.json is not a readable run"):
            read_json(tmp_path / "x.json", "run")
    with pytest.raises(InputError, match="not a readable run"):
        read_json(tmp_path, "run")


# ------------------------------------------------------------------------------------------------ outputs


def test_a_name_that_is_free_may_be_claimed_however_deep(tmp_path):
    claim_output(tmp_path / "new", force=False)
    claim_output(tmp_path / "a" / "b" / "c.onnx", force=False)
    assert list(tmp_path.iterdir()) == [], "claiming makes nothing"


def test_an_empty_folder_may_always_be_written_into(tmp_path):
    (tmp_path / "empty").mkdir()
    assert is_empty_folder(tmp_path / "empty")
    assert not is_empty_folder(tmp_path)
    assert not is_empty_folder(tmp_path / "absent")
    claim_output(tmp_path / "empty", force=False)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_exists_needs_force(tmp_path, kind):
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
        (target / "something").touch()
    else:
        target.touch()
    with pytest.raises(InputError, match=r"run .*out exists; choose another name or give --force"):
        claim_output(target, force=False, what="run")
    claim_output(target, force=True)


def test_a_file_in_the_way_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a writable folder"):
        claim_output(tmp_path / "file" / "out.onnx", force=False)
    with pytest.raises(InputError, match="is not a writable folder"):
        claim_output(tmp_path / "file" / "deeper" / "out.onnx", force=True)


def test_a_folder_without_the_right_to_write_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: not (Path(folder) == tmp_path and mode == os.W_OK))
    with pytest.raises(InputError, match=f"{tmp_path} is not a writable folder"):
        claim_output(tmp_path / "out", force=False)


def test_a_folder_that_takes_no_file_is_an_error(tmp_path, monkeypatch):
    """Permissions do not tell of a quota, of inodes that are used up, or of /proc."""

    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(InputError, match=f"{tmp_path} takes no file \\(No space left on device\\)"):
        claim_output(tmp_path / "out", force=False)


def test_an_output_that_is_one_file_never_replaces_a_folder(tmp_path):
    with pytest.raises(InputError, match="must be a file"):
        claim_file(tmp_path, force=True)
    claim_file(tmp_path / "new.json", force=False)
    (tmp_path / "old.json").touch()
    with pytest.raises(InputError, match="give --force"):
        claim_file(tmp_path / "old.json", force=False)
    claim_file(tmp_path / "old.json", force=True)


def test_what_a_kill_leaves_is_known_by_its_name_and_counts_as_nothing(tmp_path):
    names = []
    write_atomically(tmp_path / "part-00000.parquet", lambda temporary: names.append(temporary) or temporary.touch())
    (tmp_path / "part-00000.parquet").unlink()
    assert is_temporary(names[0])
    for other in ("part-00000.parquet", ".hidden", ".part.tmp", "notes.12.tmp"):
        assert not is_temporary(tmp_path / other)
    names[0].touch()
    assert is_empty_folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not is_empty_folder(tmp_path)
