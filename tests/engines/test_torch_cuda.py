"""PyTorch on a GPU, where torch.cuda is a fake that records: the tensors are real, and lie in host memory."""

from __future__ import annotations

import inspect
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from c2i_fast.errors import EngineError
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.passes import CudaPasses
from c2i_fast.types import EngineConfig, PerturbationPlan, Preprocessing
from tests import nets
from tests.tensorrt_fake import HostStream

torch = pytest.importorskip("torch", reason="torch is not installed")
module = pytest.importorskip("c2i_fast.engines.torch_cuda", reason="torch is not installed")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernels with")


class HostCuda:
    """What the engine uses of torch.cuda: streams are their handles, graphs record what the host device does."""

    OutOfMemoryError = torch.cuda.OutOfMemoryError

    def __init__(self, device):
        self.device, self.said, self.available, self.refuses = device, [], True, None

    def is_available(self):
        return self.available

    def ExternalStream(self, handle, place):  # noqa: N802
        return handle

    def graph_pool_handle(self):
        return "pool"

    def is_current_stream_capturing(self):
        return self.device._recorded is not None

    def empty_cache(self):
        self.said.append("empty_cache")

    @contextmanager
    def stream(self, stream):
        self.said.append(("stream", stream))
        yield

    class CUDAGraph:
        def replay(self):
            self.replayed()

    @contextmanager
    def graph(self, graph, *, pool, stream, capture_error_mode):
        self.said.append(("graph", pool, stream, capture_error_mode))
        if self.refuses:
            raise self.refuses
        recorded = self.device._recorded = []
        try:
            yield
        finally:
            self.device._recorded = None
        graph.replayed = lambda: [call() for call in recorded]


class HostTorch:
    """torch, whose GPU is the host."""

    def __init__(self, cuda):
        self.cuda = cuda

    def __getattr__(self, name):
        return getattr(torch, name)

    def device(self, kind, index):
        assert kind == "cuda"
        return torch.device("cpu")


@pytest.fixture
def opened(monkeypatch):
    """Returns (engine, fake torch.cuda, device) for a network and a batch."""

    def build(net, batch=4, precision="fp32", say=None):
        device = HostStream()
        device.index = 0
        cuda = HostCuda(device)
        monkeypatch.setattr(module, "torch", HostTorch(cuda))

        class Deferred(module.TorchCudaEngine):
            """The network runs when the stream gets there."""

            def run(self, slot):
                if device._recorded is None:
                    return super().run(slot)
                shape = (self.batch, self.contract.classes)
                kept = module.TensorBuffer(torch.empty(shape))
                run = super().run
                device.do(lambda: kept.tensor.copy_(run(slot).tensor))
                return kept

        config = EngineConfig(engine="torch", device="cuda", batch_size=batch, precision=precision)
        return Deferred(net.module, net.contract, config, device), cuda, device

    return build


def rows(net, count=9):
    rng = np.random.default_rng(0)
    shape = (net.contract.channels, *net.contract.space)
    plans = [
        PerturbationPlan(
            start=rng.random(shape, np.float32),
            end=rng.random(shape, np.float32),
            step_map=rng.integers(0, 8, (1, *shape[1:])).astype(np.uint8),
            intervals=7,
        )
        for _ in range(2)
    ]
    work = np.array([(p, k) for p in range(2) for k in range(8)][:count], np.int32)
    shown = np.stack([np.where(plans[p].step_map < k, plans[p].end, plans[p].start) for p, k in work])
    return plans, work, shown


def expected(net, shown):
    from c2i_fast.engines.torch import TorchSession, torch_graph

    session = TorchSession(torch_graph(net.module, net.contract, "fused", None), EngineConfig(engine="torch"))
    return session.run({"pixels": shown})["logits"]


