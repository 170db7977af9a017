"""Whatever ends a run, `--resume` ends it with the rows of a run that nothing ended, bit for bit."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from tests.cli.things import ROOT, colour_net, done, pictures, rows, run, write_maps

COUNT = 60


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A command line without its --out: sixty images, each a part of its own."""
    place = tmp_path_factory.mktemp("kill")
    images, labels = pictures(COUNT)
    np.savez(place / "val.npz", images=images, labels=labels)
    write_maps(place / "noise.npz", [str(number) for number in range(COUNT)])
    onnx.save(colour_net(), place / "net.onnx")
    options = ("--controls", "--keep-logits", "--part-passes", "64", "--threads", "1", "--quiet")
    return ("score", place / "net.onnx", "--images", place / "val.npz", "--maps", place / "noise.npz", *options)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """The run that nothing ended."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done(*inputs, "--out", out)
    assert len(list((out / "scores").iterdir())) == COUNT
    return out


def same(out: Path, whole: Path) -> None:
    """Asserts that two runs hold the same rows, kept logits and skipped images."""
    assert rows(out) == rows(whole)
    for folder in ("scores", "logits"):
        names = sorted(path.name for path in (whole / folder).iterdir())
        assert sorted(path.name for path in (out / folder).iterdir()) == names, "nothing more, nothing less"
    for path in (whole / "logits").iterdir():
        assert pq.read_table(out / "logits" / path.name).equals(pq.read_table(path))


def started(inputs, out: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "c2i_fast", *map(str, inputs), "--out", str(out), *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def signalled(process: subprocess.Popen, moment: Path, number: int) -> tuple[int, str]:
    """Waits until a file is there, sends the signal, and returns the exit code and stderr."""
    try:
        deadline = time.monotonic() + 120
        while not moment.exists():
            assert process.poll() is None, f"it ended before {moment.name}: {process.stderr.read()}"
            assert time.monotonic() < deadline, f"{moment.name} never appeared"
            time.sleep(0.0005)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, said


def part(out: Path, number: int) -> Path:
    return out / "scores" / f"part-{number:05d}.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["run.json", "logits/part-00000.parquet", "scores/part-00002.parquet"])
def test_a_killed_run_goes_on(inputs, whole, tmp_path, moment):
    out = tmp_path / "run"
    code, _ = signalled(started(inputs, out), out / moment, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not part(out, COUNT - 1).exists(), "it was killed in the middle"
    done(*inputs, "--out", out, "--resume")
    same(out, whole)


@pytest.mark.slow
def test_a_run_killed_again_and_again_goes_on(inputs, whole, tmp_path):
    out = tmp_path / "run"
    for number in (1, 9, 21):
        code, _ = signalled(started(inputs, out, "--resume"), part(out, number), signal.SIGKILL)
        assert code == -signal.SIGKILL
    done(*inputs, "--out", out, "--resume")
    same(out, whole)


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on_and_says_how(inputs, whole, tmp_path):
    out = tmp_path / "run"
    code, said = signalled(started(inputs, out), part(out, 2), signal.SIGINT)
    assert code == 130
    assert said.splitlines() == ["c2i-fast: interrupted; go on with --resume"]
    refused = run(*inputs, "--out", out)
    assert refused.code == 1, "without --resume nothing is overwritten"
    done(*inputs, "--out", out, "--resume")
    same(out, whole)


@pytest.mark.slow
def test_killed_explaining_goes_on(inputs, tmp_path):
    command = ("explain", *inputs[1:4], "--method", "rise", "--masks", "300", "--threads", "1", "--quiet")
    done(*command, "--out", tmp_path / "whole")
    out = tmp_path / "maps"
    code, _ = signalled(started(command, out), out / "rise" / "20.npy", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (out / "rise" / f"{COUNT - 1}.npy").exists()
    done(*command, "--out", out, "--resume")
    for number in range(COUNT):
        name = Path("rise") / f"{number}.npy"
        np.testing.assert_array_equal(np.load(out / name), np.load(tmp_path / "whole" / name))


def test_every_moment_between_two_files_is_survived(inputs, whole, tmp_path, monkeypatch):
    """A kill after each rename in turn, simulated by an exception that nothing catches."""
    from c2i_fast.results import files

    class Killed(BaseException):
        pass

    out, replace = tmp_path / "run", Path.replace
    for moment in range(8):
        shutil.rmtree(out, ignore_errors=True)
        left = moment

        def replaced(self, target):
            nonlocal left
            if left == 0 and self.name.endswith(".tmp"):
                raise Killed
            left -= 1
            return replace(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replaced)
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a kill cleans nothing up
            with pytest.raises(Killed):
                run(*inputs, "--out", out, "--limit", "4")
        assert any(files.is_temporary(path) for path in out.rglob("*"))
        done(*inputs, "--out", out, "--limit", "4", "--resume")
        assert rows(out) == [row for row in rows(whole) if int(row["image"]) < 4]
        assert not any(files.is_temporary(path) for path in out.rglob("*")), "swept"


@pytest.mark.parametrize("full_at", [0, 1, 5, 6])
def test_a_full_disk_loses_only_the_part_being_written(inputs, whole, tmp_path, monkeypatch, full_at):
    """Three files make a part: logits, curves, scores. Portable: the writer raises what a full disk raises."""
    out, write, written = tmp_path / "run", pq.write_table, []

    def write_table(table, path, **options):
        if len(written) == full_at:
            Path(path).write_bytes(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path)
        return write(table, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", write_table)
        answer = run(*inputs, "--out", out, "--limit", "5")
    assert answer.code == 1
    (said,) = answer.err.splitlines()
    assert os.strerror(errno.ENOSPC) in said
    assert "--resume" in said
    assert len(list((out / "scores").glob("part-*"))) == full_at // 3
    assert not list(out.rglob("*.tmp"))
    done(*inputs, "--out", out, "--limit", "5", "--resume")
    assert rows(out) == [row for row in rows(whole) if int(row["image"]) < 5]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB, and what enlarges it."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs Linux and root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")

    def enlarge() -> None:
        subprocess.run(["mount", "-o", "remount,size=16m", str(place)], check=True)

    try:
        yield place, enlarge
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_disk_that_is_really_full(inputs, whole, small_disk):
    place, enlarge = small_disk
    out = place / "run"
    answer = run(*inputs, "--out", out)
    assert answer.code == 1
    (said,) = answer.err.splitlines()
    assert "No space left on device" in said
    assert "--resume" in said
    before = rows(out)
    assert 0 < len(before) < len(rows(whole))
    assert before == rows(whole)[: len(before)], "what was stored is whole"
    again = run(*inputs, "--out", out, "--resume")
    assert again.code == 1
    assert "No space left on device" in again.err
    enlarge()
    done(*inputs, "--out", out, "--resume")
    same(out, whole)


def test_a_full_disk_stops_every_other_writer_in_one_line_and_leaves_no_half_file(inputs, small_disk):
    place, _ = small_disk
    _, net, _, images, *_ = inputs
    (place / "filler").write_bytes(b"x" * 280 * 1024)
    onnx.save(colour_net(classes=3000), place.parent / "wide.onnx")
    lines = {
        "maps": (
            "explain",
            net,
            "--images",
            images,
            "--method",
            "center",
            "--method",
            "sobel",
            "--out",
            place / "maps",
        ),
        "fused.onnx": ("export", place.parent / "wide.onnx", "--out", place / "fused.onnx"),
    }
    for name, line in lines.items():
        answer = run(*line, "--quiet")
        assert answer.code == 1, name
        (said,) = answer.err.splitlines()
        assert "No space left on device" in said
        shutil.rmtree(place / "maps", ignore_errors=True)
    assert [path.name for path in place.iterdir()] == ["filler"]


@pytest.mark.parametrize(("precision", "full_at"), [("bf16", 3), ("bf16", 6), ("bf16", 9), ("int8", 3), ("int8", 9)])
def test_the_fp32_subset_of_a_low_precision_run_goes_on_too(inputs, tmp_path, monkeypatch, precision, full_at):
    """In int8 the network is quantised again, on the same images."""
    pytest.importorskip("openvino")
    low = tuple(part for part in inputs if part != "--keep-logits")
    low += ("--limit", "7", "--precision", precision, "--fp32-images", "4", "--allow-drift")
    done(*low, "--out", tmp_path / "whole")
    written, write = [], pq.write_table

    def write_table(table, path, **options):
        if len(written) == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(path)
        return write(table, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", write_table)
        assert run(*low, "--out", tmp_path / "run").code == 1
    done(*low, "--out", tmp_path / "run", "--resume")
    for prefix, images in (("part", 7), ("fp32", 4)):
        found = rows(tmp_path / "run", prefix)
        assert found == rows(tmp_path / "whole", prefix)
        assert len({row["image"] for row in found}) == images
