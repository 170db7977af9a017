"""ONNX → a serialized TensorRT engine, strongly typed: the precision is the graph's, and no builder flag changes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2i_fast.engines.tensorrt import error_log, import_tensorrt, refusal, started, version_of
from c2i_fast.engines.tensorrt_file import Shapes
from c2i_fast.errors import EngineError

# What the inspector calls the types: TensorRT 10 in words ("Row major linear FP16 format"), 11 by name ("Half").
TYPES = {
    "fp32": r"fp32|float|float32",
    "fp16": r"fp16|half|float16",
    "bf16": r"bf16|bfloat16",
    "int8": r"int8",
    "fp8": r"fp8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """What is to be built.

    Attributes:
        graph: ONNX bytes, or the path of a file, which may keep its weights beside it.
        name: for messages.
        profile: input → smallest, usual and largest shape.
        workspace_bytes: memory that a layer may use for scratch.
    """

    graph: bytes | Path
    name: str
    profile: Mapping[str, Shapes]
    workspace_bytes: int

    @property
    def flags(self) -> tuple[str, ...]:
        """What the builder is told, for the engine's key."""
        return ("strongly-typed", "tf32=off", "inspector=detailed", f"workspace={self.workspace_bytes}")


def build_engine(plan: BuildPlan, timing: bytes = b"") -> tuple[bytes, bytes]:
    """Returns the serialized engine and the timing cache, which makes the next build of such a graph shorter.

    Args:
        plan: what to build.
        timing: a timing cache of the same TensorRT and GPU; one that TensorRT does not know is not used.

    Raises:
        MissingDependencyError: tensorrt is not installed.
        EngineError: The graph cannot be parsed (with the parser's words and the node's name) or built.

    Example, on a machine with a GPU::

        shapes = ((1, 3, 224, 224), (8, 3, 224, 224), (32, 3, 224, 224))
        plan = BuildPlan(graph=Path("m.onnx"), name="m.onnx", profile={"pixels": shapes}, workspace_bytes=2**31)
        engine, timing = build_engine(plan)
    """
    trt = import_tensorrt()
    log = error_log(trt)
    builder = started(trt.Builder, log)
    network = builder.create_network(network_flags(trt))
    if network is None:
        raise refusal(log, "TensorRT cannot make a network")
    parser = _parse(trt, network, log, plan)
    config = _configure(trt, builder, log, plan)
    _use_timing(config, log, timing)
    serialized = builder.build_serialized_network(network, config)
    del parser  # not before: it holds the weights of the network
    if serialized is None:
        raise refusal(log, f"TensorRT {trt.__version__} cannot build {plan.name}")
    cache = config.get_timing_cache()
    return bytes(serialized), bytes(cache.serialize()) if cache else b""


def network_flags(trt: Any) -> int:
    """Returns the flags of a strongly typed network: TensorRT 10 has to be told, 11 knows no other kind."""
    if version_of(trt)[0] > 10:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def layer_types(information: str) -> dict[str, tuple[str, ...]]:
    """Returns the element types that each layer reads, keeps and writes, from the inspector's JSON.

    Raises:
        EngineError: It is not JSON.

    Example:
        >>> layer_types('{"Layers": [{"Name": "conv", "Inputs": [{"Format/Datatype": "Half"}]}]}')
        {'conv': ('fp16',)}
    """
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"TensorRT's inspector answers what is no description: {information[:80]!r}") from error
    described = [layer for layer in layers if isinstance(layer, dict)]  # a bare name where it was not asked for more
    return {str(layer.get("Name", number)): _types_of(layer) for number, layer in enumerate(described)}


def _types_of(layer: Mapping[str, Any]) -> tuple[str, ...]:
    parts = [layer.get(key) or [] for key in ("Inputs", "Outputs", "Weights", "Bias")]
    words = " ".join(word for part in parts for word in _type_words(part))
    return tuple(name for name, spelt in TYPES.items() if re.search(rf"\b({spelt})\b", words, re.IGNORECASE))


def _type_words(part: Any) -> Iterator[str]:
    """Yields what stands under `Format/Datatype` (TensorRT 10), `Format` and `DataType` (11), and a weight's `Type`."""
    for tensor in part if isinstance(part, list) else [part]:
        if isinstance(tensor, dict):
            for key, value in tensor.items():
                if key.lower() in ("format/datatype", "format", "datatype", "type"):
                    yield str(value)


def _parse(trt: Any, network: Any, log: Any, plan: BuildPlan) -> Any:
    """Returns the parser that has filled the network."""
    parser = trt.OnnxParser(network, log)
    graph = plan.graph
    parsed = parser.parse(graph) if isinstance(graph, bytes) else parser.parse_from_file(str(graph))
    if not parsed:
        errors = [_parser_error(parser.get_error(number)) for number in range(parser.num_errors)]
        what = f"TensorRT {trt.__version__} cannot parse {plan.name}"
        raise EngineError(f"{what}: {'; '.join(errors)}") if errors else refusal(log, what)
    return parser


def _parser_error(error: Any) -> str:
    where = f"node {error.node_name()!r} ({error.node_operator()}): " if error.node_name() else ""
    return where + " ".join(error.desc().split())


def _configure(trt: Any, builder: Any, log: Any, plan: BuildPlan) -> Any:
    """Returns the builder's configuration: memory, full fp32, one profile, and layers that tell their types."""
    config = builder.create_builder_config()
    if config is None:
        raise refusal(log, "TensorRT cannot make a builder configuration")
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and 10 bits of mantissa are not fp32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    for name, shapes in plan.profile.items():
        try:
            profile.set_shape(name, *shapes)
        except ValueError as error:
            raise EngineError(f"TensorRT does not take the shapes {shapes} for {name}: {error}") from error
    if config.add_optimization_profile(profile) < 0:
        raise refusal(log, f"TensorRT does not take the profile {dict(plan.profile)} for {plan.name}")
    return config


def _use_timing(config: Any, log: Any, timing: bytes) -> None:
    """Gives the builder the timing cache, or an empty one where TensorRT does not know it."""
    for content in (timing, b"") if timing else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return
    raise refusal(log, "TensorRT takes no timing cache, not even an empty one")
