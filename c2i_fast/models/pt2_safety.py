"""Looking into a .pt2 file before torch loads it, because loading one can run code that its author put there.

`torch.export.load` unpickles sub-classed tensors, custom objects and, where safe loading fails, example inputs; opens
compiled libraries; evaluates sizes through SymPy, which is Python's `eval`; resolves operators as attributes of torch;
and compiles names and guards into source. What passes here holds plain tensors, PyTorch's own operators, arithmetic on
sizes and plain names. What `torch.export.save` writes for an ordinary network passes.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from c2i_fast.errors import InputError
from c2i_fast.models.running import first_line

if TYPE_CHECKING:
    import torch

PLAIN_FILES = re.compile(
    r"data/weights/(weight_\d+|\w+_weights_config\.json)|data/constants/(tensor_\d+|\w+_constants_config\.json)"
    r"|data/sample_inputs/\w+\.pt|models/\w+\.json|archive_format|archive_version|byteorder|\.data/\w+"
)
OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|torchvision)\.\w+(\.\w+)?|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|and_|or_|not_|eq|ne|lt|le|gt|ge)"
)
NAMES = re.compile(r"[\w.+:*-]*")
WORDS = re.compile(r"[\w .,:+*/-]*")  # string arguments of operators, which torch quotes
TREES = re.compile(r'(?!.*__)(builtins\.|[\w\[\]{}":, \\])*')  # how arguments nest: tuples, lists and dicts alone
SIZE_NAMES = re.compile(
    r"[suz]\d+|L|torch|math|True|False|Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|PythonMod|Max|Min|Abs|floor|ceiling"
    r"|Eq|Ne|Lt|Le|Gt|Ge|(Strict)?(Less|Greater)Than|(Une|E)quality|And|Or|Not|Where|Identity|ModularIndexing"
    r"|PowByNatural|(Floor|Clean|Ceil|IntTrue|FloatTrue)Div|ToFloat|(Trunc|Floor|Ceil|Round)ToInt"
)
SIZE_ATTRIBUTES = re.compile(r"size|stride|storage_offset|sym_\w+|floor|ceil|trunc")
SIZE_NODES = (
    ast.Expression, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant, ast.keyword,
    ast.Attribute, ast.Subscript, ast.Load, ast.operator, ast.cmpop, ast.unaryop, ast.boolop,
)  # fmt: skip


def refuse_code(content: bytes, name: str) -> None:
    """Raises `InputError` unless a .pt2 file holds data alone.

    Args:
        content: of the file.
        name: for messages.

    Example:
        >>> refuse_code(Path("net.pt2").read_bytes(), "net.pt2")
    """
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            listed = archive.namelist()
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
        reason = next(_reasons(reader, listed), None)
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise InputError(f"{name} is not a file of torch.export.save: {first_line(error)}") from error
    if reason:
        raise InputError(f"{name} is not loaded, because that could run code: {reason}; give an ONNX file instead")


def _reasons(reader: torch._C.PyTorchFileReader, listed: list[str]) -> Iterator[str]:
    """Yields what is in the archive beyond data."""
    paths = reader.get_all_records()
    # Torch and Python may read a crafted archive differently, and torch falls back to Python's reading.
    inner = sorted(path.partition("/")[2] for path in listed)
    if inner != sorted(paths) or len({path.lower() for path in paths}) < len(paths):
        yield "its table of contents is ambiguous"
    for path in paths:
        if not PLAIN_FILES.fullmatch(path):
            yield f"it holds {path!r}"
        elif path.endswith(".json"):
            yield from _in_json(json.loads(reader.get_record(path)))
        elif path.endswith(".pt"):
            yield from _in_pickle(reader.get_record(path), path)


def _in_pickle(content: bytes, path: str) -> Iterator[str]:
    import torch

    try:
        torch.load(io.BytesIO(content), weights_only=True)  # where this fails, torch.export.load unpickles anything
    except Exception as error:
        yield f"{path!r} holds more than tensors ({first_line(error)})"


def _in_json(node: object, key: str = "") -> Iterator[str]:
    """Yields the entries torch would resolve, evaluate or compile into something other than data."""
    if isinstance(node, dict):
        if node.get("use_pickle"):
            yield f"{node.get('path_name')!r} is pickled"
        traces = key == "metadata" and all(isinstance(value, str) for value in node.values())
        for inner, value in node.items():
            if not NAMES.fullmatch(inner):
                yield f"the name {inner[:80]!r}"
            yield from _in_json(value, "metadata" if traces else inner)
    elif isinstance(node, list):
        for value in node:
            yield from _in_json(value, key)
    elif isinstance(node, str) and not _is_plain(node, key):
        yield f"{key} {node[:80]!r}"


def _is_plain(text: str, key: str) -> bool:
    if key in ("expr_str", "guards_code"):
        return _is_arithmetic(text)
    if key == "metadata":  # read by people only; a carriage return would end the comment it is copied into
        return all(character.isprintable() or character in "\n\t" for character in text)
    patterns = {"target": OPERATORS, "as_operator": OPERATORS, "in_spec": TREES, "out_spec": TREES}
    patterns |= {"as_string": WORDS, "as_strings": WORDS}
    return bool(patterns.get(key, NAMES).fullmatch(text))


def _is_arithmetic(text: str) -> bool:
    """Returns whether an expression over sizes has nothing in it that could be called but SymPy's arithmetic."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(isinstance(node, SIZE_NODES) and _is_size(node) for node in nodes)


def _is_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return bool(SIZE_NAMES.fullmatch(node.id))
    if isinstance(node, ast.Attribute):
        return bool(SIZE_ATTRIBUTES.fullmatch(node.attr))
    if isinstance(node, ast.Constant):
        return not isinstance(node.value, str | bytes) or (isinstance(node.value, str) and node.value.isidentifier())
    return True
