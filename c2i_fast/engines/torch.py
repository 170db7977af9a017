"""PyTorch, running a torch classifier directly: the reference, and the engine that needs no export."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from c2i_fast.engines.torch_head import class_logits
from c2i_fast.errors import EngineError, MissingDependencyError
from c2i_fast.types import EngineConfig, Feeds, Floats, GraphContract

try:
    import torch
except ImportError as error:
    raise MissingDependencyError("torch", "torch") from error

if TYPE_CHECKING:
    from c2i_fast.types import Calibrator

Tensors = dict[str, torch.Tensor]


class TorchSession:
    """A torch function of named tensors (see `torch_graph`), run without gradients."""

    def __init__(self, graph: Callable[[Tensors], Tensors], config: EngineConfig) -> None:
        if config.precision != "fp32" or config.device != "cpu":
            raise EngineError(f"torch runs fp32 on the cpu here, not {config.precision} on {config.device}")
        self.config = config
        self._graph = graph

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output by name."""
        if self.config.threads and torch.get_num_threads() != self.config.threads:
            torch.set_num_threads(self.config.threads)
        tensors = {name: torch.from_numpy(_writable(array)) for name, array in feeds.items()}
        with torch.inference_mode():
            answers = self._graph(tensors)
        return {name: value.numpy() for name, value in answers.items()}


def _writable(array: Any) -> Any:
    """PyTorch warns about read-only arrays although nothing here writes to them."""
    return array if array.flags.writeable else np.array(array)


def torch_graph(
    module: torch.nn.Module, contract: GraphContract, kind: str, calibrator: Calibrator | None
) -> Callable[[Tensors], Tensors]:
    """Returns the torch twin of `fused_graph`, `scorer_graph` or `blend_graph`: the same names and shapes."""
    mean, std = (torch.tensor(v).reshape(-1, *(1,) * len(contract.space)) for v in _stats(contract))

    def normalise(pixels: torch.Tensor) -> torch.Tensor:
        normalised = (pixels - mean) / std
        return normalised.flip(1) if contract.preprocessing.bgr else normalised

    def head(images: torch.Tensor) -> Tensors:
        output = class_logits(module(images).float(), contract.preprocessing, contract.activation)
        calibrated = torch.from_numpy(calibrator.transform(output.numpy())) if calibrator else output
        squash = torch.sigmoid if contract.activation == "sigmoid" else (lambda z: torch.softmax(z, -1))
        return {"logits": output, "probabilities": squash(calibrated).float()}

    def masked(feeds: Tensors) -> torch.Tensor:
        start, end = normalise(feeds["start"])[:, None], normalise(feeds["end"])[:, None]
        if kind == "blend":
            mask = _spread(feeds, len(contract.space))[:, :, None]
            return start + mask * (end - start)
        steps = feeds["steps"].reshape(*feeds["steps"].shape, *(1,) * (1 + len(contract.space)))
        step_map = feeds["step_map"].int()
        step_map = step_map.flip(1) if contract.preprocessing.bgr else step_map  # the ends are reversed already
        return torch.where(step_map[:, None] < steps, end, start)

    def run(feeds: Tensors) -> Tensors:
        if kind == "fused":
            return head(normalise(feeds["pixels"]))
        images = masked(feeds)
        return {name: v.reshape(*images.shape[:2], -1) for name, v in head(images.flatten(0, 1)).items()}

    return run


def _stats(contract: GraphContract) -> tuple[Floats, Floats]:
    mean, std = contract.preprocessing.channel_stats(contract.channels)
    return mean.copy(), std.copy()


def _spread(feeds: Tensors, axes: int) -> torch.Tensor:
    if axes == 1:
        return (feeds["axis_0"] @ feeds["grids"][..., None])[..., 0]
    return feeds["axis_0"] @ feeds["grids"] @ feeds["axis_1"].transpose(-1, -2)
