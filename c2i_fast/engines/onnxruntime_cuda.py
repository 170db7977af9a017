"""ONNX Runtime's CUDA provider behind `CudaPasses`: bound to our buffers, on the masks' own stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from c2i_fast.errors import EngineError
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.engine import SLOTS
from c2i_fast.kernels.launch import Buffer
from c2i_fast.kernels.storage import Storage
from c2i_fast.types import EngineConfig, GraphContract

if TYPE_CHECKING:
    from c2i_fast.kernels.cuda import CudaDevice

# The stream orders kernels and network; waiting for the network after every batch would leave the GPU idle.
NO_WAITING = ("disable_synchronize_execution_providers", "1")


class OnnxRuntimeCudaEngine:
    """The fused graph on ONNX Runtime's CUDA provider; see `DeviceEngine`.

    Raises:
        EngineError: The installed onnxruntime has no CUDA provider, the provider does not load, or the graph is
            refused. ONNX Runtime itself would go on, silently, on the CPU.
    """

    storage = Storage()

    def __init__(self, graph: bytes | Path, contract: GraphContract, config: EngineConfig, device: CudaDevice) -> None:
        import onnxruntime as ort

        from c2i_fast.engines.onnxruntime_providers import CUDA, open_on

        self.config, self.contract, self._device = config, contract, device
        provider = {"device_id": str(device.index), "user_compute_stream": str(device.stream), "use_tf32": "0"}
        self._session = open_on(graph, CUDA, provider)
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry(*NO_WAITING)
        self.resize(config.batch_size)

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on."""
        self.batch = self.contract.batch or batch
        space = tuple(size or 1 for size in self.contract.space)
        shape, answer = (self.batch, self.contract.channels, *space), (self.batch, self.contract.classes)
        self._inputs: list[Buffer] = [self._device.allocate(4 * int(np.prod(shape))) for _ in range(SLOTS)]
        self._logits: list[Buffer] = [self._device.allocate(4 * int(np.prod(answer))) for _ in range(SLOTS)]
        self._bindings = [self._bind(slot, shape, answer) for slot in range(SLOTS)]

    def _bind(self, slot: int, shape: tuple[int, ...], answer: tuple[int, ...]) -> Any:
        binding, index = self._session.io_binding(), self._device.index
        binding.bind_input("pixels", "cuda", index, np.float32, shape, self._inputs[slot].pointer)
        binding.bind_output("logits", "cuda", index, np.float32, answer, self._logits[slot].pointer)
        return binding

    def input(self, slot: int) -> Buffer:
        """Returns an input buffer."""
        return self._inputs[slot]

    def run(self, slot: int) -> Buffer:
        """Runs a batch on the stream."""
        from c2i_fast.engines.onnxruntime import first_line

        try:
            self._session.run_with_iobinding(self._bindings[slot], self._run_options)
        except Exception as error:
            kind = DeviceMemoryError if "memory" in str(error).lower() else EngineError
            raise kind(f"onnxruntime refused to run: {first_line(error)}") from error
        return self._logits[slot]

    def capture(self, body: Callable[[], None]) -> None:
        """Returns None: ONNX Runtime records graphs of its own or none, and cannot be part of one that has begun."""
