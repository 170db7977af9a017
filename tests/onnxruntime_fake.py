"""An onnxruntime with GPU providers that writes down how sessions are made and runs them on the CPU, in host memory."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import onnxruntime as real

CPU = "CPUExecutionProvider"


class FakeOrt:
    """The module, what was asked of it, and how it is to answer.

    Attributes:
        opened: (providers with options, fixed dimensions) of each session.
        runs: what each run was, `run` or `bound` with its device and addresses.
        loads: whether the providers can be loaded; onnxruntime goes on silently where they cannot.
        refusal: raised by the next run, once.
    """

    __version__ = "1.32.0"
    SessionOptions = real.SessionOptions

    def __init__(self, *providers, device=None):
        self.available = [*providers, CPU]
        self.device, self.opened, self.runs, self.loads, self.refusal = device, [], [], True, None

    def get_available_providers(self):
        return self.available

    def RunOptions(self):  # noqa: N802
        return SimpleNamespace(add_run_config_entry=lambda *entry: self.runs.append(("option", *entry)))

    def InferenceSession(self, source, options, *, providers):  # noqa: N802
        return FakeSession(self, source, options, providers)


class FakeSession:
    def __init__(self, fake, source, options, providers):
        self._fake, self._providers = fake, providers
        self._session = real.InferenceSession(source, options, providers=[CPU])
        sizes = {f"{i.name} {n}": size for i in self._session.get_inputs() for n, size in enumerate(i.shape)}
        fake.opened.append((providers, sizes))

    def get_providers(self):
        return [*(name for name, _ in self._providers), CPU] if self._fake.loads else [CPU]

    def get_outputs(self):
        return self._session.get_outputs()

    def run(self, names, feeds):
        self._fake.runs.append(("run", {name: array.shape for name, array in feeds.items()}))
        self._refuse()
        return self._session.run(names, feeds)

    def io_binding(self):
        return FakeBinding()

    def run_with_iobinding(self, binding, options):
        self._fake.runs.append(("bound", binding.device, *sorted(binding.addresses)))
        self._refuse()

        def execute():
            feeds = {name: at(*where) for name, where in binding.inputs.items()}
            for (name, where), value in zip(
                binding.outputs.items(), self._session.run(list(binding.outputs), feeds), strict=True
            ):
                assert name == "logits"
                at(*where)[:] = value

        self._fake.device.do(execute)

    def _refuse(self):
        refusal, self._fake.refusal = self._fake.refusal, None
        if refusal:
            raise refusal


class FakeBinding:
    def __init__(self):
        self.inputs, self.outputs, self.device = {}, {}, None

    @property
    def addresses(self):
        return [where[1] for where in (*self.inputs.values(), *self.outputs.values())]

    def bind_input(self, name, kind, index, dtype, shape, address):
        self.device, self.inputs[name] = (kind, index), (shape, address, dtype)

    def bind_output(self, name, kind, index, dtype, shape, address):
        self.device, self.outputs[name] = (kind, index), (shape, address, dtype)


def at(shape, address, dtype):
    """The array at an address."""
    kind = np.dtype(dtype)
    raw = (ctypes.c_uint8 * (int(np.prod(shape)) * kind.itemsize)).from_address(address)
    return np.frombuffer(raw, kind).reshape(shape)
