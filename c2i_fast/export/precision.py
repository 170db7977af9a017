"""A classifier's network in fewer bits: half floats (fp16), or 8-bit integers between Q/DQ pairs (int8).

    pixels ─► normalise ─► [normalised] float32 ─► fewer bits ─► float32 [network_output] ─► logits ─► …

Only what lies between the two named values is converted. Normalisation, masks, calibrator and softmax are put around it
afterwards (`graphs.py`) and stay float32. bf16 is no conversion: OpenVINO is asked for it when it compiles.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from c2i_fast.errors import ContractError, InputError, MissingDependencyError
from c2i_fast.export.open import INLINE_BYTES, effective_precision, weight_bytes
from c2i_fast.models.backbone import cut, declare
from c2i_fast.models.classifier import NORMALISED, Classifier
from c2i_fast.models.onnx_files import read_onnx
from c2i_fast.models.running import first_line
from c2i_fast.perturb.passes import check_shapes
from c2i_fast.types import EngineConfig, Floats, GraphContract, Precision

T = TypeVar("T")

CALIBRATION_IMAGES = 32
"""How many images int8 is calibrated on where nobody says otherwise."""

HALF_MAX = float(np.finfo(np.float16).max)
# What must not be computed in half: quotients, exponentials and powers leave its range, sums of thousands of terms its
# 11 bits, and Softmax does all of it. The runtime's own list of operators that have no half at all comes on top.
IN_FLOAT = (
    *("Softmax", "LogSoftmax", "Div", "Reciprocal", "Exp", "Log", "Pow", "Sqrt"),
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "LpNormalization"),
    *("GlobalAveragePool", "GlobalLpPool", "CumSum", "Einsum"),
    *(f"Reduce{kind}" for kind in ("Sum", "SumSquare", "Mean", "Prod", "L1", "L2", "LogSum", "LogSumExp")),
)
# What int8 takes on: products and sums, what engines merge into them, and what only moves values. Attention's Softmax,
# normalisations and smooth activations stay float. The last Gemm is in: left in float, max |Δp|, top-1 agreement and
# accuracy of a CIFAR ResNet-20 and a MobileNetV2 were the same within noise.
IN_INT8 = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip", "LeakyRelu"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Resize"),
    *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Pad"),
)


def at_precision(
    classifier: Classifier, precision: Precision, images: Iterable[Floats] = (), *, symmetric: bool = False
) -> Classifier:
    """Returns the classifier with its network in that precision, and its contract saying so.

    fp32 and bf16 return it unchanged, and so does a precision that its file has already. fp16: weights and activations
    in half, but for `IN_FLOAT`. int8: weights per channel and symmetric, activations unsigned over the range seen in
    calibration (min–max: scoring shows the network images that are more extreme than any percentile of ordinary ones).
    The same images give the same bytes.

    Args:
        classifier: in fp32; its module is left out of the result, which is a graph only.
        precision: what to convert to.
        images: for int8, pixels (C, *space) as the fused graph takes them; read once, and not at all otherwise. The
            order matters: what is masked in image i is drawn from i.
        symmetric: int8 activations signed and about zero, the only ones TensorRT takes; unsigned ones spend no value
            on what a ReLU never returns, and are the faster on CPUs.

    Raises:
        UsageError: The classifier's file is in another low precision.
        InputError: int8 without an image; weights beyond fp16, or of 2 GiB and more.
        ContractError: The result would be no valid graph, or the network has nothing to convert.
        MissingDependencyError: onnxruntime, whose converters these are, is not installed.

    Example:
        >>> at_precision(load_classifier("resnet20.onnx"), "fp16").contract.precision  # doctest: +SKIP
        'fp16'
    """
    wanted = effective_precision(classifier.contract, precision)
    if wanted in ("fp32", "bf16", classifier.contract.precision):
        return classifier
    _check_converters(classifier)
    contract = classifier.contract
    if wanted == "fp16":
        converted = _in_half(classifier)
    else:
        converted = _in_int8(classifier, calibration_batches(contract, images), symmetric)
    prepared = cut(converted, str(converted.graph.inputs[0].name), str(converted.graph.outputs[0].name))
    outputs = contract.classes + contract.preprocessing.drop_class
    declare(prepared, contract.batch, (contract.channels, *contract.space), outputs)
    _order(prepared.graph)
    _check_types(prepared, classifier.name, wanted)
    opset = prepared.graph.opset_imports[""]
    return replace(
        classifier,
        contract=replace(contract, precision=wanted, opset=opset),
        backbone=lambda: prepared,
        module=None,
    )


def converted_for(classifier: Classifier, config: EngineConfig, images: Iterable[Floats] = ()) -> Classifier:
    """Returns the classifier as this engine is to be given it: `at_precision`, but for torch, which casts as it runs.

    Raises:
        C2IError: See `at_precision`.

    Example:
        >>> config = EngineConfig(engine="onnxruntime", precision="fp16")
        >>> converted_for(classifier, config).contract.precision  # doctest: +SKIP
        'fp16'
    """
    if config.engine == "torch":
        return classifier
    return at_precision(classifier, config.precision, images, symmetric=config.engine == "tensorrt")


def calibration_batches(contract: GraphContract, images: Iterable[Floats]) -> Iterator[Floats]:
    """Yields normalised images (n, C, *space): each as it is, with a random half of its pixels masked, and with all.

    Masked is what scoring's default baseline shows, the preprocessing mean, which is 0 once normalised. The half is
    drawn from the image's number. A network of fixed batch gets that batch, the last image repeated.
    """
    stats = contract.preprocessing.channel_stats(contract.channels)
    mean, std = (value.reshape(-1, *(1,) * len(contract.space)) for value in stats)
    for number, image in enumerate(images):
        check_shapes(contract, [image])
        normalised = (image - mean) / std
        shown = normalised[::-1] if contract.preprocessing.bgr else normalised
        hidden = np.random.default_rng(number).random(shown.shape[1:]) < 0.5
        rows = np.stack([shown, np.where(hidden, 0, shown), np.zeros_like(shown)]).astype(np.float32)
        size = contract.batch or len(rows)
        padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
        yield from padded.reshape(-1, size, *rows.shape[1:])


def _check_converters(classifier: Classifier) -> None:
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "cpu") from error
    if weight_bytes(classifier.backbone()) >= INLINE_BYTES:
        raise InputError(f"{classifier.name} has weights of 2 GiB or more, which cannot be converted; use fp32 or bf16")


def _in_half(classifier: Classifier) -> ir.Model:
    from onnxruntime.transformers import float16

    source = classifier.backbone().clone()
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(source)
    in_float = {*float16.DEFAULT_OP_BLOCK_LIST, *IN_FLOAT}
    _refuse_overflow(source, in_float, classifier.name)

    def convert() -> ir.Model:
        proto = ir.to_proto(source)
        del proto.graph.value_info[:]  # it infers them again; where weights are among these it casts what it left alone
        halved = float16.convert_float_to_float16(proto, keep_io_types=True, op_block_list=sorted(in_float))
        model: ir.Model = ir.from_proto(halved)
        return model

    with _quiet():
        model = _tried(convert, classifier.name, "fp16")
    _skip_round_trips(model.graph)
    model.graph.sort()  # the converter appends its casts
    return model


def _refuse_overflow(model: ir.Model, in_float: set[str], name: str) -> None:
    """Half has no number above 65504, and the converter would put that in a larger one's place without a word."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        if all(node.op_type in in_float for node in value.consumers()):
            continue
        sizes = np.abs(tensor.numpy())
        largest = float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))
        if largest > HALF_MAX:
            raise InputError(
                f"{name}: weight {value.name!r} holds {largest:.4g}, and fp16 ends at 65504; use fp32, bf16 or int8"
            )


