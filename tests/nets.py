"""Tiny networks whose answers can be worked out by hand, as classifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from c2i_fast.models.classifier import NETWORK_OUTPUT, NORMALISED, Classifier
from c2i_fast.types import GraphContract, Preprocessing

Body = Callable[[Tape, ir.Value], ir.Value]


def classifier(
    body: Body,
    channels: int,
    space: tuple[int, ...],
    outputs: int,
    *,
    preprocessing: Preprocessing | None = None,
    activation: str = "softmax",
    opset: int = 20,
    batch: int | None = None,
    calibrator: dict | None = None,
    module: object = None,
    name: str = "net",
) -> Classifier:
    """What `body` adds between the network's input and its `outputs` (K + drop_class) scores, as a classifier."""
    preprocessing = preprocessing or Preprocessing()
    rows = "N" if batch is None else batch
    source = ir.Value(name=NORMALISED, shape=ir.Shape([rows, channels, *space]), type=ir.TensorType(ir.DataType.FLOAT))
    tape = Tape()
    result = body(tape, source)
    result.name, result.type = NETWORK_OUTPUT, ir.TensorType(ir.DataType.FLOAT)
    result.shape = ir.Shape([rows, outputs])
    graph = ir.Graph(
        [source],
        [result],
        nodes=list(tape.nodes),
        initializers=list(tape.initializers),
        opset_imports={"": opset},
        name="network",
    )
    model = ir.Model(graph, ir_version=8)
    contract = GraphContract(
        channels=channels,
        space=space,
        classes=outputs - preprocessing.drop_class,
        preprocessing=preprocessing,
        activation=activation,
        opset=opset,
        batch=batch,
        calibrator=calibrator,
        source_sha256=hashlib.sha256(name.encode()).hexdigest(),
    )
    return Classifier(name=name, contract=contract, backbone=lambda: model, module=module)


def weights(tape: Tape, value: np.ndarray, name: str) -> ir.Value:
    """An initializer."""
    return tape.initializer(ir.tensor(np.ascontiguousarray(value), name=name), name)


def _flat(tape: Tape, value: ir.Value, size: int, batch: int | None) -> ir.Value:
    """(N, C, *space) → (N, size); a fixed batch is written into the shape, so that no other batch can run."""
    shape = weights(tape, np.array([-1 if batch is None else batch, size], np.int64), "flat_shape")
    return tape.op("Reshape", [value, shape])


def identity_net(
    channels: int, space: tuple[int, ...], *, batch: int | None = None, torch: bool = False, **options
) -> Classifier:
    """Answers with its own input: the logits ARE the normalised masked image, K = C·∏space − drop_class."""
    size = channels * int(np.prod(space))
    module = None
    if torch:
        from torch import nn

        module = nn.Flatten()
    return classifier(
        lambda tape, value: _flat(tape, value, size, batch),
        channels,
        space,
        size,
        batch=batch,
        module=module,
        name="identity",
        **options,
    )


def linear_net(
    matrix: np.ndarray, bias: np.ndarray, channels: int, space: tuple[int, ...], *, torch: bool = False, **options
) -> Classifier:
    """Answers `matrix` (K, C·∏space) · image + `bias` (K,)."""
    matrix, bias = np.asarray(matrix, np.float32), np.asarray(bias, np.float32)
    module = _torch_linear(matrix, bias) if torch else None

    def body(tape: Tape, value: ir.Value) -> ir.Value:
        flat = _flat(tape, value, matrix.shape[1], options.get("batch"))
        return tape.op("Gemm", [flat, weights(tape, matrix.T, "matrix"), weights(tape, bias, "bias")])

    return classifier(body, channels, space, len(bias), module=module, name="linear", **options)


def _torch_linear(matrix: np.ndarray, bias: np.ndarray):
    import torch
    from torch import nn

    layer = nn.Linear(matrix.shape[1], len(bias))
    layer.load_state_dict({"weight": torch.from_numpy(matrix), "bias": torch.from_numpy(bias)})
    return nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(False)


def constant_net(logits: np.ndarray, channels: int, space: tuple[int, ...], **options) -> Classifier:
    """Answers `logits` whatever it is shown."""
    size = channels * int(np.prod(space))
    return linear_net(np.zeros((len(logits), size)), logits, channels, space, **options)


