"""The GPU's side of the seam: which driver call, on which stream; and that each of them really exists."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest

from c2i_fast.errors import EngineError
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.launch import Launch
from tests.kernels.cuda_fake import CUresult, FakeCuda

cuda = pytest.importorskip("c2i_fast.kernels.cuda", reason="the cuda extra is not installed")

COMPUTE, COPY = 11, 22
LAUNCH = Launch(source="readout", kernel="readout_fp32", grid=(3, 1), block=128, arguments=(1, np.int32(2)))


@pytest.fixture
def fake(monkeypatch):
    fake = FakeCuda()
    fake.install(cuda, monkeypatch)
    monkeypatch.setattr(cuda, "compile_kernel", lambda source, architecture: f"{source} {architecture}".encode())
    return fake


@pytest.fixture
def device(fake):
    device = cuda.CudaDevice()
    fake.calls.clear()
    return device


def test_plans_go_up_on_the_copy_stream_and_all_else_on_the_other(fake, device):
    buffer, twin = device.allocate(100), device.pinned(60)
    device.send(twin, buffer, 60)
    device.upload(np.zeros(3, np.float32), buffer, 8)
    device.copy(buffer.pointer, buffer.pointer + 50, 10)
    device.fill(buffer, 7)
    device.fetch(buffer, twin, 60)
    device.download(buffer, (5,), np.uint8)
    streams = [(call[0], call[-1]) for call in fake.calls if call[0].startswith("cuMemcpy")]
    assert streams == [
        ("cuMemcpyHtoDAsync", COPY),
        ("cuMemcpyHtoDAsync", COMPUTE),
        ("cuMemcpyDtoDAsync", COMPUTE),
        ("cuMemcpyDtoHAsync", COMPUTE),
        ("cuMemcpyDtoHAsync", COMPUTE),
    ]
    assert fake.called("cuMemcpyHtoDAsync")[0] == ("cuMemcpyHtoDAsync", buffer.pointer, twin.pointer, 60, COPY)
    assert fake.called("cuMemcpyDtoDAsync")[0][1:4] == (buffer.pointer + 50, buffer.pointer, 10)
    assert fake.called("cuMemsetD8Async") == [("cuMemsetD8Async", buffer.pointer, 7, 100, COMPUTE)]
    assert fake.calls[-1] == ("Stream.sync", COMPUTE), "a download waits"
    assert (device.traffic.up, device.traffic.down) == (72, 65)
    assert device.stream == COMPUTE


def test_pinned_memory_is_read_and_written_as_an_array(device):
    twin = device.pinned(64)
    twin.array((2, 3), np.float32)[:] = 5
    assert twin.array((6,), np.float32).tolist() == [5.0] * 6


def test_memory_goes_back_when_nobody_holds_it(fake, device):
    buffer, twin = device.allocate(8), device.pinned(8)
    addresses = buffer.pointer, twin.pointer
    del buffer, twin
    assert fake.called("cuMemFree", "cuMemFreeHost") == [("cuMemFree", addresses[0]), ("cuMemFreeHost", addresses[1])]


def test_events_order_the_streams(fake, device):
    device.after("compute", device.mark("copy"))
    device.wait(device.mark("compute"))
    device.synchronise()
    assert fake.calls == [
        ("Stream.record", COPY),
        ("Stream.wait", COMPUTE, f"event of {COPY}"),
        ("Stream.record", COMPUTE),
        ("Event.sync", f"event of {COMPUTE}"),
        ("Stream.sync", COMPUTE),
        ("Stream.sync", COPY),
    ]


def test_a_kernel_is_compiled_and_loaded_once(fake, device):
    device.launch(LAUNCH)
    device.launch(LAUNCH)
    assert fake.calls == [
        ("ObjectCode.from_cubin", b"readout sm_90"),
        ("ObjectCode.get_kernel", "readout_fp32"),
        *[("launch", COMPUTE, ((3, 1), 128), "readout_fp32", LAUNCH.arguments)] * 2,
    ]
    assert device.traffic.launches == 2


def test_a_recording_is_closed_and_launched_on_the_compute_stream(fake, device):
    replay = device.capture(lambda: device.fill(device.allocate(4), 0))
    assert [call[0] for call in fake.calls] == [
        "Stream.create_graph_builder",
        "GraphBuilder.begin_building",
        "cuMemAlloc",
        "cuMemsetD8Async",
        "cuMemFree",
        "GraphBuilder.end_building",
        "GraphBuilder.complete",
        "GraphBuilder.close",
    ]
    assert fake.calls[0] == ("Stream.create_graph_builder", COMPUTE)
    assert fake.calls[1] == ("GraphBuilder.begin_building", "relaxed")
    replay()
    assert fake.calls[-1] == ("Graph.launch", COMPUTE)
    assert device.traffic.replays == 1


@pytest.mark.parametrize("step", ["begin_building", "end_building", "complete"])
def test_a_recording_that_fails_is_ended_closed_and_an_engine_error(fake, device, step):
    fake.errors[f"GraphBuilder.{step}"] = RuntimeError("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
    with pytest.raises(EngineError, match="cannot be recorded: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
        device.capture(lambda: None)
    assert fake.calls[-1] == ("GraphBuilder.close",)


def test_a_body_that_fails_ends_its_recording(fake, device):
    def body():
        raise EngineError("the network refuses")

    with pytest.raises(EngineError, match="cannot be recorded: the network refuses"):
        device.capture(body)
    assert [call[0] for call in fake.calls[-2:]] == ["GraphBuilder.end_building", "GraphBuilder.close"]


@pytest.mark.parametrize(("call", "what"), [("cuMemAlloc", "allocate"), ("cuMemHostAlloc", "pinned")])
def test_no_memory_left_is_told_from_other_errors(fake, device, call, what):
    fake.status[call] = CUresult.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(DeviceMemoryError, match=r"out of memory \(\w+ 3 MiB\)"):
        getattr(device, what)(3 * 2**20)
    fake.status[call] = CUresult.CUDA_ERROR_INVALID_VALUE
    with pytest.raises(EngineError, match="CUDA error CUDA_ERROR_INVALID_VALUE while") as caught:
        getattr(device, what)(8)
    assert not isinstance(caught.value, DeviceMemoryError)


def test_a_driver_too_old_for_the_compiler_is_named(fake, device):
    fake.errors["ObjectCode.get_kernel"] = RuntimeError("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
    with pytest.raises(EngineError, match=r"refuses readout_fp32 for sm_90: CUDA_ERROR.*a driver older than the comp"):
        device.launch(LAUNCH)
    assert fake.called("launch") == []


def test_without_a_driver_library_or_a_device_it_is_one_line(fake):
    fake.errors["cuInit"] = RuntimeError("Failure finding libcuda.so")
    with pytest.raises(EngineError, match=r"^there is no NVIDIA driver on this machine; use --device cpu$"):
        cuda.CudaDevice()
    del fake.errors["cuInit"]
    with pytest.raises(EngineError, match=r"^there is no CUDA device 1; this machine has 1$"):
        cuda.CudaDevice(1)


def test_every_name_that_the_fake_has_is_there_in_the_real_packages():
    from cuda.bindings import driver
    from cuda.core import Device, Event, ObjectCode, Stream
    from cuda.core.graph import Graph, GraphBuilder

    real = {"Device": Device, "Event": Event, "ObjectCode": ObjectCode, "Stream": Stream}
    real |= {"Graph": Graph, "GraphBuilder": GraphBuilder}
    text = inspect.getsource(inspect.getmodule(FakeCuda))
    named = set(re.findall(r'"(\w+)\.(\w+)"', text))
    assert ("GraphBuilder", "end_building") in named
    for owner, member in named:
        assert hasattr(real[owner], member), f"{owner}.{member}"
    assert {"from_cubin", "get_kernel"} <= set(dir(ObjectCode))
    assert {"create_stream", "name", "arch"} <= set(dir(Device))
    for name in vars(FakeCuda().driver):
        assert hasattr(driver, name), name
    assert "relaxed" in GraphBuilder.begin_building.__doc__
