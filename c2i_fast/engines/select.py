"""Which engine runs a classifier, and why: a rule, never a timing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from c2i_fast.errors import InputError, MissingDependencyError, UsageError
from c2i_fast.types import EngineConfig, Precision

EXTRAS = {
    "cpu": {"onnxruntime": "cpu", "openvino": "cpu", "torch": "torch"},
    "cuda": {
        "onnxruntime": "gpu",
        "tensorrt": "tensorrt",
        "torch": "torch",
        "onnxruntime-scorer": "gpu",
        "onnxruntime-tensorrt": "gpu",
    },
}
PRECISIONS: dict[str, dict[str, tuple[Precision, ...]]] = {
    "cpu": {"onnxruntime": ("fp32", "fp16", "int8"), "openvino": ("fp32", "bf16", "int8"), "torch": ("fp32",)},
    "cuda": {
        "onnxruntime": ("fp32", "fp16"),
        "tensorrt": ("fp32", "fp16", "int8"),
        "torch": ("fp32", "fp16", "bf16"),
        "onnxruntime-scorer": ("fp32", "fp16"),
        "onnxruntime-tensorrt": ("fp32",),
    },
}
ALL_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")
# Where the engines of a device have really run, for `list engines`.
EXECUTED = {"cpu": "executed on x86-64 CPUs", "cuda": "never executed on a GPU, only its schedule on the CPU"}
GPU_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineChoice:
    """An engine's configuration and the sentence that says why it was taken."""

    config: EngineConfig
    reason: str


def installed(engine: str) -> bool:
    """Returns whether the engine's package can be imported (it is not imported here)."""
    return find_spec(package_of(engine)) is not None


def package_of(engine: str) -> str:
    """Returns the package that an engine is in.

    Example:
        >>> package_of("onnxruntime-scorer")
        'onnxruntime'
    """
    return engine.partition("-")[0]


def choose_engine(
    engine: str = "auto",
    *,
    precision: Precision = "fp32",
    device: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    has_module: bool = False,
    passes_elements: int = 0,
    weight_bytes: int = 0,
) -> EngineChoice:
    """Returns the engine for a classifier.

    The rule of `auto`: bf16 goes to OpenVINO and fp16 to ONNX Runtime, each the one engine here that has it; fp32 and
    int8 to OpenVINO, whose masks cost next to nothing (ONNX Runtime's `Where` runs on one core), else to ONNX Runtime;
    fp32 of a torch model, where neither is installed, to torch. On a GPU int8 goes to TensorRT, else a torch model to
    torch and a graph to ONNX Runtime; TensorRT is asked for by name there, since building an engine takes minutes, and
    so are the two that make masks in the scorer graph instead of by our kernels.

    Args:
        engine: `auto` or a name.
        precision: what to compute in.
        device: `cpu`; `cuda`, an NVIDIA GPU; or `auto`, which is the CPU: a GPU is asked for by name.
        threads: None takes every core this process may use.
        batch_size: None takes `default_batch`.
        has_module: whether the classifier is a torch model.
        passes_elements: values in one masked image, for the default batch.
        weight_bytes: of the network, likewise.

    Raises:
        UsageError: A precision or device the engine does not have, or a number below 1.
        MissingDependencyError: A named engine is not installed.
    """
    if precision not in ALL_PRECISIONS:
        raise UsageError(f"there is no precision {precision!r}; known: {', '.join(ALL_PRECISIONS)}")
    if device not in ("auto", *EXTRAS):
        raise UsageError(f"device {device!r} is not supported; known: auto, {', '.join(EXTRAS)}")
    place = "cpu" if device == "auto" else device
    if engine != "auto":
        name, reason = engine, "asked for by name"
    else:
        name, reason = _auto(precision, has_module) if place == "cpu" else _auto_on_gpu(precision, has_module)
    extras, precisions = EXTRAS[place], PRECISIONS[place]
    if name not in extras:
        raise UsageError(f"there is no engine {name!r} for the device {place}; known: auto, {', '.join(extras)}")
    if not installed(name):
        raise MissingDependencyError(package_of(name), extras[name])
    if precision not in precisions[name]:
        others = [e for e, known in precisions.items() if precision in known]
        raise UsageError(
            f"{name} has no {precision} here; {' and '.join(others)} {'have' if len(others) > 1 else 'has'}, "
            f"and {name} knows {', '.join(precisions[name])}"
        )
    for option, value in (("batch size", batch_size), ("number of threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"the {option} must be at least 1, got {value}")
    if name == "torch" and not has_module:
        raise InputError("the torch engine runs torch models; for an ONNX file use --engine onnxruntime or openvino")
    config = EngineConfig(
        engine=name,
        precision=precision,
        device=place,
        threads=threads or usable_cores(),
        batch_size=batch_size or (GPU_BATCH if place == "cuda" else default_batch(passes_elements, weight_bytes)),
    )
    return EngineChoice(config=config, reason=reason)


def _auto(precision: Precision, has_module: bool) -> tuple[str, str]:
    if precision == "bf16":
        return "openvino", "bf16 is OpenVINO's"
    if precision == "fp16":
        return (
            "onnxruntime",
            "fp16 is ONNX Runtime's; on a CPU it shows what half does to the numbers, and saves no time",
        )
    for name in ("openvino", "onnxruntime"):
        if installed(name):
            return name, f"{precision} on the CPU, {name} is installed"
    if precision == "fp32" and has_module and installed("torch"):
        return "torch", "no ONNX engine is installed and the model is a torch model"
    raise MissingDependencyError("onnxruntime", "cpu")


def _auto_on_gpu(precision: Precision, has_module: bool) -> tuple[str, str]:
    if has_module and precision != "int8" and installed("torch"):
        return "torch", f"{precision} of a torch model on a GPU"
    if precision == "bf16":
        raise UsageError("bf16 on a GPU is torch's, and the model is no torch model; fp16 is there for ONNX files")
    if precision == "int8":
        return "tensorrt", "int8 on a GPU is TensorRT's"
    return "onnxruntime", f"{precision} of an ONNX graph on a GPU"


def usable_cores() -> int:
    """Returns the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SMALL_IMAGE = 3 * 64 * 64
LARGE_NETWORK = 64 * 2**20


def default_batch(elements: int, weight_bytes: int = 0) -> int:
    """Returns how many masked images of `elements` values a batch holds, for a network of that many bytes.

    64 for small images (CIFAR's 3·32·32), which leave cores idle between kernels; else 4, so that activations stay in
    the cache, or 8 where weights above 64 MB have to be read for every batch.

    Example:
        >>> default_batch(3 * 32 * 32), default_batch(3 * 224 * 224), default_batch(3 * 224 * 224, 100_000_000)
        (64, 4, 8)
    """
    if 0 < elements <= SMALL_IMAGE:
        return 64
    return 8 if weight_bytes > LARGE_NETWORK else 4
