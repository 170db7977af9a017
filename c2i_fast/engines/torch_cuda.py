"""PyTorch on the GPU, behind `CudaPasses`: channels last, on the masks' own stream, fed in the network's own type."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2i_fast.engines.torch_head import class_logits
from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.kernels.engine import SLOTS
from c2i_fast.kernels.storage import Storage
from c2i_fast.types import EngineConfig, GraphContract

try:
    import torch
except ImportError as error:
    raise MissingDependencyError("torch", "torch") from error

if TYPE_CHECKING:
    from c2i_fast.kernels.cuda import CudaDevice

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class TensorBuffer:
    """A tensor's memory as a device buffer; the tensor is held, so that it stays where it is."""

    tensor: torch.Tensor

    @property
    def pointer(self) -> int:
        """The address of its first element."""
        return int(self.tensor.data_ptr())

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return self.tensor.numel() * self.tensor.element_size()


class TorchCudaEngine:
    """A torch module whose input buffers the mask kernels write; see `DeviceEngine`.

    Normalisation is done once an image, on the host, so the network is fed what it takes; the head (dropped classes,
    logarithm of probabilities) is float32 whatever the network's precision. TF32 stays off.

    Raises:
        EngineError: The precision is not one of fp32, fp16 and bf16, or torch sees no GPU.
    """

    def __init__(
        self, module: torch.nn.Module, contract: GraphContract, config: EngineConfig, device: CudaDevice
    ) -> None:
        if config.precision not in TYPES:
            raise EngineError(f"torch runs fp32, fp16 and bf16 on the GPU, not {config.precision}")
        if not torch.cuda.is_available():
            raise EngineError("torch sees no GPU: its build has no CUDA, or its CUDA is newer than the driver")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        self.config, self.contract, self._device = config, contract, device
        self._type = TYPES[config.precision]
        self._place = torch.device("cuda", device.index)
        image = len(contract.space) == 2
        self._format = torch.channels_last if image else torch.contiguous_format
        self._module = deepcopy(module).to(self._place, self._type)  # the caller's weights stay as they are
        if image:
            self._module = self._module.to(memory_format=self._format)
        self._stream = torch.cuda.ExternalStream(device.stream, self._place)  # type: ignore[no-untyped-call]
        self.storage = Storage(
            type=config.precision, layout="NHWC" if image else "NCHW", preprocessing=contract.preprocessing
        )
        self._pool = torch.cuda.graph_pool_handle()  # one for all graphs: they never run at a time
        self.resize(config.batch_size)

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on."""
        self.batch = batch
        shape = (batch, self.contract.channels, *(size or 1 for size in self.contract.space))
        try:
            self._inputs = [
                TensorBuffer(
                    torch.zeros(shape, dtype=self._type, device=self._place).contiguous(memory_format=self._format)
                )
                for _ in range(SLOTS)
            ]
        except torch.cuda.OutOfMemoryError as error:
            raise DeviceMemoryError("the GPU is out of memory (input buffers)") from error
        self._logits: list[torch.Tensor | None] = [None] * SLOTS

    def input(self, slot: int) -> TensorBuffer:
        """Returns an input buffer."""
        return self._inputs[slot]

    def run(self, slot: int) -> TensorBuffer:
        """Runs a batch on the stream."""
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                output = self._module(self._inputs[slot].tensor).float()
                logits = class_logits(output, self.contract.preprocessing, self.contract.activation).contiguous()
                self._logits[slot] = logits
        except torch.cuda.OutOfMemoryError as error:
            if not torch.cuda.is_current_stream_capturing():
                torch.cuda.empty_cache()
            raise DeviceMemoryError("the GPU is out of memory (the network)") from error
        return TensorBuffer(logits)

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Records by torch itself, whose allocator has to know; what else is launched on the stream is recorded too."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="relaxed"):
                body()
        except (RuntimeError, EngineError) as error:
            raise EngineError(f"torch cannot record the network: {str(error).strip().splitlines()[0]}") from error

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()
            self._device.traffic.replays += 1

        return replay
