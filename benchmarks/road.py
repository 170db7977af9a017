"""How fast is ROAD's imputation, beside pytorch-grad-cam's?

The 18 imputations of an image in ROADCombined: 10, 20, …, 90 % of the pixels, most and least relevant first, noise off,
network excluded. Both get the same picture and the same masks, one thread, in turns; the answers are compared first.
Maps are random fields of three smoothnesses, from scattered pixels to large holes.

    python benchmarks/road.py
    python benchmarks/road.py --size 448 --repeats 5
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

import common  # noqa: E402
import numpy as np  # noqa: E402

from c2i_fast.metrics.road import RoadProtocol, removals  # noqa: E402
from c2i_fast.perturb.imputer import impute  # noqa: E402

PERCENTAGES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
SMOOTHNESS = {"scattered": 0.0, "mid": 3.0, "smooth": 16.0}
AGREE = 1e-4


def main() -> None:
    parser = common.arguments(__doc__, threads=1, repeats=3)
    parser.add_argument("--size", type=int, default=224, help="side of the picture (%(default)s)")
    options = parser.parse_args()
    size, turns = (48, 1) if options.quick else (options.size, options.repeats)
    results: dict[str, Any] = {"includes": __doc__, "size": size, "rows": []}
    with common.watched(results):
        results["rows"] = [_row(name, size, turns) for name in SMOOTHNESS]
    columns = ("maps", "ours ms/image", "pytorch-grad-cam ms/image", "ratio", "largest difference")
    common.show(f"18 imputations of a {size}×{size} picture", columns, [_line(row) for row in results["rows"]])
    common.emit("road", options, results)


def _row(name: str, size: int, turns: int) -> dict[str, Any]:
    image, masks = _picture(size), _masks(size, SMOOTHNESS[name])
    ours, theirs = partial(impute, image), _theirs(image)
    difference = max(float(np.abs(ours(mask) - theirs(mask)).max()) for mask in masks)
    if difference > AGREE:
        raise SystemExit(f"{name}: the imputations differ by {difference:.1e}; nothing is timed")
    rates = common.rates_in_turns({"ours": partial(_all, ours, masks), "theirs": partial(_all, theirs, masks)}, turns)
    return {
        "maps": name,
        "ours_ms": common.middle(18e3 / rates["ours"]),
        "theirs_ms": common.middle(18e3 / rates["theirs"]),
        "ratio": common.middle(rates["ours"] / rates["theirs"]),
        "difference": difference,
    }


def _all(imputed: Callable[[Any], Any], masks: list[Any]) -> int:
    for mask in masks:
        imputed(mask)
    return len(masks)


def _theirs(image: Any) -> Callable[[Any], Any]:
    try:
        import torch
        from pytorch_grad_cam.metrics.road import NoisyLinearImputer
    except ImportError as error:
        raise SystemExit(f"{error}; install grad-cam to compare with it") from error
    torch.set_num_threads(1)
    imputer, picture = NoisyLinearImputer(noise=0.0), torch.from_numpy(image)
    return lambda mask: imputer(picture, torch.from_numpy((~mask).astype(np.float32))).numpy()


def _picture(size: int) -> Any:
    """A random picture in [0, 1] with coarse and fine structure."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    coarse = ndimage.gaussian_filter(rng.random((3, size, size)), (0, 3, 3)) * 6 - 2.5
    return np.clip(coarse + 0.1 * rng.random((3, size, size)), 0, 1).astype(np.float32)


def _masks(size: int, smoothness: float) -> list[Any]:
    from scipy import ndimage

    saliency = ndimage.gaussian_filter(np.random.default_rng(1).random((size, size)), smoothness).astype(np.float32)
    made = []
    for order in ("morf", "lerf"):
        protocol = RoadProtocol(name="benchmark", metric="road-combined", order=order, percentages=PERCENTAGES)
        made += removals(saliency, protocol)
    return made


def _line(row: dict[str, Any]) -> list[str]:
    times = [f"{row[name]['median']:.0f}" for name in ("ours_ms", "theirs_ms")]
    return [row["maps"], *times, common.spread(row["ratio"]), f"{row['difference']:.1e}"]


if __name__ == "__main__":
    main()
