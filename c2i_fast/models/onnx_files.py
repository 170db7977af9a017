"""Reading ONNX files that may come from anyone: external data stays inside the file's own folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from c2i_fast.errors import InputError
from c2i_fast.models.running import first_line


def read_onnx(source: str | Path | bytes) -> tuple[ir.Model, str]:
    """Returns the graph, with every tensor in memory, and the SHA-256 of the file and of its external data.

    Args:
        source: a path, or the bytes of a graph without external data.

    Raises:
        InputError: not an ONNX graph, or external data that is missing or outside the file's folder.

    Example:
        >>> model, sha256 = read_onnx("resnet20.onnx")
    """
    if isinstance(source, bytes):
        return _parse(source, "the ONNX bytes", None)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    return _parse(path.read_bytes(), str(path), path)


def _parse(content: bytes, name: str, path: Path | None) -> tuple[ir.Model, str]:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise InputError(f"{name} is not an ONNX file") from error
    if not proto.graph.node:
        raise InputError(f"{name} is not an ONNX file, or its graph is empty")
    data = [_confined(name, path, location) for location in sorted(set(_locations(proto)))]
    try:
        onnx.checker.check_model(str(path) if path and data else proto)
        if path and data:
            onnx.load_external_data_for_model(proto, str(path.parent))
        model = ir.from_proto(proto)
    except (onnx.checker.ValidationError, ir.serde.SerdeError, OSError, ValueError) as error:
        raise InputError(f"{name} is not a valid ONNX graph: {first_line(error)}") from error
    return model, _sha256(content, data)


def _locations(message: Message) -> Iterator[str]:
    """Yields the location of every external tensor, wherever in the file it hides: weights, constants, sub-graphs."""
    if isinstance(message, onnx.TensorProto):
        if message.data_location == onnx.TensorProto.EXTERNAL:
            yield next((entry.value for entry in message.external_data if entry.key == "location"), "")
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                yield from _locations(child)


def _confined(name: str, path: Path | None, location: str) -> Path:
    """Returns the path of a data file. One that leads out of the graph's folder could read any file of the user's."""
    if path is None:
        raise InputError(f"{name} keep tensors in the file {location!r}; give the path of the .onnx file instead")
    folder = path.parent.resolve()
    data = (path.parent / location).resolve()
    if not location or os.path.isabs(location) or not data.is_relative_to(folder):
        raise InputError(
            f"{name}: external data {location!r} is not named relative to the graph, or lies outside its folder; "
            "put the data file itself (no link) beside it"
        )
    if not data.is_file():
        raise InputError(f"{name}: its external data file {location!r} is missing; put it beside the graph")
    return data


def hash_of(model: ir.Model) -> str:
    """Returns the SHA-256 of a graph that was never a file."""
    return hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True)).hexdigest()


def _sha256(content: bytes, data: list[Path]) -> str:
    digest = hashlib.sha256(content)
    for path in data:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
