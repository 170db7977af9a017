"""TensorRT on an NVIDIA GPU: an engine file, run on the stream where the masks are made.

TensorRT answers a refusal with False or None, and writes the reason to a log. Here every such answer is an error that
carries the log's words.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from c2i_fast.engines.tensorrt_file import read_engine
from c2i_fast.errors import EngineError, InputError, MissingDependencyError
from c2i_fast.kernels.device import Device, DeviceMemoryError
from c2i_fast.kernels.engine import SLOTS
from c2i_fast.kernels.launch import Buffer
from c2i_fast.kernels.storage import Storage
from c2i_fast.types import EngineConfig, Feeds, Floats, GraphContract

OLDEST, BEYOND = (10, 13), (12,)
LINES = 3


class StreamDevice(Device, Protocol):
    """A device whose stream others may use; a `CudaDevice` is one."""

    architecture: str

    @property
    def stream(self) -> int:
        """The stream's handle."""
        ...


def import_tensorrt() -> Any:
    """Returns the module `tensorrt`.

    Raises:
        MissingDependencyError: It is not installed.
        EngineError: Its libraries cannot be loaded, or it is not of a version that this package was written for.
    """
    try:
        trt: Any = importlib.import_module("tensorrt")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("tensorrt", "tensorrt") from error
    except (ImportError, OSError) as error:
        raise EngineError(f"tensorrt is installed, but its libraries cannot be loaded: {error}") from error
    if not OLDEST <= version_of(trt) < BEYOND:
        raise EngineError(f"TensorRT 10.13 to 11 is needed, found {trt.__version__}; install one of those")
    return trt


def version_of(trt: Any) -> tuple[int, int]:
    """Returns the major and the minor version."""
    major, minor = re.findall(r"\d+", trt.__version__)[:2]
    return int(major), int(minor)


def error_log(trt: Any) -> Any:
    """Returns a logger for TensorRT that keeps its errors, in `errors`, and drops the rest."""
    grave = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in grave:
                self.errors.append(message)

    return Log()


def started(make: Callable[[Any], Any], log: Any) -> Any:
    """Returns `make(log)`: a builder or a runtime.

    Raises:
        EngineError: There is none to be had, as without a driver.
    """
    try:
        return make(log)
    except TypeError as error:  # what the bindings make of a null pointer
        raise refusal(log, "TensorRT does not start (is an NVIDIA driver installed?)") from error


def refusal(log: Any, what: str) -> EngineError:
    """Returns the error for an answer of False or None, with what TensorRT wrote to its log since the last one."""
    reason = "; ".join(" ".join(line.split())[:300] for line in log.errors[:LINES]) or "it gives no reason"
    log.errors.clear()
    kind = DeviceMemoryError if re.search(r"out ?of ?memory", reason, re.IGNORECASE) else EngineError
    return kind(f"{what}: {reason}")


class LoadedEngine:
    """A deserialized engine and its one execution context, on a device's stream.

    Args:
        data: the serialized engine.
        name: for messages.
        device: where it runs; its stream is the order of everything.

    Raises:
        EngineError: TensorRT cannot take it; `DeviceMemoryError` where memory is the reason.
    """

    def __init__(self, data: bytes, name: str, device: StreamDevice) -> None:
        self._trt = trt = import_tensorrt()
        self.name, self.device = name, device
        self._log = error_log(trt)
        self._runtime = started(trt.Runtime, self._log)  # kept: engines do not outlive their runtime
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise refusal(self._log, f"TensorRT {trt.__version__} cannot load {name}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise refusal(self._log, f"TensorRT cannot make an execution context for {name}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        fed = {n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT}
        self.inputs = tuple(n for n in names if n in fed)
        self.outputs = tuple(n for n in names if n not in fed)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Returns the element type of an input or output."""
        try:
            kind: np.dtype[Any] = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        except TypeError as error:  # bfloat16 and narrower have no NumPy type
            raise EngineError(f"{self.name} has a tensor {name} that NumPy has no type for; export it again") from error
        return kind

    def profile(self, name: str) -> tuple[tuple[int, ...], ...]:
        """Returns the smallest, the usual and the largest shape of an input."""
        return tuple(tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Sets an input's shape; an `EngineError` where the profile does not hold it."""
        if not self._context.set_input_shape(name, shape):
            low, _, high = self.profile(name)
            raise refusal(self._log, f"{self.name} takes {name} from {low} to {high}, not {shape}")

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of an output for the inputs' shapes."""
        shape = tuple(self._context.get_tensor_shape(name))
        if -1 in shape:
            raise refusal(self._log, f"{self.name} does not know the shape of {name}, it says {shape}")
        return shape

    def bind(self, name: str, buffer: Buffer) -> None:
        """Names the memory that the next run reads or writes."""
        if not self._context.set_tensor_address(name, buffer.pointer):
            raise refusal(self._log, f"{self.name} does not take the memory for {name}")

    def enqueue(self) -> None:
        """Puts a run on the device's stream."""
        if not self._context.execute_async_v3(self.device.stream):
            raise refusal(self._log, f"{self.name} refused to run")

    def inspect(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        """Returns the inspector's JSON for these input shapes: without shapes it does not tell all types."""
        for name, shape in shapes.items():
            self.set_shape(name, shape)
        inspector = self._engine.create_engine_inspector()
        if inspector is None:
            raise refusal(self._log, f"TensorRT cannot look into {self.name}")
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))


