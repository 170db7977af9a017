"""Every kernel compiles for every architecture without a GPU, within limits; compilers' complaints reach the user."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess

import pytest

from c2i_fast.errors import EngineError
from c2i_fast.kernels.sources import KERNELS, source_path
from c2i_fast.resources import resource

nvrtc = pytest.importorskip("c2i_fast.kernels.nvrtc", reason="the cuda extra is not installed")
pytest.importorskip("cuda.core", reason="the cuda extra is not installed")

# Few enough registers for a multiprocessor (65536) to hold the warps that hide memory; and static shared memory.
MOST_REGISTERS = {"mask_select": 64, "mask_blend": 64, "rank_steps": 64, "readout": 64}
MOST_SHARED = 48 * 1024
NAMES = {"mask_select": 18, "mask_blend": 4, "rank_steps": 3, "readout": 1}


def test_every_source_is_listed():
    assert sorted(KERNELS) == sorted(path.stem for path in resource("kernels").glob("*.cu"))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("source", KERNELS)
def test_every_kernel_compiles_within_its_limits(source, architecture):
    code, used = nvrtc.build(source, architecture)
    assert code.startswith(b"\x7fELF")
    assert len(used) == NAMES[source]
    for name, one in used.items():
        assert one.spilled == 0, name
        assert one.registers <= MOST_REGISTERS[source], (name, one)
        assert one.shared <= MOST_SHARED, name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("source", KERNELS)
def test_nvcc_takes_the_same_files_without_a_warning(source, tmp_path):
    for architecture in ("sm_80", "sm_90"):
        command = ["nvcc", "-std=c++17", "-I", str(resource("kernels")), "-cubin", f"-arch={architecture}"]
        command += ["-Xcudafe", "--display_error_number", "-o", str(tmp_path / "out.cubin"), str(source_path(source))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_masks_are_written_sixteen_bytes_at_a_time():
    """A store split into words costs bandwidth that no other test would notice."""
    from cuda.bindings import nvrtc as raw

    text = source_path("mask_select").read_bytes()
    status, program = raw.nvrtcCreateProgram(text, b"mask_select.cu", 0, [], [])
    assert int(status) == 0
    options = [b"--std=c++17", b"--gpu-architecture=compute_90", f"-I{resource('kernels')}".encode()]
    assert int(raw.nvrtcCompileProgram(program, len(options), options)[0]) == 0
    size = raw.nvrtcGetPTXSize(program)[1]
    ptx = b" " * size
    assert int(raw.nvrtcGetPTX(program, ptx)[0]) == 0
    bodies = {part.split("(")[0].strip(): part for part in ptx.decode().split(".entry")[1:]}
    wide = {name: body for name, body in bodies.items() if name.endswith("wide")}
    assert len(wide) == 9
    for name, body in wide.items():
        stores = [line for line in body.splitlines() if "st.global" in line]
        assert stores, name
        assert all(".v4." in line for line in stores), name


def test_a_compiled_kernel_is_kept_and_taken_from_the_cache(tmp_path, monkeypatch):
    first = nvrtc.compile_kernel("readout", "sm_90", tmp_path)
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("readout-sm_90-")
    assert kept.read_bytes() == first
    monkeypatch.setattr(nvrtc, "build", lambda *_: pytest.fail("compiled again"))
    assert nvrtc.compile_kernel("readout", "sm_90", tmp_path) == first


def test_the_key_knows_source_architecture_and_compiler(tmp_path, monkeypatch):
    keys = {nvrtc._key(source, arch) for source in KERNELS for arch in nvrtc.ARCHITECTURES}
    assert len(keys) == len(KERNELS) * len(nvrtc.ARCHITECTURES)
    monkeypatch.setattr(nvrtc, "compiler_version", lambda: "99.9")
    assert nvrtc._key("readout", "sm_90") not in keys
    monkeypatch.setattr(nvrtc, "sources_digest", lambda: "other")
    assert nvrtc._key("readout", "sm_90") not in keys


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert nvrtc.compile_kernel("readout", "sm_90", tmp_path)


def test_a_cache_that_is_no_folder_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="compiled kernels cannot be kept in .*file"):
        assert nvrtc.compile_kernel("readout", "sm_90", tmp_path / "file")


@pytest.mark.parametrize("architecture", ["sm_70", "sm_9", "sm_999"])
def test_an_unknown_architecture_is_named(architecture):
    with pytest.raises(EngineError, match=f"does not compile for {architecture}"):
        nvrtc.build("readout", architecture)


@pytest.mark.parametrize("architecture", ["", "compute_90", "90", "sm_90; rm"])
def test_an_architecture_has_one_spelling(architecture):
    with pytest.raises(EngineError, match="named like sm_90"):
        nvrtc.build("readout", architecture)


def test_the_compilers_own_words_are_passed_on(tmp_path, monkeypatch):
    broken = tmp_path / "broken.cu"
    broken.write_text('extern "C" __global__ void f() { nonsense; }')
    monkeypatch.setattr(nvrtc, "source_path", lambda name: broken)
    with pytest.raises(EngineError, match=r'broken.cu does not compile for sm_90(.|\n)*"nonsense" is undefined'):
        nvrtc.build("broken", "sm_90")


def test_without_a_driver_the_device_says_so():
    cuda = pytest.importorskip("c2i_fast.kernels.cuda", reason="the cuda extra is not installed")
    try:
        cuda.CudaDevice()
    except EngineError as error:
        assert "driver" in str(error)  # noqa: PT017
    else:
        pytest.skip("there is a GPU here")


def test_a_full_disk_is_done_without(tmp_path, monkeypatch):
    """What was written so far does not stay, and nobody takes half a kernel for one."""

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nvrtc.os, "replace", full)
    with pytest.warns(UserWarning, match="cannot be kept in .*: No space left on device"):
        assert nvrtc.compile_kernel("readout", "sm_90", tmp_path).startswith(b"\x7fELF")
    assert list(tmp_path.iterdir()) == []