@needs_compiler
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
@pytest.mark.parametrize("space", [(5, 4), (11,)])
def test_it_scores_as_the_cpu_does_recorded_or_not(opened, space, outputs):
    prep = Preprocessing(mean=(0.4, 0.5), std=(0.2, 0.3), bgr=True, drop_class=1, outputs=outputs)
    net = nets.identity_net(2, space, preprocessing=prep, torch=True)
    engine, cuda, device = opened(net)
    plans, work, shown = rows(net, 16)
    passes = CudaPasses(device, engine, net.contract)
    for _ in range(3):
        np.testing.assert_allclose(passes.select(plans, work), expected(net, shown), rtol=1e-5, atol=1e-5)
    graphs = [call for call in cuda.said if call[0] == "graph"]
    assert graphs == [("graph", "pool", HostStream.stream, "relaxed")] * 2, "one a slot"
    assert device.traffic.replays == 3 * 4 - 2
    assert {call for call in cuda.said if call[0] == "stream"} == {("stream", HostStream.stream)}


@needs_compiler
def test_a_network_that_cannot_be_recorded_runs_on_and_says_so(opened):
    net = nets.identity_net(2, (5, 4), torch=True)
    engine, cuda, device = opened(net)
    cuda.refuses = RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")
    said = []
    plans, work, shown = rows(net, 16)
    passes = CudaPasses(device, engine, net.contract, said.append)
    np.testing.assert_allclose(passes.select(plans, work), expected(net, shown), rtol=1e-5, atol=1e-5)
    assert said == [
        "going on without CUDA graphs: torch cannot record the network: "
        "operation not permitted when stream is capturing"
    ]


@needs_compiler
def test_memory_that_runs_out_halves_the_batch(opened):
    net = nets.identity_net(2, (5, 4), torch=True)
    engine, cuda, device = opened(net, batch=8)
    plain = engine._module.forward
    engine._module.forward = lambda x: plain(x) if len(x) <= 2 else _raise(torch.cuda.OutOfMemoryError("no"))
    said = []
    plans, work, shown = rows(net)
    passes = CudaPasses(device, engine, net.contract, said.append)
    np.testing.assert_allclose(passes.select(plans, work), expected(net, shown), rtol=1e-5, atol=1e-5)
    assert [line[-12:] for line in said] == ["batches of 4", "batches of 2"]
    assert cuda.said.count("empty_cache") == 2


def test_input_buffers_that_do_not_fit_are_told_as_memory(opened, monkeypatch):
    engine, _, _ = opened(nets.identity_net(2, (5, 4), torch=True))
    monkeypatch.setattr(
        module.torch, "zeros", lambda *_, **__: _raise(torch.cuda.OutOfMemoryError("no")), raising=False
    )
    with pytest.raises(DeviceMemoryError, match="input buffers"):
        engine.resize(2)


def test_images_lie_channels_last_in_the_networks_own_type(opened):
    engine, _, _ = opened(nets.identity_net(3, (5, 4), torch=True), precision="bf16")
    buffer = engine.input(0)
    assert buffer is engine.input(0)
    assert buffer.tensor.is_contiguous(memory_format=torch.channels_last)
    assert (buffer.tensor.dtype, buffer.nbytes) == (torch.bfloat16, 4 * 3 * 5 * 4 * 2)
    assert (engine.storage.type, engine.storage.layout) == ("bf16", "NHWC")


def test_no_gpu_and_no_such_precision_are_one_line(opened, monkeypatch):
    net = nets.identity_net(2, (5, 4), torch=True)
    with pytest.raises(EngineError, match="fp32, fp16 and bf16 on the GPU, not int8"):
        opened(net, precision="int8")
    monkeypatch.setattr(HostCuda, "is_available", lambda self: False)
    with pytest.raises(EngineError, match="torch sees no GPU"):
        opened(net)


def test_all_that_is_used_of_torch_is_there():
    for name in vars(HostCuda):
        assert name.startswith("_") or hasattr(torch.cuda, name), name
    taken = inspect.signature(torch.cuda.graph.__init__).parameters
    assert {"pool", "stream", "capture_error_mode"} <= set(taken)
    assert hasattr(torch.cuda.CUDAGraph, "replay")


def _raise(error):
    raise error