class TensorRtEngine:
    """A fused graph's engine behind `CudaPasses`; see `DeviceEngine`. Made by `open` or `built`.

    Args:
        loaded: the engine.
        contract: of its graph.
        config: `batch_size` within the engine's profile.

    Raises:
        EngineError: The batch is outside the profile, or an input or output is not float32.
    """

    storage = Storage()

    def __init__(self, loaded: LoadedEngine, contract: GraphContract, config: EngineConfig) -> None:
        self.config, self.contract, self.device = config, contract, loaded.device
        self._loaded = loaded
        for name in (*loaded.inputs, *loaded.outputs):
            _float32(loaded, name)
        self.resize(config.batch_size)

    @classmethod
    def open(cls, path: Path, config: EngineConfig, device: StreamDevice) -> Self:
        """Returns the engine in a file of `export_tensorrt`, its JSON beside it.

        Raises:
            InputError: One of the files is missing, or the graph was not a fused one.
            ContractError: The JSON is not this engine's.
            MissingDependencyError: tensorrt is not installed.
            EngineError: The engine is for another version, GPU, precision or batch, or TensorRT refuses it.

        Example, on a machine with a GPU::

            engine = TensorRtEngine.open(Path("resnet.engine"), EngineConfig(engine="tensorrt"), CudaDevice())
            passes = CudaPasses(engine.device, engine, engine.contract)
        """
        record, data = read_engine(path)
        record.key.check(path.name, import_tensorrt().__version__, device.architecture)
        if record.contract.step_map_dtype is not None:
            raise InputError(f"{path.name} was built from a scorer graph; build one from its fused graph")
        if config.precision != record.key.precision:
            raise EngineError(
                f"{path.name} computes in {record.key.precision}, not {config.precision}; "
                "the precision is the graph's: convert the graph and export it again"
            )
        return cls(LoadedEngine(data, path.name, device), record.contract, config)

    @classmethod
    def built(
        cls,
        graph: bytes | Path,
        contract: GraphContract,
        config: EngineConfig,
        device: StreamDevice,
        say: Callable[[str], None] = lambda line: None,
    ) -> Self:
        """Returns the engine of a fused graph, from the user's cache where it was built before.

        Args:
            graph: ONNX bytes or a file.
            contract: of the graph.
            config: `batch_size` becomes the engine's largest batch, `precision` must be the graph's.
            device: where it runs.
            say: told that a build takes minutes, and what is not cached.

        Raises:
            MissingDependencyError, EngineError, ContractError: as `export_tensorrt`.
        """
        from c2i_fast.export.tensorrt import engine_for_scoring

        loaded = engine_for_scoring(graph, contract, config.precision, config.batch_size, device, say)
        return cls(loaded, contract, config)

    def resize(self, batch: int) -> None:
        """Takes another batch size from now on; an `EngineError` where the engine's profile does not hold it."""
        batch = self.contract.batch or batch
        low, _, high = self._loaded.profile("pixels")
        if not low[0] <= batch <= high[0]:
            raise EngineError(
                f"{self._loaded.name} takes batches of {low[0]} to {high[0]}, not {batch}; "
                "choose another batch size, or export the engine for other batches"
            )
        self.batch = batch
        self._inputs: list[Buffer] = []  # the old buffers go before the new ones come
        self._outputs: list[dict[str, Buffer]] = []
        self._loaded.set_shape("pixels", (batch, *low[1:]))
        self._unread = {name: self._zeros(name, batch) for name in self._loaded.inputs if name != "pixels"}
        allocate, shape = self.device.allocate, self._loaded.shape
        self._inputs = [allocate(4 * batch * self.contract.elements) for _ in range(SLOTS)]
        sizes = {name: 4 * int(np.prod(shape(name))) for name in self._loaded.outputs}
        spare = {name: allocate(size) for name, size in sizes.items() if name != "logits"}  # written, never read
        self._outputs = [{"logits": allocate(sizes["logits"]), **spare} for _ in range(SLOTS)]

    def input(self, slot: int) -> Buffer:
        """Returns an input buffer."""
        return self._inputs[slot]

    def run(self, slot: int) -> Buffer:
        """Runs a batch; the answer is there when the stream gets to it."""
        self._loaded.bind("pixels", self._inputs[slot])
        for name, buffer in (*self._unread.items(), *self._outputs[slot].items()):
            self._loaded.bind(name, buffer)
        self._loaded.enqueue()
        return self._outputs[slot]["logits"]

    def capture(self, body: Callable[[], None]) -> Callable[[], None]:
        """Records on the device's stream, where the network has run before with the same shapes."""
        return self.device.capture(body)

    def _zeros(self, name: str, batch: int) -> Buffer:
        """Returns what is fed to an input that raw logits do not depend on: a calibrator's perturbed fraction."""
        self._loaded.set_shape(name, (batch,))
        buffer = self.device.allocate(4 * batch)
        self.device.upload(np.zeros(batch, np.float32), buffer)
        return buffer


