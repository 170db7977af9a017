"""A TensorRT that writes down what is asked of it and runs the graphs by ONNX Runtime, in host memory.

Its classes have the names of the real ones and no member that the package does not use; `test_tensorrt_api.py` looks
each of them up in the real bindings. An answer can be replaced, to see what becomes of a refusal.
"""

from __future__ import annotations

import base64
import ctypes
import json
from enum import IntEnum
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from c2i_fast.kernels.host import HostDevice

TEN, ELEVEN = "10.16.1.11", "11.4.0.106"
TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}


class HostStream(HostDevice):
    """The host as a GPU: a name, an architecture and a stream, on which the last one made executes."""

    architecture = "sm_90"
    stream = 7
    streams: ClassVar[dict[int, HostDevice]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.streams[self.stream] = self


def _enum(name: str, *members: str, start: int = 0) -> type[IntEnum]:
    return IntEnum(name, {member: number for number, member in enumerate(members, start)})


class _Object:
    """Something of TensorRT's: it knows the fake it belongs to."""

    def __init__(self, fake: FakeTensorRt) -> None:
        self._fake = fake

    def _said(self, method: str, *arguments, answer=None):
        return self._fake.said(type(self).__name__, method, arguments, answer)


class IHostMemory(bytes):
    """What the bindings return in place of bytes."""


class ITimingCache(_Object):
    content = b""

    def serialize(self):
        return IHostMemory(self._said("serialize", answer=self.content + b"measured"))


class IOptimizationProfile(_Object):
    def __init__(self, fake) -> None:
        super().__init__(fake)
        self._shapes = {}

    def set_shape(self, name, low, usual, high) -> None:
        self._said("set_shape", name, low, usual, high)
        self._shapes[name] = [low, usual, high]


class IBuilderConfig(_Object):
    def __init__(self, fake) -> None:
        super().__init__(fake)
        self._profile, self._cache = {}, None

    def set_memory_pool_limit(self, pool, nbytes) -> None:
        self._said("set_memory_pool_limit", pool, nbytes)

    def clear_flag(self, flag) -> None:
        self._said("clear_flag", flag)

    @property
    def profiling_verbosity(self):
        raise NotImplementedError

    @profiling_verbosity.setter
    def profiling_verbosity(self, value) -> None:
        self._said("profiling_verbosity", value)

    def add_optimization_profile(self, profile):
        self._profile = profile._shapes
        return self._said("add_optimization_profile", answer=0)

    def create_timing_cache(self, content):
        cache = ITimingCache(self._fake)
        cache.content = content
        return self._said("create_timing_cache", content, answer=cache)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return self._said("set_timing_cache", cache.content, ignore_mismatch, answer=True)

    def get_timing_cache(self):
        return self._said("get_timing_cache", answer=self._cache)


class INetworkDefinition(_Object):
    graph = b""


class ParserError(_Object):
    def __init__(self, fake, description, node="", operator="") -> None:
        super().__init__(fake)
        self._description, self._node, self._operator = description, node, operator

    def desc(self):
        return self._description

    def node_name(self):
        return self._node

    def node_operator(self):
        return self._operator


class OnnxParser(_Object):
    def __init__(self, fake, network) -> None:
        super().__init__(fake)
        self._network = network

    def parse(self, content):
        self._network.graph = content
        return self._said("parse", len(content), answer=True)

    def parse_from_file(self, path):
        assert isinstance(path, str)
        with open(path, "rb") as file:
            self._network.graph = file.read()
        return self._said("parse_from_file", path, answer=True)

    @property
    def num_errors(self):
        return len(self._fake.parser_errors)

    def get_error(self, number):
        return ParserError(self._fake, *self._fake.parser_errors[number])


class Builder(_Object):
    def create_network(self, flags):
        return self._said("create_network", flags, answer=INetworkDefinition(self._fake))

    def create_builder_config(self):
        return self._said("create_builder_config", answer=IBuilderConfig(self._fake))

    def create_optimization_profile(self):
        return self._said("create_optimization_profile", answer=IOptimizationProfile(self._fake))

    def build_serialized_network(self, network, config):
        content = {"graph": base64.b64encode(network.graph).decode(), "profile": config._profile}
        return self._said("build_serialized_network", answer=IHostMemory(json.dumps(content).encode()))


class Runtime(_Object):
    def deserialize_cuda_engine(self, data):
        if not data.startswith(b'{"graph"'):
            return self._said("deserialize_cuda_engine", answer=None)
        return self._said("deserialize_cuda_engine", answer=ICudaEngine(self._fake, json.loads(data)))


class ICudaEngine(_Object):
    def __init__(self, fake, content) -> None:
        super().__init__(fake)
        import onnxruntime as ort

        self._profile = content["profile"]
        self._session = ort.InferenceSession(base64.b64decode(content["graph"]))
        self._fed, made = self._session.get_inputs(), self._session.get_outputs()
        self._tensors = {tensor.name: tensor for tensor in (*self._fed, *made)}

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, number):
        return list(self._tensors)[number]

    def get_tensor_mode(self, name):
        modes = self._fake.module.TensorIOMode
        return modes.INPUT if name in {tensor.name for tensor in self._fed} else modes.OUTPUT

    def get_tensor_dtype(self, name):
        return self._fake.answers.get(f"get_tensor_dtype {name}", TYPES[self._tensors[name].type])

    def get_tensor_profile_shape(self, name, number):
        assert number == 0
        return self._profile[name]

    def create_execution_context(self):
        return self._said("create_execution_context", answer=IExecutionContext(self._fake, self))

    def create_engine_inspector(self):
        return self._said("create_engine_inspector", answer=EngineInspector(self._fake))


