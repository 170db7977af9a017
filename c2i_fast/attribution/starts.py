"""Where integrated gradients start from: a baseline of each image by name, noise, or files of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import BASELINES, Given, baseline_image
from c2i_fast.random_numbers import generator
from c2i_fast.types import Floats, Preprocessing


def starts_of(name: str, ids: Sequence[str], images: Floats, preprocessing: Preprocessing, seed: int) -> Floats:
    """Returns the baselines of images (N, C, *space), in the units of `pixels`, float32, the same shape.

    Args:
        name: one of `BASELINES`; `uniform`, noise in [0, 1) of the image's own id; or `file:PATH`, PATH an .npy of one
            image (C, *space) for all, such as another image, or a folder with `<image id>.npy` for each, such as
            counterfactuals.
        ids: of the images.
        images: float32.
        preprocessing: says what `mean` is.
        seed: of `uniform`.

    Example:
        >>> starts_of("white", ["a"], np.zeros((1, 1, 1, 2), np.float32), Preprocessing(), 0).tolist()
        [[[[1.0, 1.0]]]]
    """
    if name.startswith("file:"):
        return _from_files(Path(name.removeprefix("file:")), ids, images)
    if name == "uniform" and name not in BASELINES:
        noise = [generator(seed, "uniform-baseline", i).random(images.shape[1:], np.float32) for i in ids]
        return np.array(noise, np.float32).reshape(images.shape)
    made = [
        baseline_image(name, Given(pixels=image, preprocessing=preprocessing, image=i, seed=seed))
        for i, image in zip(ids, images, strict=True)
    ]
    return np.array(made, np.float32).reshape(images.shape)


def _from_files(path: Path, ids: Sequence[str], images: Floats) -> Floats:
    if not path.exists():
        raise InputError(f"baseline file:{path}: no such file or folder; give an .npy, or a folder of <image id>.npy")
    chosen = [path / f"{i}.npy" for i in ids] if path.is_dir() else [path] * len(ids)
    return np.array([_image(file, images.shape[1:]) for file in chosen], np.float32).reshape(images.shape)


def _image(file: Path, shape: tuple[int, ...]) -> Floats:
    try:
        image = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the baseline {file}: {error}") from error
    if not isinstance(image, np.ndarray) or image.shape != shape:
        came = image.shape if isinstance(image, np.ndarray) else "an archive"
        raise InputError(f"baseline {file}: expected one image {shape}, got {came}")
    if image.dtype.kind != "f" or not np.isfinite(image).all():
        raise InputError(
            f"baseline {file}: expected finite floats in the units of pixels (0 to 1), got {image.dtype}; divide by 255"
        )
    return np.asarray(image, np.float32)