class TensorRtSession:
    """A loaded engine as a session: arrays up, a run, arrays down. For checks, and for scorer graphs.

    Args:
        loaded: the engine.
        config: as it was asked for.
    """

    def __init__(self, loaded: LoadedEngine, config: EngineConfig) -> None:
        self.config = config
        self._loaded = loaded
        self._buffers: dict[str, Buffer] = {}
        for name in loaded.outputs:
            _float32(loaded, name)

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name.

        Raises:
            EngineError: An input is missing, unknown, of another type or of a shape outside the profile.
        """
        if set(feeds) != set(self._loaded.inputs):
            wanted, found = (", ".join(sorted(names)) for names in (self._loaded.inputs, feeds))
            raise EngineError(f"{self._loaded.name} takes the inputs {wanted}, not {found}")
        for name, array in feeds.items():
            self._feed(name, array)
        shapes = {name: self._loaded.shape(name) for name in self._loaded.outputs}
        for name, shape in shapes.items():
            self._loaded.bind(name, self._room(name, 4 * int(np.prod(shape))))
        self._loaded.enqueue()
        download = self._loaded.device.download
        return {name: download(self._buffers[name], shape, np.float32) for name, shape in shapes.items()}

    def _feed(self, name: str, array: NDArray[Any]) -> None:
        if array.dtype != self._loaded.dtype(name):
            raise EngineError(f"{self._loaded.name} takes {name} in {self._loaded.dtype(name)}, not {array.dtype}")
        self._loaded.set_shape(name, array.shape)
        buffer = self._room(name, array.nbytes)
        self._loaded.device.upload(array, buffer)
        self._loaded.bind(name, buffer)

    def _room(self, name: str, nbytes: int) -> Buffer:
        """Returns the buffer of that name, made larger where it is too small."""
        if name not in self._buffers or self._buffers[name].nbytes < nbytes:
            self._buffers.pop(name, None)
            self._buffers[name] = self._loaded.device.allocate(nbytes)
        return self._buffers[name]


def _float32(loaded: LoadedEngine, name: str) -> None:
    if loaded.dtype(name) != np.float32:
        raise EngineError(f"{loaded.name} has {name} in {loaded.dtype(name)}; it must be float32: export it again")
