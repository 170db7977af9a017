"""A graph of ours as a TensorRT engine file: built once for this machine, compared with its graph, described beside.

graph ─► precision, profile ─► key ─► cache, else build ─► inspector ─► parity ─► <stem>.engine, <stem>.engine.json
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from c2i_fast.engines import ENGINES
from c2i_fast.engines.tensorrt import LoadedEngine, StreamDevice, TensorRtSession, import_tensorrt
from c2i_fast.engines.tensorrt_file import EngineKey, EngineRecord, Shapes, sidecar_path
from c2i_fast.errors import ContractError, EngineError, InputError
from c2i_fast.export.graphs import CONTRACT_KEY, FRACTION
from c2i_fast.export.tensorrt_build import BuildPlan, build_engine, layer_types
from c2i_fast.export.tensorrt_cache import EngineCache, tensorrt_cache_folder, write_engine
from c2i_fast.export.tensorrt_verify import verify_engine
from c2i_fast.export.verify import BOUNDS, Verification, contract_calibrator, plain_engine
from c2i_fast.kernels.device import DeviceMemoryError
from c2i_fast.models.onnx_files import read_onnx
from c2i_fast.results.files import claim_file
from c2i_fast.types import EngineConfig, GraphContract, Precision, Session

if TYPE_CHECKING:
    import onnx_ir as ir

Say = Callable[[str], None]
BATCHES = (1, 8, 32)
WORKSPACE_BYTES = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRtReport:
    """What was written and how it compares with its graph.

    Attributes:
        path: the engine; its description is `<path>.json`.
        record: that description.
        cached: whether the engine was built, and compared, before and is a copy from the cache.
    """

    path: Path
    record: EngineRecord
    cached: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns the command's JSON."""
        key = self.record.key
        return {
            "path": str(self.path),
            "description": str(sidecar_path(self.path)),
            "precision": key.precision,
            "tensorrt": key.tensorrt,
            "architecture": key.architecture,
            "profile": {name: [list(shape) for shape in shapes] for name, shapes in key.profile.items()},
            "layer_types": dict(Counter(kind for types in self.record.layers.values() for kind in types)),
            "verify": dict(self.record.verify),
            "cached": self.cached,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeEngine:
    """An engine that is ready to run.

    Attributes:
        data: serialized.
        record: its description.
        loaded: deserialized.
        cached: whether it is the cache's.
    """

    data: bytes
    record: EngineRecord
    loaded: LoadedEngine
    cached: bool


def export_tensorrt(
    graph: Path,
    out: Path,
    *,
    batches: tuple[int, int, int] = BATCHES,
    workspace_bytes: int = WORKSPACE_BYTES,
    force: bool = False,
    say: Say = lambda line: None,
    device: StreamDevice | None = None,
) -> TensorRtReport:
    """Writes a fused or scorer graph as a TensorRT engine for this machine, verified, with its description beside it.

    Args:
        graph: a file of `export_classifier`, in the precision the engine is to have.
        out: its suffix becomes `.engine`.
        batches: smallest, usual and largest number of images; of a scorer graph, of the steps of its one plan.
        workspace_bytes: memory that a layer may use for scratch.
        force: replace existing files.
        say: told what takes long, and what had to be done without.
        device: the GPU; default the first one.

    Raises:
        InputError: The graph cannot be read, a file exists, or the batches are none.
        ContractError: The graph is none of ours, is not of the precision it states, or the engine does not answer as
            the graph does; no file is left.
        MissingDependencyError: tensorrt, or the CUDA packages, are not installed.
        EngineError: TensorRT refuses (with its reason), or built in another precision; no file is left.

    Example, on a machine with a GPU::

        report = export_tensorrt(Path("resnet.fp16.onnx"), Path("resnet.engine"), batches=(1, 64, 64))
        report.record.key.precision  # fp16
    """
    path = out.with_suffix(".engine")
    for claimed in (path, sidecar_path(path)):
        claim_file(claimed, force=force)
    model, sha256 = read_onnx(graph)
    contract = read_contract(model, graph.name)
    import_tensorrt()  # before a GPU is looked for: what is missing is said in the order it is to be installed
    plan = BuildPlan(
        graph=graph,
        name=graph.name,
        profile=engine_profile(contract, _fitting(contract, batches, say)),
        workspace_bytes=workspace_bytes,
    )
    made = make_engine(plan, contract, sha256, device or _first_gpu(), say)
    write_engine(path, made.data, made.record)
    return TensorRtReport(path=path, record=made.record, cached=made.cached)


def engine_for_scoring(
    graph: bytes | Path, contract: GraphContract, precision: Precision, batch: int, device: StreamDevice, say: Say
) -> LoadedEngine:
    """Returns a fused graph as an engine for batches of up to `batch`, from the cache where it was built before.

    Args:
        graph: ONNX bytes or a file; it needs no contract of its own.
        contract: of the graph.
        precision: asked for; it must be the graph's.
        batch: the usual and largest batch; smaller ones are for a GPU that runs out of memory.
        device: where it will run.
        say: told what takes long, and what had to be done without.

    Raises:
        MissingDependencyError, EngineError, ContractError: as `export_tensorrt`.
    """
    contract = replace(contract, calibrator=None)  # scoring reads raw logits, and its graph is without one
    model, sha256 = read_onnx(graph)
    check_weights(model, precision, "the network")
    fitting = _fitting(contract, (1, batch, batch), say)
    plan = BuildPlan(
        graph=graph,
        name="the network",
        profile=engine_profile(contract, fitting),
        workspace_bytes=WORKSPACE_BYTES,
    )
    return make_engine(plan, contract, sha256, device, say).loaded


def make_engine(plan: BuildPlan, contract: GraphContract, sha256: str, device: StreamDevice, say: Say) -> MadeEngine:
    """Returns the engine of a graph: the cache's, else built now, seen to have its precision and to answer as it does.

    Args:
        plan: what to build.
        contract: of the graph, its precision that of the weights.
        sha256: of the graph and its external data.
        device: where it will run.
        say: told what takes long, and what had to be done without.

    Raises:
        MissingDependencyError, EngineError, ContractError: as `export_tensorrt`.
    """
    key = EngineKey(
        graph_sha256=sha256,
        tensorrt=import_tensorrt().__version__,
        architecture=device.architecture,
        precision=contract.precision,
        profile=plan.profile,
        flags=plan.flags,
    )
    cache = EngineCache(tensorrt_cache_folder(), say)
    known = _cached(cache, key, plan.name, device, say)
    if known is not None:
        return known
    config = plain_engine()  # before the build: what is missing is not to be found out minutes later
    reference = ENGINES[config.engine](plan.graph, config)
    say(f"TensorRT {key.tensorrt} builds {plan.name} for {device.name} ({key.architecture}); this takes minutes")
    data, timing = build_engine(plan, cache.timing(key))
    cache.keep_timing(key, timing)
    loaded = LoadedEngine(data, plan.name, device)
    layers = layer_types(loaded.inspect({name: shapes[1] for name, shapes in plan.profile.items()}))
    check_precision(layers, contract.precision, plan.name)
    record = EngineRecord(
        key=key,
        engine_sha256=hashlib.sha256(data).hexdigest(),
        contract=contract,
        layers=layers,
        verify=_verify(loaded, reference, plan, contract).to_dict(),
    )
    cache.keep(record, data)
    return MadeEngine(data=data, record=record, loaded=loaded, cached=False)


def read_contract(model: ir.Model, name: str) -> GraphContract:
    """Returns the contract of a fused or scorer graph, whose precision is that of the weights.

    Args:
        model: with its tensors in memory.
        name: for messages.

    Raises:
        ContractError: There is no contract, or it states another precision than the weights have: an engine would
            silently compute in theirs.
    """
    if CONTRACT_KEY not in model.metadata_props:
        raise ContractError(f"{name} carries no contract; make it with c2i-fast export")
    try:
        contract = GraphContract.from_json(model.metadata_props[CONTRACT_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{name}: the contract in the file cannot be read ({error}); export it again") from error
    check_weights(model, contract.precision, name)
    return contract


def check_weights(model: ir.Model, precision: Precision, name: str) -> None:
    """Returns where a graph's weights are of the precision that is stated.

    Raises:
        ContractError: They are not, or of one that cannot be compared.
    """
    found = graph_precision(model)
    if found != precision:
        raise ContractError(f"{name} is said to be {precision}, but its weights are {found}; convert the graph again")
    if found not in BOUNDS:
        raise ContractError(f"{name} is in {found}, which no engine here can check on the CPU; convert it to fp16")


def graph_precision(model: ir.Model) -> Precision:
    """Returns what a graph computes in: int8 where it quantises, else the type of most of its weights.

    The head stays fp32 in every graph, so a few fp32 weights prove nothing; a graph without any is fp32.
    """
    import onnx_ir as ir

    kinds: dict[ir.DataType, Precision] = {
        ir.DataType.FLOAT: "fp32",
        ir.DataType.FLOAT16: "fp16",
        ir.DataType.BFLOAT16: "bf16",
    }
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.all_nodes()):
        return "int8"
    sizes: Counter[Precision] = Counter()
    for tensor in _weights(model):
        if tensor.dtype in kinds:
            sizes[kinds[tensor.dtype]] += tensor.size
    return max(sizes, key=lambda kind: sizes[kind]) if sizes else "fp32"


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            yield value.const_value
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and "value" in node.attributes:
            yield node.attributes["value"].as_tensor()


def engine_profile(contract: GraphContract, batches: tuple[int, int, int]) -> dict[str, Shapes]:
    """Returns the shapes an engine takes: input → smallest, usual, largest.

    Where the calibrator depends on the perturbed fraction, that is an input as well. A scorer engine takes one plan of
    so many steps: TensorRT provides for the largest of every size at once, and plans times steps would be the square of
    a batch. Its map has one channel, as every preset's.

    Raises:
        InputError: The batches are not three growing numbers from 1, or the graph takes images of any size.

    Example:
        >>> from c2i_fast.types import Preprocessing
        >>> contract = GraphContract(channels=3, space=(32, 32), classes=10, preprocessing=Preprocessing())
        >>> engine_profile(contract, (1, 8, 32))["pixels"][2]
        (32, 3, 32, 32)
    """
    low, usual, high = batches
    if not 1 <= low <= usual <= high:
        raise InputError(
            f"batches are the smallest, usual and largest one, such as 1, 8, 32; got {low}, {usual}, {high}"
        )
    space = tuple(size for size in contract.space if size is not None)
    if len(space) < len(contract.space):
        raise InputError("a TensorRT engine takes images of one size, but the graph takes any; export it with --size")
    calibrator = contract_calibrator(contract)
    takes_fraction = calibrator is not None and calibrator.needs_perturbed_fraction
    if contract.step_map_dtype is None:
        pixels = {"pixels": _shapes(*((batch, contract.channels, *space) for batch in batches))}
        return pixels | ({FRACTION: _shapes(*((batch,) for batch in batches))} if takes_fraction else {})
    image, step_map = (1, contract.channels, *space), (1, 1, *space)
    fixed = {"start": image, "end": image, "step_map": step_map}
    always = {name: _shapes(shape, shape, shape) for name, shape in fixed.items()}
    each = _shapes(*((1, batch) for batch in batches))
    return always | {"steps": each} | ({FRACTION: each} if takes_fraction else {})


def check_precision(layers: dict[str, tuple[str, ...]], precision: str, name: str) -> None:
    """Returns where at least one layer computes in the precision.

    Raises:
        EngineError: None does.
    """
    found = sorted({kind for types in layers.values() for kind in types})
    if precision not in found:
        raise EngineError(
            f"{name} is in {precision}, but TensorRT built its layers in {', '.join(found) or 'types untold'}; "
            "nothing was written"
        )


def _cached(cache: EngineCache, key: EngineKey, name: str, device: StreamDevice, say: Say) -> MadeEngine | None:
    found = cache.find(key)
    if found is None:
        return None
    record, data = found
    try:
        return MadeEngine(data=data, record=record, loaded=LoadedEngine(data, name, device), cached=True)
    except DeviceMemoryError:  # a new build would need as much
        raise
    except EngineError as error:
        say(f"the engine in the cache is built again: {error}")
        return None


def _verify(loaded: LoadedEngine, reference: Session, plan: BuildPlan, contract: GraphContract) -> Verification:
    """Returns the comparison with the graph on the CPU."""
    engine = TensorRtSession(loaded, EngineConfig(engine="tensorrt", precision=contract.precision, device="cuda"))
    return verify_engine(engine.run, reference.run, contract, _tried(plan.profile), plan.name)


def _fitting(contract: GraphContract, batches: tuple[int, int, int], say: Say) -> tuple[int, int, int]:
    """Returns the batches, or the one that the graph is fixed to."""
    if contract.batch is None or set(batches) == {contract.batch}:
        return batches
    say(f"the graph takes batches of {contract.batch} only, and so will the engine")
    return (contract.batch,) * 3


def _tried(profile: Mapping[str, Shapes]) -> tuple[int, ...]:
    """Returns the batches to compare at: the smallest, the one after it, the usual and the largest."""
    name, axis = ("pixels", 0) if "pixels" in profile else ("steps", 1)
    low, usual, high = (shape[axis] for shape in profile[name])
    return tuple(sorted({low, min(low + 1, high), usual, high}))


def _shapes(low: tuple[int, ...], usual: tuple[int, ...], high: tuple[int, ...]) -> Shapes:
    return low, usual, high


def _first_gpu() -> StreamDevice:
    from c2i_fast.kernels.cuda import CudaDevice

    return CudaDevice()
