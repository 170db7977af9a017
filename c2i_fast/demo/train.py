"""A small network, trained to be surer of itself than it should be, in seconds.

As a MODEL of the command line: `c2i_fast.demo.train:network --weights network.safetensors`, with the preprocessing of
`PREPROCESSING`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from c2i_fast.demo.tetromino import CLASS_NAMES, SIZE, Tetrominoes
from c2i_fast.errors import MissingDependencyError
from c2i_fast.results.files import write_atomically
from c2i_fast.types import Preprocessing

if TYPE_CHECKING:
    import torch

PREPROCESSING = Preprocessing(size=(SIZE, SIZE), mean=(0.5,), std=(0.25,))
"""Mid-grey, the zero of the mixture, is what the network is fed as 0; so the baseline `mean` shows no shape."""

# Few images, some labels wrong and no weight decay: the network learns its training set by heart, errors included.
EPOCHS = 100
BATCH = 20
LEARNING_RATE = 2e-2
WRONG_LABELS = 0.15
THREADS = 1  # batches are too small to share, and one thread sums in one order on every machine


def need_torch() -> None:
    """Raises `MissingDependencyError` with the install line where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError("torch", "torch") from error


def network() -> torch.nn.Module:
    """Returns the network, untrained: grey (N, 1, 64, 64) to logits (N, 2); three convolutions and a maximum."""
    need_torch()
    from torch import nn

    channels = (1, 8, 16, 32)
    layers: list[nn.Module] = []
    for number in range(3):
        first = number == 0  # at half resolution from the start, for speed
        if not first:
            layers.append(nn.MaxPool2d(2))
        kernel, stride = (5, 2) if first else (3, 1)
        layers.append(nn.Conv2d(channels[number], channels[number + 1], kernel, stride, padding=kernel // 2))
        layers += [nn.BatchNorm2d(channels[number + 1]), nn.ReLU()]
    parts = {
        "features": nn.Sequential(*layers),
        "pool": nn.AdaptiveMaxPool2d(1),
        "flatten": nn.Flatten(),
        "head": nn.Linear(channels[-1], len(CLASS_NAMES)),
    }
    return nn.Sequential(OrderedDict(parts))


def train(data: Tetrominoes, *, seed: int, epochs: int = EPOCHS) -> torch.nn.Module:
    """Returns the trained network in eval mode; the same weights for the same data and seed.

    Args:
        data: to learn from; a share `WRONG_LABELS` of its labels is turned round first.
        seed: of the weights, the order of images and the wrong labels.
        epochs: times each image is seen.
    """
    need_torch()
    import torch

    rng = np.random.default_rng(seed)
    x = torch.from_numpy(_normalised(data))
    y = torch.from_numpy(_with_errors(data, rng))
    batches = -(-len(data) // BATCH)
    with _reproducibly(seed):
        module = network()
        optimiser = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=epochs * batches, pct_start=0.2
        )
        for _ in range(epochs):
            for chosen in np.array_split(rng.permutation(len(data)), batches):
                optimiser.zero_grad()
                loss = torch.nn.functional.cross_entropy(module(x[chosen]), y[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                rate.step()
    return module.eval()


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """Writes the weights as .safetensors, which `--weights` takes."""
    try:
        from safetensors.torch import save
    except ModuleNotFoundError as error:
        raise MissingDependencyError("safetensors", "torch") from error
    content = save(module.state_dict())
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _normalised(data: Tetrominoes) -> np.ndarray:
    mean, std = PREPROCESSING.channel_stats(1)
    pixels = np.moveaxis(data.images, -1, 1).astype(np.float32) / 255
    return (pixels - mean) / std


def _with_errors(data: Tetrominoes, rng: np.random.Generator) -> np.ndarray:
    wrong = rng.choice(len(data), round(WRONG_LABELS * len(data)), replace=False)
    labels = data.labels.copy()
    labels[wrong] = 1 - labels[wrong]
    return labels


@contextmanager
def _reproducibly(seed: int) -> Iterator[None]:
    """Seeds torch and fixes its threads, which the order of summation depends on; puts both back at the end."""
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
