"""The contestants of `peers.py`: torchcam and Quantus, unchanged, and ours, each as a call that returns its passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import common
import numpy as np
import torch

from c2i_fast.bench.scoring import scoring_task, smooth_noise
from c2i_fast.data.memory import MemoryImages, memory_maps
from c2i_fast.engines import ENGINES
from c2i_fast.errors import ContractError
from c2i_fast.models import Classifier
from c2i_fast.perturb.passes import GraphPasses
from c2i_fast.score import ScoredImage, ScoreTask, score_stream
from c2i_fast.types import Doubles, EngineConfig, Floats, GraphContract, Session

POINTS = 33
QUANTUS_STEPS = 96
TOLERANCE = 1e-4


class Counted(torch.nn.Module):
    """A network that counts the images it is given."""

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network = network
        self.images = 0
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits (N, K) of normalised images (N, C, H, W)."""
        self.images += len(images)
        return self.network(images)


class Precomputed:
    """What torchcam takes for a CAM extractor: the maps are there already."""

    def __init__(self, model: torch.nn.Module, maps: torch.Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *args: Any, **options: Any) -> list[torch.Tensor]:
        """Returns the maps (N, H, W)."""
        return [self.maps]

    def fuse_cams(self, cams: list[torch.Tensor]) -> torch.Tensor:
        """Returns the only one."""
        return cams[0]

    @contextmanager
    def _hooks_off(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, kw_only=True)
class Data:
    """Images in the units of `pixels`, and tie-free maps.

    Attributes:
        pixels: float32 (N, C, H, W).
        maps: float32 (N, H, W), a permutation of 1/U, 2/U, …, 1.
    """

    pixels: Floats
    maps: Floats

    @classmethod
    def of(cls, count: int, shape: tuple[int, ...]) -> Data:
        """Returns synthetic images and maps."""
        noise = smooth_noise(count, (1, *shape[1:]), seed=1).reshape(count, -1)
        ranks = noise.argsort(axis=1).argsort(axis=1).astype(np.float32) + 1
        return cls(pixels=smooth_noise(count, shape, seed=0), maps=(ranks / ranks.shape[1]).reshape(count, *shape[1:]))

    def first(self, count: int) -> Data:
        """Returns the first so many."""
        return Data(pixels=self.pixels[:count], maps=self.maps[:count])

    def normalised(self, contract: GraphContract) -> Floats:
        """Returns what the network itself is fed."""
        mean, std = (v.reshape(-1, 1, 1) for v in contract.preprocessing.channel_stats(contract.channels))
        images = (self.pixels - mean) / std
        return np.ascontiguousarray(images[:, ::-1] if contract.preprocessing.bgr else images)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Something that scores a number of images.

    Attributes:
        run: scores them; returns the passes it made.
        batch: images a forward.
    """

    name: str
    batch: int
    run: Callable[[], int]


def ours(classifier: Classifier, config: EngineConfig, data: Data) -> Contestant:
    """Returns c2i-fast, from arrays to scores."""
    task = scoring_task(classifier.contract, None)
    passes = common.open_passes(classifier, config, task)
    return Contestant(
        name=f"c2i-fast {config.precision}",
        batch=passes.batch,
        run=lambda: sum(len(image.plan.work) for image in _score(passes, task, data)),
    )


def _score(passes: GraphPasses, task: ScoreTask, data: Data) -> list[ScoredImage]:
    images = MemoryImages(data.pixels)
    parts = score_stream(images.stream(), memory_maps(data.maps, images.ids), passes, task)
    return [image for part in parts for image in part.images]


def torchcam(network: Counted, contract: GraphContract, data: Data, batch: int) -> Contestant:
    """Returns torchcam's metric on all images at once."""
    from torchcam.metrics import DeletionInsertionMetric

    images, maps = torch.from_numpy(data.normalised(contract)), torch.from_numpy(data.maps)

    def run() -> int:
        before = network.images
        metric = DeletionInsertionMetric(
            Precomputed(network, maps), partial(torch.softmax, dim=-1), steps=POINTS - 1, batch_size=batch
        )
        with torch.no_grad():
            metric.update(images)
        metric.summary()
        return network.images - before

    return Contestant(name="torchcam", batch=batch, run=run)


