"""The nouns: frozen values that travel between the rooms, and the protocols others may implement. NumPy only.

Shapes are written after the type: N images, C channels, `*space` = (H, W) or (T,), K classes, P passes, n intervals.
Plans, images and baselines are always in the units of the fused graph's `pixels` input, float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]
Feeds = Mapping[str, NDArray[Any]]

Precision = Literal["fp32", "bf16", "fp16", "int8"]
Activation = Literal["softmax", "sigmoid"]
# Probabilities of a sigmoid are kept this far from 0 and 1 before their logit is taken: 1 − 2⁻²⁴ is the largest float32
# below 1, so the logit stays within ±16.64.
SIGMOID_MARGIN = 2.0**-24


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Returns the array, made read-only (a view when it already belongs to someone else)."""
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationPlan:
    """Where a curve starts, where it ends, and when each element changes.

    Element p shows `end` in image k if and only if `step_map[p] < k`, for k = 0..n; the value n means "never changes".

    Attributes:
        start: float32 (C, *space), what image 0 shows.
        end: float32 (C, *space), what a changed element shows.
        step_map: uint8, uint16 or int32, (1, *space), or (C, *space) where channel values change one by one.
        intervals: n, the number of steps; the plan has n + 1 images.
    """

    start: Floats
    end: Floats
    step_map: NDArray[Any]
    intervals: int

    def __post_init__(self) -> None:
        if self.start.shape != self.end.shape:
            raise ValueError(f"start {self.start.shape} and end {self.end.shape} must have one shape")
        if self.step_map.shape[1:] != self.start.shape[1:] or self.step_map.shape[0] not in (1, self.start.shape[0]):
            raise ValueError(f"step map {self.step_map.shape} does not fit images of shape {self.start.shape}")
        for name in ("start", "end", "step_map"):
            object.__setattr__(self, name, frozen(getattr(self, name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A read-out along a perturbation: `values[k]` at the share `fractions[k]` of changed elements.

    Attributes:
        fractions: float64 (n+1,), non-decreasing; the x of the area.
        values: float64 (n+1,), the read-out of the target class.
    """

    fractions: Doubles
    values: Doubles

    def __post_init__(self) -> None:
        if self.fractions.shape != self.values.shape or self.fractions.ndim != 1:
            raise ValueError(f"fractions {self.fractions.shape} and values {self.values.shape} must be one vector each")
        for name in ("fractions", "values"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    def area(self) -> float:
        """Returns the trapezoid Σ (v_k + v_{k+1})/2 · (f_{k+1} − f_k).

        Example:
            >>> Curve(fractions=np.array([0, 0.5, 1]), values=np.array([1, 0.5, 0])).area()
            0.5
        """
        return float(np.trapezoid(self.values, self.fractions))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number with what it takes to believe it: a row of `scores/*.parquet`.

    Attributes:
        passes: the points the number was made of; sharing is counted for the run, not for the row.
        curve: None for a scalar metric.
        half_difference: of a value estimated from some of its points; 0 where it is exact (`reliability.numeric`).
        warnings: e.g. `ties=0.91` (the tied share of a map) or `constant map`.
    """

    image: str
    method: str
    metric: str
    protocol: str
    protocol_hash: str
    readout: str
    target: int
    value: float
    curve: Curve | None
    passes: int
    warnings: tuple[str, ...] = ()
    half_difference: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """From a picture to what the network is fed: resize, crop, then (pixel − mean) / std with pixels in [0, 1].

    Attributes:
        size: (H, W) of the network's input, or (T,); None takes images as they are.
        crop: short side resized to size/crop, then the centre cut out; None squashes to `size` (Pillow bilinear).
        mean: per channel; length 1 serves all channels.
        std: per channel; length 1 serves all channels.
        bgr: channels reversed after normalisation.
        drop_class: leading classes left out of the output (1 for a "background" class).
        outputs: what the network returns; of `probabilities` the logarithm is taken, for a sigmoid head the logit.
    """

    size: tuple[int, ...] | None = None
    crop: float | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    drop_class: int = 0
    outputs: Literal["logits", "probabilities"] = "logits"

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if any(s <= 0 or not np.isfinite(s) for s in self.std):
            raise ValueError(f"std must be positive, got {self.std}")
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise ValueError(f"mean has {len(self.mean)} channels and std {len(self.std)}")

    def channel_stats(self, channels: int) -> tuple[Floats, Floats]:
        """Returns mean and std as float32 (C,) in RGB order.

        Example:
            >>> Preprocessing(mean=(0.5,)).channel_stats(2)[0]
            array([0.5, 0.5], dtype=float32)
        """
        mean = np.broadcast_to(np.asarray(self.mean, np.float32), (channels,))
        std = np.broadcast_to(np.asarray(self.std, np.float32), (channels,))
        return mean, std


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContract:
    """What a fused graph promises; one JSON under the metadata key `c2i_fast.contract`. See export/README.md.

    Attributes:
        channels, space, classes: C, *space and K; a None in `space` is a dynamic size.
        activation: `softmax`, one of K ≥ 2 classes; or `sigmoid`, any of K ≥ 1 labels, each by itself.
        calibrator: {"method": …, "parameters": {…}}, or None where the graph's probabilities are the raw ones.
        batch: the fixed N of a graph that could not be made dynamic, else None.
        step_map_dtype: of a scorer graph: `uint8`, `uint16` or `int32`; None in a fused graph.
        source_sha256: of the file or weights the classifier came from.
    """

    channels: int
    space: tuple[int | None, ...]
    classes: int
    preprocessing: Preprocessing
    activation: Activation = "softmax"
    class_names: tuple[str, ...] | None = None
    calibrator: dict[str, Any] | None = None
    precision: Precision = "fp32"
    opset: int = 20
    source_sha256: str = ""
    batch: int | None = None
    step_map_dtype: str | None = None
    version: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", tuple(self.space))
        if self.class_names is not None:
            object.__setattr__(self, "class_names", tuple(self.class_names))

    @property
    def elements(self) -> int:
        """The values in one image, C · Π space; a dynamic size counts as 1."""
        return self.channels * int(np.prod([size or 1 for size in self.space]))

    def to_json(self) -> str:
        """Returns canonical JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the contract written by `to_json`; unknown keys and versions above 1 are a `ValueError`."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"a contract is a JSON object, got {type(content).__name__}")
        unknown = set(content) - {f.name for f in fields(cls)}
        if content.get("version") != 1 or unknown:
            raise ValueError(f"contract version {content.get('version')!r} with unknown keys {sorted(unknown)}")
        content["preprocessing"] = Preprocessing(**content["preprocessing"])
        return cls(**content)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How a graph is to be run. Building one opens no device.

    Attributes:
        engine: `torch`, `onnxruntime` or `openvino`.
        threads: None leaves it to the engine; a run stores the number it used.
        batch_size: images a pass batch holds (N·S of the scorer graph).
    """

    engine: str
    precision: Precision = "fp32"
    device: str = "cpu"
    threads: int | None = None
    batch_size: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a run's numbers come from; the head of `run.json`."""

    versions: Mapping[str, str]
    engine: Mapping[str, Any]
    model_sha256: str
    calibrator_sha256: str | None
    images_sha256: str
    maps_sha256: Mapping[str, str]
    protocols: Sequence[Mapping[str, Any]]
    readouts: Sequence[str]
    seed: int
    command: Sequence[str] = field(default_factory=tuple)


class Session(Protocol):
    """A graph that an engine has opened. `run` takes arrays by input name and returns arrays by output name."""

    config: EngineConfig

    def run(self, feeds: Feeds) -> dict[str, Floats]:
        """Returns every output of the graph, float32."""
        ...


class MaskedPasses(Protocol):
    """The one seam with several implementations: masked images in, logits out."""

    def select(self, plans: Sequence[PerturbationPlan], work: Ints) -> Floats:
        """Returns logits (P, K) of image `work[i, 1]` of plan `work[i, 0]`; any order, repeats allowed."""
        ...

    def blend(self, plans: Sequence[PerturbationPlan], grids: Floats, axes: Sequence[Floats], work: Ints) -> Floats:
        """Returns logits (P, K) of start·(1−m) + end·m, m = mask `work[i, 1]` spread from its grid by `axes`.

        `grids` is (M, *g), `axes` one (M, size_d, g_d) for each space axis; a plan's step map plays no part.
        """
        ...

    def direct(self, images: Sequence[Floats]) -> Floats:
        """Returns logits (N, K) of the images themselves, (C, *space) each."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tap:
    """A layer of the network, opened: masked passes whose answers are its values instead of logits.

    Attributes:
        layer: its name in the graph.
        shape: of one image's values, (C, *grid), or (C,) where they were averaged over the grid or are a vector.
        passes: their rows are those values, flattened.
    """

    layer: str
    shape: tuple[int, ...]
    passes: MaskedPasses


class Taps(Protocol):
    """Layers of one network by name, without gradients."""

    def features(self, layer: str | None) -> Tap:
        """Returns a layer with a grid; None: the last one."""
        ...

    def embedding(self, layer: str | None) -> Tap:
        """Returns a layer as one vector an image, a grid averaged; None: the last one with a grid."""
        ...

    def linear_head(self) -> tuple[str, Doubles]:
        """Returns the layer whose mean over the grid a linear head reads, and the head's weights (K, C)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What is to be read from logits (P, K) where they are: float32 (P, R) instead of them.

    Attributes:
        targets: int32 (P,), the class followed by each pass.
        kinds: int32 (R,), 0 softmax of z·scale, 1 the logit z, 2 sigmoid of z·scale; of w ⊙ z + b, 3 softmax and
            4 sigmoid.
        scales: float32 (P, R); a temperature may depend on what the pass shows.
        weights: w, float64 (K,), of kinds 3 and 4; None without them.
        offsets: b, likewise.
    """

    targets: Ints
    kinds: Ints
    scales: Floats
    weights: Doubles | None = None
    offsets: Doubles | None = None

    def __post_init__(self) -> None:
        if self.scales.shape != (len(self.targets), len(self.kinds)):
            raise ValueError(
                f"scales {self.scales.shape} do not fit {len(self.targets)} passes and {len(self.kinds)} read-outs"
            )

    def rows(self, chosen: NDArray[np.intp]) -> Reading:
        """Returns the reading of some of the passes."""
        return replace(self, targets=self.targets[chosen], scales=self.scales[chosen])


@runtime_checkable
class ReadingPasses(MaskedPasses, Protocol):
    """Masked passes that can read logits where they are made, so that a few floats a pass come back."""

    def read(self, plans: Sequence[PerturbationPlan], work: Ints, reading: Reading) -> Floats:
        """Returns the read-outs (P, R) of what `select` would return, equal to 1e-6."""
        ...


@runtime_checkable
class Calibrator(Protocol):
    """A post-hoc map on logits, with scikit-learn's manners: `fit` returns self, learnt attributes end in `_`."""

    method: str
    preserves_order: bool

    def fit(self, logits: NDArray[Any], labels: NDArray[Any]) -> Self:
        """Learns from logits (N, K) and integer labels (N,), and returns itself."""
        ...

    def transform(self, logits: NDArray[Any], perturbed_fraction: NDArray[Any] | None = None) -> Doubles:
        """Returns calibrated logits float64 (N, K): their softmax is the calibrated probability."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Returns what was learnt, as JSON; `NotFittedError` before `fit`."""
        ...
