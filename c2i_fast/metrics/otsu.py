"""What a map marks: everything above Otsu's threshold (Otsu, IEEE TSMC 1979), found by scikit-image."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np

from c2i_fast.errors import MissingDependencyError
from c2i_fast.protocols import OverlapProtocol, Protocol, VariationProtocol
from c2i_fast.types import Bools, Doubles


def takes_otsu(protocol: Protocol) -> bool:
    """Returns whether a protocol thresholds maps by Otsu's rule."""
    if isinstance(protocol, OverlapProtocol):
        return protocol.threshold == "otsu"
    return isinstance(protocol, VariationProtocol)


def check_installed() -> None:
    """Raises a `MissingDependencyError` without scikit-image."""
    if find_spec("skimage") is None:
        raise MissingDependencyError("scikit-image", "explain")


def marked(saliency: Doubles) -> Bools:
    """Returns where a map exceeds its Otsu threshold, of 256 bins between its extremes; nowhere on a constant map.

    The threshold is scikit-image's: the centre of the last bin below the cut that makes the variance between the two
    sides largest. (So the upper half of that bin is marked as well, which shows on maps of a few distinct values only.)

    Example:
        >>> marked(np.array([2.0, 2.0, 8.0, 9.0])).tolist()
        [False, False, True, True]
    """
    from skimage import filters

    threshold_otsu: Any = filters.threshold_otsu  # it has no types
    low, high = saliency.min(), saliency.max()
    if low == high:
        return np.zeros(saliency.shape, np.bool_)
    scaled = (saliency - low) / (high - low)  # so that tiny and huge maps have bins as well
    return np.asarray(scaled > threshold_otsu(scaled))