def quantus(network: Counted, contract: GraphContract, data: Data, batch: int, steps: int) -> Contestant:
    """Returns Quantus' metric; `steps` flips of all channel values together."""
    images, maps = data.normalised(contract), data.maps[:, None]
    with torch.no_grad():
        targets = network(torch.from_numpy(images)).argmax(dim=1).numpy()

    def run() -> int:
        before = network.images
        flip(network, images, maps, targets, batch, steps)
        return network.images - before

    return Contestant(name="Quantus", batch=batch, run=run)


def flip(
    network: torch.nn.Module,
    images: Floats,
    maps: Floats,
    targets: Any,
    batch: int,
    steps: int,
    softmax: bool = True,
) -> list[list[float]]:
    """Returns PixelFlipping's curves, whose first point comes after the first step."""
    from quantus import PixelFlipping

    metric = PixelFlipping(
        features_in_step=math.prod(images.shape[1:]) // steps, perturb_baseline=0.0, disable_warnings=True
    )
    curves: list[list[float]] = metric(
        model=network,
        x_batch=images,
        y_batch=targets,
        a_batch=maps,
        batch_size=batch,
        softmax=softmax,
        channel_first=True,
        device="cpu",
    )
    return curves


def check_curves(network: Counted, classifier: Classifier, config: EngineConfig, data: Data) -> dict[str, float]:
    """Returns the largest difference between our curves and each peer's, as a share of our curves' range.

    On logits: the probabilities of a network with random weights hardly move.

    Raises:
        ContractError: It exceeds 1e-4: they do not do the same, and nothing may be timed.
    """
    contract, few = classifier.contract, data.first(2)
    task = replace(scoring_task(contract, None), readouts=("logit",))
    scored = _score(common.open_passes(classifier, config, task), task, few)
    targets = np.array([image.target for image in scored])
    deletion, insertion = (
        np.stack([s.curve.values for image in scored for s in image.scores if s.curve and s.metric == name])
        for name in ("deletion", "insertion")
    )
    theirs = _torchcam_curves(network, few, contract, targets)
    images, maps = few.normalised(contract), few.maps[:, None]
    flipped = np.array(flip(network, images, maps, targets, len(maps), QUANTUS_STEPS, softmax=False))
    found = {
        "torchcam": max(_apart(theirs[0], deletion), _apart(theirs[1], insertion)),
        "Quantus": _apart(flipped[:, 2::3], deletion[:, 1:]),
    }
    for peer, difference in found.items():
        if not difference <= TOLERANCE:
            raise ContractError(
                f"{peer}'s curves differ from ours by {difference:.1e} of their range: nothing is timed"
            )
    return found


def _torchcam_curves(network: Counted, data: Data, contract: GraphContract, targets: Any) -> tuple[Floats, Floats]:
    from torchcam.metrics import DeletionInsertionMetric

    kept: list[Any] = []

    class Keeping(DeletionInsertionMetric):  # type: ignore[misc]
        """The same, remembering the curves, of which it returns only the mean area."""

        def _compute_curves(self, *args: Any, **options: Any) -> Any:
            kept[:] = super()._compute_curves(*args, **options)
            return tuple(kept)

    metric = Keeping(Precomputed(network, torch.from_numpy(data.maps)), steps=POINTS - 1)
    with torch.no_grad():
        metric.update(torch.from_numpy(data.normalised(contract)), class_idx=targets.tolist())
    return kept[1].numpy(), kept[2].numpy()


def _apart(first: Any, second: Doubles) -> float:
    return float(np.abs(np.asarray(first, np.float64) - second).max() / np.ptp(second))


def wrapped(classifier: Classifier, config: EngineConfig) -> Counted:
    """Returns the network, run by our engine, as the torch module that the peers want."""
    import onnx_ir as ir

    graph = ir.to_proto(classifier.backbone()).SerializeToString()
    session: Session = ENGINES[config.engine](graph, config)
    skipped = classifier.contract.preprocessing.drop_class

    def network(images: torch.Tensor) -> torch.Tensor:
        answers = session.run({"normalised": images.numpy()})
        return torch.from_numpy(answers["network_output"][:, skipped:])

    return Counted(network)
