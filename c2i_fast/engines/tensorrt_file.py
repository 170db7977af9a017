"""An engine file and the JSON beside it: what the engine was made from, and where it runs.

TensorRT's engines load in the exact version and on the kind of GPU that made them. The file itself tells so by failing
an assertion; the JSON tells it before the file is opened.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from c2i_fast.errors import ContractError, EngineError
from c2i_fast.results.files import read_json
from c2i_fast.types import GraphContract

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def this_platform() -> str:
    """Returns the system and processor, e.g. `linux-x86_64`; engines cross neither."""
    return f"{platform.system()}-{platform.machine()}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that an engine depends on: equal keys, same engine.

    Attributes:
        graph_sha256: of the ONNX file and its external data.
        tensorrt: the exact version.
        architecture: of the GPU, e.g. `sm_90`.
        precision: of the graph, which is the engine's.
        profile: input → smallest, usual and largest shape.
        flags: what the builder was told, e.g. `tf32=off`.
        platform: see `this_platform`.
    """

    graph_sha256: str
    tensorrt: str
    architecture: str
    precision: str
    profile: Mapping[str, Shapes]
    flags: tuple[str, ...]
    platform: str = field(default_factory=this_platform)

    def digest(self) -> str:
        """Returns the first 32 hex digits of SHA-256 over canonical JSON of every field: the name in the cache."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]

    def check(self, name: str, tensorrt: str, architecture: str) -> None:
        """Returns where the engine runs here.

        Args:
            name: of the file, for the message.
            tensorrt: the version at hand.
            architecture: of the GPU at hand.

        Raises:
            EngineError: It was built for another version, GPU or system; the message says which.
        """
        here = (tensorrt, architecture, this_platform())
        made = (self.tensorrt, self.architecture, self.platform)
        words = ("TensorRT {}", "a GPU of {}", "{}")
        apart = [(word.format(m), word.format(h)) for word, m, h in zip(words, made, here, strict=True) if m != h]
        if apart:
            wanted, found = (" and ".join(side) for side in zip(*apart, strict=True))
            raise EngineError(f"{name} was built for {wanted}, here is {found}; export it again on this machine")

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Returns the key that `asdict` and JSON made `content` of."""
        profile = {name: tuple(tuple(shape) for shape in shapes) for name, shapes in content["profile"].items()}
        return cls(**{**content, "profile": profile, "flags": tuple(content["flags"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """The JSON beside an engine.

    Attributes:
        key: what the engine depends on.
        engine_sha256: of the engine file, so that no other file is taken for it.
        contract: of the graph.
        layers: the element types of each layer, as the engine's inspector tells them.
        verify: how far the engine is from its graph.
    """

    key: EngineKey
    engine_sha256: str
    contract: GraphContract
    layers: Mapping[str, tuple[str, ...]]
    verify: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON."""
        return asdict(self) | {"contract": json.loads(self.contract.to_json()), "version": 1}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Returns the record that `to_dict` wrote; a `ValueError`, `KeyError` or `TypeError` where it did not."""
        if content["version"] != 1:
            raise ValueError(f"version {content['version']!r} is not known here")
        return cls(
            key=EngineKey.from_dict(content["key"]),
            engine_sha256=content["engine_sha256"],
            contract=GraphContract.from_json(json.dumps(content["contract"])),
            layers={name: tuple(types) for name, types in content["layers"].items()},
            verify=content["verify"],
        )


def sidecar_path(engine: Path) -> Path:
    """Returns the JSON's name.

    Example:
        >>> sidecar_path(Path("resnet.engine")).name
        'resnet.engine.json'
    """
    return engine.with_name(f"{engine.name}.json")


def read_engine(path: Path) -> tuple[EngineRecord, bytes]:
    """Returns an engine file's record and its bytes.

    Raises:
        InputError: One of the two files is not there or cannot be read.
        ContractError: The JSON is none of ours, or belongs to another engine.
    """
    content = read_json(sidecar_path(path), "description of an engine")
    try:
        record = EngineRecord.from_dict(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(f"{sidecar_path(path)} does not describe an engine ({error!r}); export it again") from error
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"the engine {path} cannot be read: {error.strerror}; export it again") from error
    if hashlib.sha256(data).hexdigest() != record.engine_sha256:
        raise ContractError(f"{path} is not the engine that {sidecar_path(path).name} describes; export it again")
    return record, data
