"""Saliency maps ranked on the device, for maps that are made there; equal to `pixel_order` and `step_map`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.kernels.device import Device
from c2i_fast.kernels.launch import rank_launch, scratch_bytes
from c2i_fast.kernels.stage import Stage
from c2i_fast.perturb.order import step_type
from c2i_fast.types import Floats, Ints


class Ranking:
    """Ranks on a device, in memory of its own."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._stage = Stage(device)

    def step_maps(
        self, saliency: Floats, counts: Ints, *, last_first: bool = False, lerf: bool = False
    ) -> NDArray[Any]:
        """Returns the step maps (M, *space) of saliency maps (M, *space).

        Equal to `step_map(pixel_order(…), counts, …)`; `last_first` is the tie rule `reverse-index`, `lerf` the exact
        reversal.

        Raises:
            InputError: A map holds a NaN or an infinity.
        """
        maps, elements, intervals = len(saliency), int(np.prod(saliency.shape[1:])), len(counts) - 1
        kind, stage = np.dtype(step_type(intervals)), self._stage
        refused = np.zeros(maps, np.int32)
        steps = stage.room("steps", maps * elements * kind.itemsize)
        launch = rank_launch(
            maps,
            elements,
            intervals,
            kind.name,
            saliency=stage.put("saliency", saliency.astype(np.float32, copy=False)),
            counts=stage.put("counts", np.asarray(counts, np.int32)),
            scratch=stage.room("scratch", scratch_bytes(maps, elements)).pointer,
            steps=steps.pointer,
            refused=stage.put("refused", refused),
            last_first=last_first,
            lerf=lerf,
        )
        stage.sent()
        self.device.launch(launch)
        bad = np.flatnonzero(self.device.download(stage.room("refused", refused.nbytes), (maps,), np.int32))
        if len(bad):
            raise InputError(f"saliency map {bad[0]} holds a NaN or an infinity; maps must be finite")
        return self.device.download(steps, saliency.shape, kind)
