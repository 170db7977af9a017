"""What becomes of errors, interruptions and bugs; and the version."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

from c2i_fast import __version__
from tests.cli.things import ROOT, done, run


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


def spoken(*arguments: object, encoding: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "c2i_fast", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_that_lacks_a_sign_costs_no_table(kept, cal, encoding, tmp_path):
    shutil.copytree(kept, tmp_path / "run")
    answer = spoken("rescore", tmp_path / "run", "--calibrator", cal, encoding=encoding)
    assert answer.returncode == 0, answer.stderr
    assert b"smooth-random" in answer.stdout
    helped = spoken("score", "--help", encoding=encoding)
    assert helped.returncode == 0, helped.stderr


@pytest.mark.parametrize("command", ["score", "explain", "export", "calibrate"])
def test_a_name_that_is_no_utf8_is_refused_as_an_output_and_read_as_an_input(net, npz, maps, tmp_path, command):
    strange = tmp_path / os.fsdecode(b"strange-\xff.onnx")
    try:
        strange.write_bytes(net.read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    options = {"score": ("--maps", maps), "explain": ("--method", "center")}.get(command, ())
    images = () if command == "export" else ("--images", npz)
    refused = run(command, net, *images, *options, "--out", tmp_path / os.fsdecode(b"out-\xff.onnx"), "--quiet")
    assert refused.code == 1
    assert "is not valid UTF-8; choose another name" in refused.err
    done(command, strange, *images, *options, "--out", tmp_path / "out.onnx", "--json")


def test_a_table_is_never_cut_by_a_narrow_terminal(net, npz, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-method-with-quite-a-long-name" * 4
    done("explain", net, "--images", npz, "--method", "center", "--out", tmp_path / "maps", "--quiet")
    options = ("--images", npz, "--maps", f"{name}={tmp_path / 'maps'}", "--controls", "--quiet")
    answer = done("score", net, *options, "--out", tmp_path / "run")
    assert name in answer.out
    assert "…" not in answer.out


@pytest.mark.parametrize(
    ("command", "says", "code"),
    [
        ("export", "must end in .onnx", 2),
        ("calibrate", "must be a file", 1),
        ("score", "exists", 1),
        ("explain", "exists", 1),
    ],
)
def test_an_empty_output_is_not_the_current_folder(net, npz, command, says, code):
    options = {"export": (), "explain": ("--images", npz, "--method", "center")}.get(command, ("--images", npz))
    answer = run(command, net, *options, "--out", "", "--quiet")
    assert (answer.code, len(answer.err.splitlines())) == (code, 1)
    assert says in answer.err
