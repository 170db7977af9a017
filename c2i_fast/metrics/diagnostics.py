"""What a reader should know of a score beside its value: what its own passes say against it."""

from __future__ import annotations

from collections.abc import Sequence

from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.types import Doubles

SATURATED = 0.999
STILL_HIGH = 0.5
PROBABILITIES = ("raw", "calibrated", "sigmoid")


def pass_warnings(readout: str, protocols: Sequence[Protocol], lengths: Sequence[int], values: Doubles) -> list[str]:
    """Returns warnings of a clean image that is all but certain and of an end image that is still recognised.

    Above 0.999 a probability hardly follows the logits, and a curve stays flat until they have fallen far. A wholly
    perturbed image with more than half the clean one's probability shows nothing of it and is recognised all the same:
    the area then measures the baseline.

    Args:
        readout: what was read; logits have no such bounds, and no warnings.
        protocols: of the metric; only curves that run from the whole image to the whole baseline, or back, are judged.
        lengths: how many of the values belong to each protocol.
        values: float64, the read-outs of the first protocol's points, then the others'.

    Example:
        >>> import numpy as np
        >>> curve = CurveProtocol(name="c2i", metric="deletion", intervals=2)
        >>> pass_warnings("raw", [curve], [3], np.array([0.9995, 0.7, 0.6]))
        ['saturated=0.9995', 'end still high=0.60']
    """
    protocol = protocols[0]
    if readout not in PROBABILITIES or not isinstance(protocol, CurveProtocol) or not _whole(protocol):
        return []
    points = values[: lengths[0] - (protocol.value != "readout")]
    clean, end = (float(p) for p in (points[[0, -1]] if protocol.start == "image" else points[[-1, 0]]))
    found = [f"saturated={clean:.4f}"] if clean > SATURATED else []
    return found + ([f"end still high={end:.2f}"] if end > STILL_HIGH * clean else [])


def _whole(protocol: CurveProtocol) -> bool:
    partly = protocol.limit < 1 or protocol.most_steps is not None or protocol.counts in ("list", "percentile")
    return protocol.ends == "both" and not partly