class EngineInspector(_Object):
    @property
    def execution_context(self):
        raise NotImplementedError

    @execution_context.setter
    def execution_context(self, context) -> None:
        self._said("execution_context", dict(context._shapes))

    def get_engine_information(self, form):
        return self._said("get_engine_information", form, answer=self._fake.information())


class IExecutionContext(_Object):
    def __init__(self, fake, engine) -> None:
        super().__init__(fake)
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        assert isinstance(shape, tuple)
        low, _, high = self._engine._profile[name]
        inside = all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True))
        if inside:
            self._shapes[name] = shape
        return self._said("set_input_shape", name, shape, answer=inside)

    def get_tensor_shape(self, name):
        classes = self._engine._tensors[name].shape[-1]
        leading = self._shapes["pixels"][:1] if "pixels" in self._shapes else self._shapes["steps"]
        return self._fake.answers.get("get_tensor_shape", (*leading, classes))

    def set_tensor_address(self, name, address):
        assert isinstance(address, int)
        self._addresses[name] = address
        return self._said("set_tensor_address", name, address, answer=True)

    def execute_async_v3(self, stream_handle):
        fed = [tensor.name for tensor in self._engine._fed]
        feeds = {name: self._array(name, self._shapes[name]) for name in fed}
        made = {name: self._addresses[name] for name in self._engine._tensors if name not in fed}

        def execute():
            for name, values in zip(made, self._engine._session.run(list(made), feeds), strict=True):
                self._at(made[name], name, values.shape)[:] = values + self._fake.error

        done = self._said("execute_async_v3", stream_handle, answer=True)
        if done:
            HostStream.streams[stream_handle].do(execute)
        return done

    def _array(self, name, shape):
        return self._at(self._addresses[name], name, shape)

    def _at(self, address, name, shape):
        kind = np.dtype(TYPES[self._engine._tensors[name].type])
        raw = (ctypes.c_uint8 * (int(np.prod(shape)) * kind.itemsize)).from_address(address)
        return np.frombuffer(raw, kind).reshape(shape)


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        self.made = True

    def log(self, severity, message) -> None:
        raise NotImplementedError


CLASSES = (
    *(Builder, EngineInspector, IBuilderConfig, ICudaEngine, IExecutionContext, IHostMemory, ILogger),
    *(INetworkDefinition, IOptimizationProfile, ITimingCache, OnnxParser, ParserError, Runtime),
)


def members() -> list[tuple[str, str]]:
    """Returns (class, member) for all that the fake offers."""
    return [
        (kind.__name__, name)
        for kind in CLASSES
        for name in vars(kind)
        if not name.startswith("_") and name not in ("content", "graph")
    ]


class FakeTensorRt:
    """The module, what was asked of it, and how it is to answer.

    Attributes:
        calls: (class, method, arguments) in order.
        answers: `Class.method` → what it returns from now on; a list is used up first answer first.
        errors: `Class.method` → what it writes to the log.
        parser_errors: (description, node name, operator) of each.
        layer_type: what the inspector says of the layers.
        error: added to every output.
    """

    def __init__(self, version: str = ELEVEN) -> None:
        self.calls = []
        self.answers = {}
        self.errors = {}
        self.parser_errors = []
        self.layer_type = {TEN: "Row major linear FP32", ELEVEN: "Float"}[version]
        self.error = 0.0
        self._log = None
        self.version = version
        self.module = SimpleNamespace(
            __version__=version,
            ILogger=ILogger,
            Builder=self._new(Builder),
            Runtime=self._new(Runtime),
            OnnxParser=lambda network, log: OnnxParser(self, network),
            NetworkDefinitionCreationFlag=_enum("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH", "STRONGLY_TYPED"),
            MemoryPoolType=_enum("MemoryPoolType", "WORKSPACE"),
            BuilderFlag=_enum("BuilderFlag", "TF32"),
            ProfilingVerbosity=_enum("ProfilingVerbosity", "LAYER_NAMES_ONLY", "NONE", "DETAILED"),
            LayerInformationFormat=_enum("LayerInformationFormat", "ONELINE", "JSON"),
            TensorIOMode=_enum("TensorIOMode", "NONE", "INPUT", "OUTPUT"),
            nptype=self._nptype,
        )

    def said(self, kind, method, arguments, answer):
        self.calls.append((kind, method, *arguments))
        name = f"{kind}.{method}"
        for line in self.errors.get(name, ()):
            self._log.log(Severity.ERROR, line)
        if name not in self.answers:
            return answer
        given = self.answers[name]
        return (given.pop(0) if given else answer) if isinstance(given, list) else given

    def information(self) -> str:
        key = "Format/Datatype" if self.version == TEN else "DataType"
        layer = {"Name": "conv", "Inputs": [{"Name": "x", key: self.layer_type}], "Outputs": []}
        io = {"Bindings": ["pixels"]} if self.version == TEN else {"I/O Tensors": [{"DataType": "Float"}]}
        return json.dumps({"Layers": [layer], **io})

    def called(self, *methods: str) -> list[tuple]:
        """Returns the calls of some methods, or all, without the class."""
        return [call[1:] for call in self.calls if not methods or call[1] in methods]

    def _new(self, kind):
        def make(log):
            assert log.made, "the logger's own __init__ must have run"
            self._log = log
            log.log(Severity.WARNING, "a warning, which is no reason")
            if f"{kind.__name__}" in self.answers:
                raise TypeError("pybind11::init(): factory function returned nullptr")
            return kind(self)

        return make

    @staticmethod
    def _nptype(kind):
        if kind is None:
            raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
        return kind
