"""Integrated gradients (Sundararajan, Taly, Yan, 2017), through captum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from c2i_fast.attribution.base import Context
from c2i_fast.attribution.starts import starts_of
from c2i_fast.attribution.torch_method import TorchMethod
from c2i_fast.errors import InputError
from c2i_fast.types import Floats

if TYPE_CHECKING:
    import torch

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
_POINTS_AT_ONCE = 64


class IntegratedGradients(TorchMethod):
    """S[p] = Σ_c (x − b)[c, p] · ∫₀¹ ∂F(b + t(x − b)) / ∂x[c, p] dt, x and b the normalised image and baseline.

    Complete: the values of an image sum to F(x) − F(b), up to the error of the quadrature, which `measured` reports.
    One forward and one backward pass a step and image, and two forward passes for the completeness.

    Options: `steps` (50), `rule` (gausslegendre), `baseline` (mean; one of `list baselines`, `uniform`
    or `file:PATH`, see `starts_of`), `channels` (sum). Calibrate to Interpret has riemann_left, 30 steps, abs-sum.
    """

    name: ClassVar[str] = "integrated-gradients"
    defaults: ClassVar[Mapping[str, Any]] = {
        "baseline": "mean",
        "steps": 50,
        "rule": "gausslegendre",
        "channels": "sum",
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if self._settings["rule"] not in RULES:
            raise InputError(f"{self.name}: rule is one of {', '.join(RULES)}; got {self._settings['rule']!r}")
        self._steps = int(self._settings["steps"])
        if self._steps < 1 + (self._settings["rule"] == "riemann_trapezoid"):
            raise InputError(f"{self.name}: steps must be at least 1 (2 for riemann_trapezoid), got {self._steps}")
        self._gaps: dict[str, tuple[float, float]] = {}

    def _attributions(self, ids: Sequence[str], images: Floats, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch

        given = self._context
        starts = starts_of(self._settings["baseline"], ids, images, given.preprocessing, given.seed)
        start = self._input(starts).detach()
        values: torch.Tensor = self._captum.IntegratedGradients(self._followed).attribute(
            x,
            baselines=start,
            additional_forward_args=targets,
            n_steps=self._steps,
            method=self._settings["rule"],
            internal_batch_size=max(_POINTS_AT_ONCE, len(x)),
        )
        with torch.no_grad():
            rise = (self._followed(x, targets) - self._followed(start, targets)).double()
        gaps = values.detach().double().flatten(1).sum(dim=1) - rise
        self._gaps |= dict(zip(ids, zip(gaps.tolist(), rise.tolist(), strict=True), strict=True))
        self.passes_used += len(x) * (self._steps + 2)
        return values

    @property
    def measured(self) -> dict[str, Any]:
        """Returns the completeness of the maps made so far: |Σ S − (F(x) − F(b))|, its mean, and the largest with id.

        `relative` is Σ|gap| / Σ|F(x) − F(b)| over images.
        """
        if not self._gaps:
            return {}
        gaps = {image: abs(gap) for image, (gap, _) in self._gaps.items()}
        worst, total = max(gaps, key=gaps.__getitem__), sum(abs(rise) for _, rise in self._gaps.values())
        return {
            "completeness_gap": {
                "mean": float(np.mean(list(gaps.values()))),
                "largest": gaps[worst],
                "image": worst,
                "relative": sum(gaps.values()) / total if total else None,
            }
        }
