"""The CUDA driver and cuda.core as `CudaDevice` uses them: every call written down, memory that of the host.

`test_cuda.py` looks up each name in the real packages.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum
from types import SimpleNamespace


class CUresult(IntEnum):
    """The driver's answers."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


class Event:
    def __init__(self, fake, name):
        self._fake, self._name = fake, name

    def sync(self):
        self._fake.said("Event.sync", self._name)


class Graph:
    def __init__(self, fake):
        self._fake = fake

    def launch(self, stream):
        self._fake.said("Graph.launch", stream.handle)


class GraphBuilder:
    def __init__(self, fake):
        self._fake = fake

    def begin_building(self, mode):
        self._fake.said("GraphBuilder.begin_building", mode)

    def end_building(self):
        self._fake.said("GraphBuilder.end_building")

    def complete(self):
        self._fake.said("GraphBuilder.complete")
        return Graph(self._fake)

    def close(self):
        self._fake.said("GraphBuilder.close")


class Stream:
    def __init__(self, fake, handle):
        self._fake, self.handle = fake, handle

    def record(self):
        self._fake.said("Stream.record", self.handle)
        return Event(self._fake, f"event of {self.handle}")

    def wait(self, event):
        self._fake.said("Stream.wait", self.handle, event._name)

    def sync(self):
        self._fake.said("Stream.sync", self.handle)

    def create_graph_builder(self):
        self._fake.said("Stream.create_graph_builder", self.handle)
        return GraphBuilder(self._fake)


class FakeCuda:
    """What was asked, and how to answer.

    Attributes:
        calls: (name, arguments…) in order.
        status: driver call → what it answers from now on, instead of success.
        errors: name → exception to raise.
    """

    def __init__(self):
        self.calls, self.status, self.errors, self._memory = [], {}, {}, {}
        self._handles = iter((11, 22))
        names = ("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpyDtoDAsync", "cuMemsetD8Async")
        self.driver = SimpleNamespace(
            **{name: self._driver_call(name) for name in (*names, "cuInit", "cuMemFree", "cuMemFreeHost")},
            cuDeviceGetCount=self._driver_call("cuDeviceGetCount", 1),
            cuMemAlloc=self._memory_call("cuMemAlloc"),
            cuMemHostAlloc=self._memory_call("cuMemHostAlloc"),
        )

    def install(self, module, monkeypatch):
        """Puts the fake in the place of the real packages."""
        monkeypatch.setattr(module, "driver", self.driver)
        monkeypatch.setattr(module, "Device", self.device)
        monkeypatch.setattr(module, "LaunchConfig", lambda grid, block: (grid, block))
        monkeypatch.setattr(module, "launch", self.launch)
        monkeypatch.setattr(module, "ObjectCode", SimpleNamespace(from_cubin=self.from_cubin))

    def said(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name in self.errors:
            raise self.errors[name]

    def called(self, *names):
        """Returns the calls of these names."""
        return [call for call in self.calls if call[0] in names]

    def device(self, index):
        return SimpleNamespace(
            name="a GPU",
            arch="90",
            set_current=lambda: self.said("Device.set_current", index),
            create_stream=lambda: Stream(self, next(self._handles)),
        )

    def launch(self, stream, config, kernel, *arguments):
        self.said("launch", stream.handle, config, kernel, arguments)

    def from_cubin(self, code):
        self.said("ObjectCode.from_cubin", code)
        return SimpleNamespace(get_kernel=self.get_kernel)

    def get_kernel(self, name):
        self.said("ObjectCode.get_kernel", name)
        return name

    def _driver_call(self, name, *answers):
        def call(*arguments):
            self.said(name, *arguments)
            return (self.status.get(name, CUresult.CUDA_SUCCESS), *answers)

        return call

    def _memory_call(self, name):
        def call(nbytes, *flags):
            self.said(name, nbytes, *flags)
            if name in self.status:
                return self.status[name], None
            memory = (ctypes.c_uint8 * nbytes)()
            self._memory[ctypes.addressof(memory)] = memory
            return CUresult.CUDA_SUCCESS, ctypes.addressof(memory)

        return call