def conv_net(
    channels: int = 3,
    space: tuple[int, ...] = (9, 7),
    classes: int = 5,
    *,
    seed: int = 0,
    torch: bool = False,
    **options,
) -> Classifier:
    """Convolution, ReLU, global average, linear: small, but truly nonlinear; its weights are drawn from `seed`."""
    outputs = classes + (options["preprocessing"].drop_class if options.get("preprocessing") else 0)
    kernel, bias, matrix, offset = conv_weights(channels, len(space), outputs, seed)
    module = _torch_conv(kernel, bias, matrix, offset) if torch else None
    batch = options.get("batch")

    def body(tape: Tape, value: ir.Value) -> ir.Value:
        wired = [weights(tape, kernel, "kernel"), weights(tape, bias, "kernel_bias")]
        pads = [1] * (2 * len(space))
        hidden = tape.op("Relu", [tape.op("Conv", [value, *wired], {"pads": pads})])
        pooled = _flat(tape, tape.op("GlobalAveragePool", [hidden]), len(bias), batch)
        return tape.op("Gemm", [pooled, weights(tape, matrix.T, "matrix"), weights(tape, offset, "offset")])

    return classifier(body, channels, space, outputs, module=module, name=f"conv {seed}", **options)


def conv_weights(channels: int, axes: int, outputs: int, seed: int) -> tuple[np.ndarray, ...]:
    """Kernel (8, C, 3, …), its bias, matrix (outputs, 8) and its offset, float32."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(8, channels, *(3,) * axes)) / np.sqrt(channels * 3**axes)
    shapes = kernel, rng.normal(size=8) * 0.1, rng.normal(size=(outputs, 8)) * 6, rng.normal(size=outputs) * 0.3
    return tuple(array.astype(np.float32) for array in shapes)


def _torch_conv(kernel: np.ndarray, bias: np.ndarray, matrix: np.ndarray, offset: np.ndarray):
    import torch
    from torch import nn

    kind = nn.Conv1d if kernel.ndim == 3 else nn.Conv2d
    pool = nn.AdaptiveAvgPool1d if kernel.ndim == 3 else nn.AdaptiveAvgPool2d
    net = nn.Sequential(
        kind(kernel.shape[1], len(kernel), 3, padding=1),
        nn.ReLU(),
        pool(1),
        nn.Flatten(),
        nn.Linear(*matrix.shape[::-1]),
    )
    state = {"0.weight": kernel, "0.bias": bias, "4.weight": matrix, "4.bias": offset}
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return net.eval().requires_grad_(False)


def conv_logits(image: np.ndarray, weights_of_net: tuple[np.ndarray, ...]) -> np.ndarray:
    """What `conv_net` answers to one normalised image (C, *space), by loops over the kernel in float64."""
    kernel, bias, matrix, offset = (array.astype(np.float64) for array in weights_of_net)
    space = image.shape[1:]
    padded = np.pad(image.astype(np.float64), [(0, 0), *[(1, 1)] * len(space)])
    hidden = np.zeros((len(kernel), *space)) + bias.reshape(-1, *(1,) * len(space))
    for tap in np.ndindex(*kernel.shape[2:]):
        window = padded[(slice(None), *(slice(t, t + s) for t, s in zip(tap, space, strict=True)))]
        hidden += np.tensordot(kernel[(slice(None), slice(None), *tap)], window, (1, 0))
    return matrix @ np.maximum(hidden, 0).reshape(len(kernel), -1).mean(axis=1) + offset


class NumpyPasses:
    """Masked passes by definition over a NumPy function of one pixel image; remembers each call's work."""

    def __init__(self, logits_of: Callable[[np.ndarray], np.ndarray]) -> None:
        self.logits_of = logits_of
        self.calls: list[np.ndarray] = []

    def select(self, plans, work) -> np.ndarray:
        self.calls.append(np.array(work))
        masked = (np.where(plans[p].step_map < step, plans[p].end, plans[p].start) for p, step in work)
        return np.stack([self.logits_of(image) for image in masked]).astype(np.float32)

    def blend(self, plans, grids, axes, work):
        raise NotImplementedError

    def direct(self, images):
        return np.stack([self.logits_of(image) for image in images]).astype(np.float32)


def smooth_function(shape: tuple[int, ...], classes: int = 4, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """A nonlinear function of one image (C, *space) to logits (K,), float64."""
    rng = np.random.default_rng(seed)
    size = int(np.prod(shape))
    first, second = rng.normal(size=(6, size)) / np.sqrt(size), rng.normal(size=(classes, 6)) * 2
    return lambda image: second @ np.tanh(4 * first @ image.ravel().astype(np.float64))