def _skip_round_trips(graph: ir.Graph) -> None:
    """Joins float32 nodes that follow each other: what goes to half only to come back loses its bits for nothing."""
    for node in graph:
        back = node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT
        half = node.inputs[0] if back else None
        narrowed = half.producer() if half is not None else None
        if narrowed is None or not str(narrowed.name).endswith("_cast_to_fp16_node"):
            continue
        whole = narrowed.inputs[0]
        if whole is not None:
            ir.convenience.replace_all_uses_with(node.outputs[0], whole, replace_graph_outputs=True)


def _in_int8(classifier: Classifier, batches: Iterator[Floats], symmetric: bool) -> ir.Model:
    first = next(batches, None)
    if first is None:
        raise InputError("int8 needs images, to see how far activations reach; give --calibration-images SRC")
    with tempfile.TemporaryDirectory(prefix="c2i-fast-") as folder, _quiet():
        written = Path(folder) / "network.onnx"
        ir.save(classifier.backbone(), written)
        quantised = _tried(lambda: _quantise(written, chain([first], batches), symmetric), classifier.name, "int8")
    if not any(node.op_type == "QuantizeLinear" for node in quantised.graph):
        raise ContractError(f"{classifier.name} has no layer that int8 takes on (such as Conv, Gemm); use fp32")
    return quantised


def _quantise(network: Path, batches: Iterator[Floats], symmetric: bool) -> ir.Model:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared, result = network.with_name("prepared.onnx"), network.with_name("int8.onnx")
    # Its symbolic inference is for networks of symbolic shapes and needs another package; here the batch alone is one.
    quant_pre_process(str(network), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(result),
        _Reader(batches),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        # Unsigned activations for CPUs: their signed kernels are slower than fp32.
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        extra_options={"ActivationSymmetric": symmetric},
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(IN_INT8),
    )
    return read_onnx(result)[0]


class _Reader:
    """Batches as the quantiser asks for them."""

    def __init__(self, batches: Iterator[Floats]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Floats] | None:
        """Returns the next feed, None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {NORMALISED: batch}


def _order(graph: ir.Graph) -> None:
    """Sorts the weights by name: cutting a graph leaves them in an order that changes from call to call."""
    weights = sorted(graph.initializers.values(), key=lambda value: str(value.name))
    graph.initializers.clear()
    for value in weights:
        graph.register_initializer(value)


def _check_types(model: ir.Model, name: str, precision: str) -> None:
    """Converters have been known to leave a half on one side of a node and a float on the other."""
    _tried(
        lambda: onnx.shape_inference.infer_shapes(
            ir.to_proto(model), check_type=True, strict_mode=True, data_prop=True
        ),
        name,
        precision,
    )


def _tried(convert: Callable[[], T], name: str, precision: str) -> T:
    try:
        return convert()
    except (InputError, ContractError):
        raise
    except Exception as error:  # the converters' errors share no base
        raise ContractError(f"{name} cannot be brought to {precision}: {first_line(error)}; use fp32") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The converters log what they round and try; what matters is raised, or measured by the verification."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
