"""Noisy linear imputation (ROAD; Rong et al., ICML 2022): what is removed becomes the mean of what is around it.

A hole filled with one colour shows its outline, which a network can read; a hole filled from its rim does not. Each
removed pixel is the weighted mean of its eight neighbours, removed ones included, so all are solved for at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from c2i_fast.errors import InputError
from c2i_fast.perturb.multigrid import solve
from c2i_fast.types import Floats


def impute(image: Floats, removed: NDArray[np.bool_]) -> Floats:
    """Returns the picture (C, H, W), float32, with its removed pixels imputed linearly and without noise.

    The weights are 1/6 for the four neighbours beside and 1/12 for the four across; those outside the picture drop out
    and the others share their weight. The values are within those of what is left, and equal to a direct solution of
    the system to 1e-4 of their spread. Where nothing is left, each channel becomes its mean over the image.

    Args:
        image: in any affine space: imputation and normalisation can change places.
        removed: bool (H, W).

    Raises:
        InputError: The image is a signal.

    Example:
        >>> image = np.array([[[0, 9, 1]]], np.float32)
        >>> impute(image, np.array([[False, True, False]])).tolist()
        [[[0.0, 0.5, 1.0]]]
    """
    if image.ndim != 3:
        raise InputError(f"ROAD imputes pictures, and this image has shape {image.shape}; leave out the road metrics")
    if removed.all():
        return np.broadcast_to(image.mean(axis=(1, 2), keepdims=True, dtype=np.float64), image.shape).astype(np.float32)
    return solve(image, removed) if removed.any() else image
