"""How an image lies in an engine's input: element type, layout, and whether normalisation is already done.

Normalising, casting, quantising and reordering are maps of single values, and a select commutes with them: they are
done once for an image and once for its baseline, never for a masked image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.types import Floats, Precision, Preprocessing

STORED: dict[str, np.dtype[Any]] = {
    "fp32": np.dtype(np.uint32),
    "fp16": np.dtype(np.uint16),
    "bf16": np.dtype(np.uint16),
    "int8": np.dtype(np.uint8),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The element type and layout of an engine's image input.

    Attributes:
        type: of an element.
        layout: `NCHW`: planes one after the other; `NHWC`: the channels of a pixel together.
        scale: of int8: value ÷ scale is stored.
        preprocessing: what is left to be done before the engine sees an image; None where its graph does it.
    """

    type: Precision = "fp32"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: float = 1.0
    preprocessing: Preprocessing | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return STORED[self.type].itemsize

    def prepare(self, pixels: Floats) -> Floats:
        """Returns an image (C, *space) in the units the engine takes, float32."""
        if self.preprocessing is None:
            return pixels
        mean, std = self.preprocessing.channel_stats(len(pixels))
        per_channel = (-1, *(1,) * (pixels.ndim - 1))
        normalised = pixels - mean.reshape(per_channel)
        normalised /= std.reshape(per_channel)
        return normalised[::-1] if self.preprocessing.bgr else normalised

    def encode(self, pixels: Floats) -> NDArray[Any]:
        """Returns the bits of an image (C, *space) as the engine stores it, one row of unsigned integers (C·Π space,).

        Example:
            >>> Storage(type="bf16").encode(np.ones((1, 2), np.float32)).tolist()
            [16256, 16256]
        """
        bits = self._bits(self.prepare(np.asarray(pixels, np.float32)))
        if self.layout == "NCHW":
            return np.ascontiguousarray(bits).ravel()
        last = np.empty((*bits.shape[1:], len(bits)), bits.dtype)
        for channel, plane in enumerate(bits):  # faster than a copy of the transposed array
            last[..., channel] = plane
        return last.ravel()

    def _bits(self, values: Floats) -> NDArray[Any]:
        if self.type == "fp16":
            with np.errstate(over="ignore"):
                return np.asarray(values.astype(np.float16).view(np.uint16))
        if self.type == "bf16":
            return bf16_bits(values)
        if self.type == "int8":
            steps = np.clip(np.rint(values / np.float32(self.scale)), -128, 127)
            return np.asarray(steps.astype(np.int8).view(np.uint8))
        return np.asarray(values.view(np.uint32))

    def arrange(self, step_map: NDArray[Any]) -> NDArray[Any]:
        """Returns a step map (1 or C, *space) in the order of the stored elements, one row.

        A map with one step for each channel value follows the layout; and the channels, where they are reversed.
        """
        if len(step_map) == 1:
            return np.ascontiguousarray(step_map).ravel()
        if self.preprocessing is not None and self.preprocessing.bgr:
            step_map = step_map[::-1]
        return np.ascontiguousarray(np.moveaxis(step_map, 0, -1) if self.layout == "NHWC" else step_map).ravel()


def bf16_bits(values: Floats) -> NDArray[np.uint16]:
    """Returns bfloat16 bits of float32 values, rounded to nearest with ties to even; a NaN stays one."""
    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1  # in place from here: half the time of new arrays
    rounded += bits
    rounded += np.uint32(0x7FFF)
    rounded >>= 16
    halves = rounded.astype(np.uint16)
    if (unknown := np.isnan(values)).any():
        halves[unknown] = (bits[unknown] >> 16) | 0x40
    return halves
