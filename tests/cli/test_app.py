"""What becomes of errors, interruptions and bugs; and the version."""

from __future__ import annotations

import errno
import os

import pytest

from c2i_fast import __version__
from tests.cli.things import done, run


def test_the_version():
    assert done("--version").out == f"c2i-fast {__version__}\n"


def test_no_command_shows_the_help():
    answer = run()
    assert answer.code == 2
    assert "Commands:" in answer.out + answer.err


@pytest.fixture
def failing(net, npz, maps, tmp_path, monkeypatch):
    """`score`, whose scoring raises an error."""

    def make(error: BaseException):
        def fail(*arguments, **options):
            raise error

        monkeypatch.setattr("c2i_fast.results.scoring.record", fail)
        return run("score", net, "--images", npz, "--maps", maps, "--out", tmp_path / "run", "--quiet")

    return make


def test_an_interruption_exits_with_130_and_names_resume(failing):
    answer = failing(KeyboardInterrupt())
    assert answer.code == 130
    assert answer.err == "c2i-fast: interrupted; go on with --resume\n"


def test_where_nothing_can_be_resumed_it_is_not_named(net, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("c2i_fast.export.classifier.export_classifier", fail)
    answer = run("export", net, "--out", tmp_path / "fused.onnx", "--quiet")
    assert (answer.code, answer.err) == (130, "c2i-fast: interrupted\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ENAMETOOLONG])
def test_what_the_disk_says_is_one_line(failing, number):
    answer = failing(OSError(number, os.strerror(number), "run/scores/part-00000.parquet"))
    assert answer.code == 1
    said = f"c2i-fast: run/scores/part-00000.parquet: {os.strerror(number)}; go on with --resume\n"
    assert answer.err == said


def test_too_little_memory_is_one_line(failing):
    answer = failing(MemoryError("Unable to allocate 9 GiB"))
    assert answer.code == 1
    assert answer.err.startswith("c2i-fast: out of memory: Unable to allocate 9 GiB; give a smaller --batch-size")


@pytest.mark.parametrize("bug", [ZeroDivisionError("ours"), ValueError("ours"), OSError(errno.ENOENT, "ours")])
def test_a_bug_keeps_its_traceback(failing, bug):
    with pytest.raises(type(bug), match="ours"):
        failing(bug)


def test_json_stands_alone_on_stdout(net, npz, tmp_path):
    answer = run("score", net, "--images", npz, "--controls", "--out", tmp_path / "run", "--json")
    assert answer.json["images"] == 12
    assert "engine: " in answer.err
