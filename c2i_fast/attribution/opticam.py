"""Opti-CAM (Zhang, Torres, Sicre, Avrithis and Ayache, 2024): the channel weights that keep the score up best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution.adam import RowAdam
from c2i_fast.attribution.base import Context, Need, check_batch
from c2i_fast.attribution.layers import last_convolutional, named, trace
from c2i_fast.attribution.masked import at_least_one
from c2i_fast.attribution.torch_model import checked_logits, module_of, network_input, undisturbed
from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import Given, baseline_image, check_baseline
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {"iterations": 100, "rate": 0.1, "objective": "plain", "stop": False},
    "official-demo": {"iterations": 50, "rate": 0.1, "objective": "plain", "stop": True},
    "official-class": {"iterations": 100, "rate": 0.01, "objective": "diff", "stop": True},
}
CHOICES = {
    "preset": tuple(PRESETS),
    "objective": (None, "plain", "diff"),
    "score": ("logit", "probability"),
    "normalisation": ("max_min", "max", "sigmoid"),
    "stop": (None, True, False),
}


class OptiCam:
    """S = n(up(Σ_k softmax(u*)_k·ReLU(A_k))), u* = argmax_u F(u), by Adam from uniform weights.

    A is a layer's output of the clean image, up is bilinear (half-pixel), n scales to [0, 1] after upsampling. F is the
    score g of baseline·(1 − S) + image·S (`plain`), or −|g(image) − g(that)| (`diff`); the baseline is black, since the
    authors multiply the image before its normalisation. The best u that was met is returned, the first and the last
    included, so F(u*) ≥ F(u_0). Images share batches and nothing else: each has its own u, its own best and its own
    stop (after every tenth of the iterations, where F has fallen since the check before).

    Options: `preset` (`paper`: 100 iterations, rate 0.1, plain; `official-demo`: 50, 0.1, plain, stop;
    `official-class`: 100, 0.01, diff, stop), and what it says one by one: `iterations`, `rate`, `objective`, `stop`;
    `score` (`logit`, `probability`), `normalisation` (`max_min`, `max`, `sigmoid`), `baseline`, `layer`, `batch`
    (images together, 8). Passes: iterations + 2 forward and iterations backward an image.

    An image whose objective or gradient is not finite gets a map of NaN, which is never written.
    """

    name: ClassVar[str] = "opticam"
    needs: ClassVar[Need] = "torch"
    own_target: ClassVar[bool] = True  # the option `score`
    defaults: ClassVar[Mapping[str, Any]] = {
        "preset": "paper",
        "iterations": None,
        "rate": None,
        "objective": None,
        "stop": None,
        "score": "logit",
        "normalisation": "max_min",
        "baseline": "black",
        "layer": None,
        "batch": 8,
    }

    def __init__(self, context: Context) -> None:
        given = context.settings(OptiCam)
        for option, known in CHOICES.items():
            if given[option] not in known:
                raise InputError(f"opticam: {option} is one of {', '.join(map(str, known))}, got {given[option]!r}")
        own = {name: value for name, value in given.items() if value is not None}
        self.options: Mapping[str, Any] = {**given, **PRESETS[given["preset"]], **own}
        for option in ("iterations", "batch"):
            at_least_one(self.name, option, self.options[option])
        if not float(self.options["rate"]) > 0:
            raise InputError(f"opticam: rate is Adam's step, expected above 0, got {self.options['rate']}")
        check_baseline(self.options["baseline"])
        self.passes_used, self.backwards_used = 0, 0
        self.layer: str | None = None
        self._context, self._module = context, module_of(context, self.name)

    @property
    def measured(self) -> dict[str, int]:
        """What the command's JSON tells besides passes and seconds: backward passes so far."""
        return {"backward_passes": self.backwards_used}

    def explain(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        """Returns masks in [0, 1], float32 (N, H, W); see `Method.explain`."""
        check_batch(ids, images, targets)
        if images.ndim != 4:
            raise InputError(f"opticam reads pictures (N, C, H, W), got {images.shape}; for signals use rise")
        maps = np.empty((len(images), *images.shape[2:]), np.float32)
        with undisturbed(self._module):
            for first in range(0, len(images), self.options["batch"]):
                chosen = slice(first, first + self.options["batch"])
                maps[chosen] = self._explained(ids[chosen], images[chosen], np.asarray(targets)[chosen])
        return maps

    def _explained(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Floats:
        import torch

        problem = self.problem(ids, images, targets)
        best = self.optimised(problem)
        with torch.no_grad():
            return np.asarray(problem.masks(best)[:, 0].cpu(), np.float32)

    def problem(self, ids: Sequence[str], images: Floats, targets: NDArray[Any]) -> Problem:
        """Returns what is maximised for some images; one forward pass each."""
        import torch

        x = network_input(images, self._context.preprocessing, self._module).detach()
        layer = self._module.get_submodule(self._find_layer(x))
        seen: list[torch.Tensor] = []
        handle = layer.register_forward_hook(lambda part, inputs, output: seen.append(output.clone()))
        try:
            with torch.no_grad():
                clean = self._score(self._module(x), targets)
        finally:
            handle.remove()
        self.passes_used += len(images)
        given = [
            Given(pixels=image, preprocessing=self._context.preprocessing, image=image_id, seed=self._context.seed)
            for image_id, image in zip(ids, images, strict=True)
        ]
        fill = np.stack([baseline_image(self.options["baseline"], one) for one in given])
        return Problem(
            features=seen[0].relu(),
            image=x,
            fill=network_input(fill, self._context.preprocessing, self._module).detach(),
            clean=clean,
            score=lambda shown, rows: self._score(self._module(shown), targets[rows]),
            normalise=NORMALISATIONS[self.options["normalisation"]],
            difference=self.options["objective"] == "diff",
        )

    def optimised(self, problem: Problem) -> torch.Tensor:
        """Returns the best u that Adam met for each image, (N, C); NaN where the way there was not finite."""
        import torch

        iterations = self.options["iterations"]
        every = max(1, iterations // 10)
        u = problem.features.new_full(problem.features.shape[:2], 0.5)
        adam, best = RowAdam(u, float(self.options["rate"])), u.clone()
        highest, before = u.new_full((len(u),), -torch.inf), u.new_full((len(u),), -torch.inf)
        active = np.arange(len(u))
        for step in range(1, iterations + 1):
            now = u[active].requires_grad_()
            with torch.enable_grad():
                value = problem.value(now, active)
                (slope,) = torch.autograd.grad(value.sum(), now)
            self.passes_used += len(active)
            self.backwards_used += len(active)
            value = value.detach()
            slope[~value.isfinite()] = torch.nan  # and so will u be, and all that follows from it
            _keep_best(value, now.detach(), active, highest, best)
            adam.climb(slope, active)
            if self.options["stop"] and step % every == 0:
                fell = (value < before[active]).cpu().numpy()
                before[active] = value
                active = active[~fell]
                if not len(active):
                    break
        everyone = np.arange(len(u))
        with torch.no_grad():
            _keep_best(problem.value(u, everyone), u, everyone, highest, best)
        self.passes_used += len(u)
        best[~u.isfinite().all(dim=1)] = torch.nan
        return best

    def _score(self, output: object, targets: NDArray[Any]) -> torch.Tensor:
        return target_score(output, targets, self._context, self.options["score"])

    def _find_layer(self, x: torch.Tensor) -> str:
        """Returns the layer's name, looked for on the first image of the first call and kept."""
        if self.layer is None:
            layers, wanted = trace(self._module, x[:1]), self.options["layer"]
            self.passes_used += 1
            self.layer = (last_convolutional(layers) if wanted is None else named(layers, wanted)).name
        return self.layer


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """F of several images, each a function of its own u.

    Attributes:
        features: ReLU(A), (N, C, h, w).
        image: what the network is fed, (N, channels, H, W), normalised.
        fill: the baseline, likewise. Normalising is affine, so mixing after it is mixing pixels.
        clean: g of the images, (N,).
        score: g of what is shown in some rows.
        normalise: n, of maps (N, 1, H, W).
        difference: whether F is the (negative) distance to `clean`.
    """

    features: torch.Tensor
    image: torch.Tensor
    fill: torch.Tensor
    clean: torch.Tensor
    score: Callable[[torch.Tensor, NDArray[Any]], torch.Tensor]
    normalise: Callable[[torch.Tensor], torch.Tensor]
    difference: bool

    def masks(self, u: torch.Tensor, rows: NDArray[Any] | slice = slice(None)) -> torch.Tensor:
        """Returns n(up(Σ softmax(u)·A)), (n, 1, H, W), of u (n, C)."""
        from torch.nn.functional import interpolate

        combined = (u.softmax(dim=1)[:, :, None, None] * self.features[rows]).sum(dim=1, keepdim=True)
        size = tuple(self.image.shape[2:])
        return self.normalise(interpolate(combined, size, mode="bilinear", align_corners=False))

    def value(self, u: torch.Tensor, rows: NDArray[Any]) -> torch.Tensor:
        """Returns F of each row, (n,)."""
        mask, fill = self.masks(u, rows), self.fill[rows]
        score = self.score(fill + mask * (self.image[rows] - fill), rows)
        return -(self.clean[rows] - score).abs() if self.difference else score


def _max_min(maps: torch.Tensor) -> torch.Tensor:
    low, high = maps.amin(dim=(2, 3), keepdim=True), maps.amax(dim=(2, 3), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1)


def _max(maps: torch.Tensor) -> torch.Tensor:
    high = maps.amax(dim=(2, 3), keepdim=True)
    return maps / high.where(high > 0, 1)


NORMALISATIONS: Mapping[str, Callable[[Any], Any]] = {
    "max_min": _max_min,
    "max": _max,
    "sigmoid": lambda maps: maps.sigmoid(),
}


def target_score(output: object, targets: NDArray[Any], context: Context, score: str) -> torch.Tensor:
    """Returns the `logit` or the `probability` of each row's target, (N,), of a network's output (N, classes)."""
    import torch

    logits = checked_logits(output, context.preprocessing, targets, context.activation)
    if score == "probability":
        logits = logits.sigmoid() if context.activation == "sigmoid" else logits.softmax(dim=1)
    return logits.gather(1, torch.as_tensor(targets, device=logits.device)[:, None].long())[:, 0]


def _keep_best(
    value: torch.Tensor, u: torch.Tensor, rows: NDArray[Any], highest: torch.Tensor, best: torch.Tensor
) -> None:
    """Puts into `highest` and `best`, in place, what is higher than anything before."""
    better = (value > highest[rows]).cpu().numpy()
    highest[rows[better]], best[rows[better]] = value[better], u[better]
