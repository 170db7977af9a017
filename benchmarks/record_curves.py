"""Full curves of real networks, kept on disk, so that estimators can be replayed on them without another pass.

Every map is scored by `c2i-fast score` at 225 points a curve (224 equal-count intervals, baseline mean, the smallest
step of RISE's single-image protocol), deletion and deletion-lerf, raw and calibrated. These two curves are all four:
insertion-lerf and insertion are their mirrors. One file a network: OUT/NET.npz with
`curves` float64 (methods, read-outs, curves, images, 225), `fractions` (225,), and the names along the axes.

    python benchmarks/record_curves.py --out curves/                 two CIFAR-10 networks, 300 images, six methods
    python benchmarks/record_curves.py --out curves/ --net squeezenet --images 40 --method rise --method sobel
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np

INTERVALS = 224
CURVES = ("deletion", "deletion-lerf")
READOUTS = ("raw", "calibrated")
METHODS = ("rise", "gradcam", "gradient", "sobel", "smooth-random", "random")
NEEDS_TORCH = {"gradcam", "gradient"}
CALIBRATION_IMAGES = 500  # the last ones of the source, which are not scored


@dataclass(frozen=True, kw_only=True)
class Net:
    """A network: `case` says how it is scored; `module` names the torch callable that makes its gradients."""

    case: str
    module: str | None = None
    weights: str | None = None


def _cifar(case: str, name: str) -> Net:
    weights = common.ASSETS / "models" / "cifar10" / f"{name}.safetensors"
    return Net(case=case, module=f"tests.models.nets:{name}", weights=str(weights))


NETS = {
    "resnet20": _cifar("cifar", "resnet20"),
    "resnet56": _cifar("cifar56", "resnet56"),
    "squeezenet": Net(case="squeezenet"),
    "mobilenet": Net(case="mobilenet"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder for the files")
    parser.add_argument("--net", action="append", choices=list(NETS), help="default resnet20 and resnet56")
    parser.add_argument("--method", action="append", choices=METHODS, help="default all that the network can do")
    parser.add_argument("--images", type=int, default=300, help="%(default)s")
    parser.add_argument("--masks", type=int, default=400, help="of rise (%(default)s)")
    parser.add_argument("--threads", type=int, default=common.THREADS, help="%(default)s")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.net or ("resnet20", "resnet56"):
        net = NETS[name]
        methods = [m for m in options.method or METHODS if net.module or m not in NEEDS_TORCH]
        with tempfile.TemporaryDirectory(prefix="c2i-fast-curves-") as folder:
            found = _record(net, methods, Path(folder), options)
        np.savez_compressed(options.out / f"{name}.npz", **found)
        common.say(f"wrote {options.out / name}.npz: curves {found['curves'].shape}")


def _record(net: Net, methods: list[str], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Returns what one file holds, by the project's own commands."""
    case = common.CASES[net.case]
    images, threads = str(case.images), ("--threads", str(options.threads))
    bare = (case.model, "--recipe", case.recipe, "--images")
    held_out = _last_images(images, folder)
    _command("calibrate", *bare, held_out, "--out", folder / "cal.json", *threads)
    limit = ("--images", images, "--limit", str(options.images), *threads, "--quiet")
    for method in methods:
        masks = ("--masks", str(options.masks)) if method == "rise" else ()
        torch = method in NEEDS_TORCH
        model = (net.module, "--weights", net.weights, "--size", "32") if torch else (case.model,)
        _command(
            "explain", *model, "--recipe", case.recipe, *limit, "--method", method, *masks, "--out", folder / method
        )
    _command(
        "score",
        case.model,
        *("--recipe", case.recipe, *limit, "--out", folder / "run", "--calibrator", folder / "cal.json"),
        *("--set", f"intervals={INTERVALS}"),
        *(flag for curve in CURVES for flag in ("--metric", curve)),
        *(flag for readout in READOUTS for flag in ("--readout", readout)),
        *(flag for method in methods for flag in ("--maps", folder / method)),
    )
    return _collected(folder / "run", methods)


def _last_images(images: str, folder: Path) -> str:
    """Returns a source of the last images with their labels, for the calibrator alone."""
    if images.endswith(".npz"):
        with np.load(images) as data:
            path = folder / "held-out.npz"
            np.savez(path, images=data["images"][-CALIBRATION_IMAGES:], labels=data["labels"][-CALIBRATION_IMAGES:])
        return str(path)
    head, *rows = Path(images).read_text(encoding="utf-8").splitlines()
    path = Path(images).parent
    absolute = [f"{path / row}" for row in rows[-CALIBRATION_IMAGES:]]
    (folder / "held-out.csv").write_text("\n".join([head, *absolute]) + "\n", encoding="utf-8")
    return str(folder / "held-out.csv")


def _command(*words: Any) -> None:
    command = [sys.executable, "-m", "c2i_fast", *(str(word) for word in words)]
    common.say(f"$ {' '.join(command[2:])}")
    subprocess.run(command, check=True, cwd=common.ROOT, stdout=sys.stderr)


def _collected(run: Path, methods: list[str]) -> dict[str, Any]:
    """Returns the rows of a run as one array over methods, read-outs, curves, images and points."""
    import pyarrow.dataset as ds

    table = ds.dataset(sorted(run.glob("scores/part-*.parquet"))).to_table()
    rows = table.select(["image", "method", "metric", "readout", "curve", "fractions"]).to_pylist()
    images = list(dict.fromkeys(row["image"] for row in rows))
    place = {name: index for index, name in enumerate(images)}
    curves = np.full((len(methods), len(READOUTS), len(CURVES), len(images), INTERVALS + 1), np.nan)
    for row in rows:
        where = methods.index(row["method"]), READOUTS.index(row["readout"]), CURVES.index(row["metric"])
        curves[(*where, place[row["image"]])] = row["curve"]
    assert np.isfinite(curves).all()
    names = {"methods": methods, "readouts": READOUTS, "metrics": CURVES, "images": images}
    return {"curves": curves, "fractions": rows[0]["fractions"], **{key: np.array(v) for key, v in names.items()}}


if __name__ == "__main__":
    main()
