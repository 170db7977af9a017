"""Does scoring more images take more memory?

The peak resident memory of `c2i-fast score` on 1000 images and on 100, each the command in a process of its own, under
the default protocol with raw and calibrated read-outs, and the ratio of the two. Images are files on disk, maps .npy
files at the network's size. The numbers are the system's own (`ru_maxrss` of the child), so Linux and macOS only.

    python benchmarks/memory.py
    python benchmarks/memory.py --case mobilenet
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

from c2i_fast.bench.raw import image_shape
from c2i_fast.calibration.file import save_calibrator

SIZES = (100, 1000)
QUICK_SIZES = (4, 8)
BYTES = 1 if sys.platform == "darwin" else 1024
COLUMNS = ("case", "images", "peak MiB", "images", "peak MiB", "ratio")


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--engine", default="auto", help="%(default)s")
    parser.add_argument("--precision", default="fp32", help="%(default)s")
    options = parser.parse_args()
    sizes = QUICK_SIZES if options.quick else SIZES
    rows: list[dict[str, Any]] = []
    for case in common.chosen_cases(options, ("mobilenet", "cifar")):
        try:
            rows.append({"case": case.name, **_measure(case, options, sizes)})
        except common.SkipError as reason:
            common.say(f"skipped {case.name}: {reason}")
            rows.append({"case": case.name, "skipped": str(reason)})
    common.show("peak memory of scoring", COLUMNS, [_line(row) for row in rows if "peaks" in row])
    common.emit("memory", options, {"includes": __doc__, "rows": rows})


def _measure(case: common.Case, options: argparse.Namespace, sizes: tuple[int, ...]) -> dict[str, Any]:
    classifier = case.classifier()
    source = case.source(classifier, max(sizes))
    if len(source) < max(sizes):
        raise common.SkipError(f"{max(sizes)} images are needed, {case.images} has {len(source)}")
    with tempfile.TemporaryDirectory(prefix="c2i-fast-bench-") as name:
        folder = Path(name)
        common.write_maps(source.ids, image_shape(classifier.contract)[1:], folder / "maps")
        save_calibrator(folder / "calibrator.json", case.calibrator(), classes=classifier.contract.classes, meta={})
        peaks = {size: peak(_command(case, options, folder, size)) for size in sizes}
    return {
        "engine": f"{options.engine} {options.precision}",
        "peaks": [{"images": size, "bytes": most} for size, most in peaks.items()],
        "ratio": peaks[max(sizes)] / peaks[min(sizes)],
    }


def _command(case: common.Case, options: argparse.Namespace, folder: Path, images: int) -> list[str]:
    command = [sys.executable, "-m", "c2i_fast", "score", case.model, "--images", str(case.images)]
    command += ["--maps", f"map={folder / 'maps'}", "--calibrator", str(folder / "calibrator.json")]
    command += ["--limit", str(images), "--out", str(folder / f"run-{images}"), "--threads", str(options.threads)]
    command += ["--engine", options.engine, "--precision", options.precision, "--json", "--quiet"]
    command += ["--recipe", case.recipe] if case.recipe else []
    return command + (["--random-weights"] if case.random_weights else [])


def peak(command: list[str]) -> int:
    """Returns the most bytes a command ever held resident."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, cwd=common.ROOT, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {errors.read().decode(errors='replace')}")
    common.say(f"peak {used.ru_maxrss * BYTES / 2**20:,.0f} MiB")
    return used.ru_maxrss * BYTES


def _line(row: dict[str, Any]) -> list[str]:
    cells = [[str(p["images"]), f"{p['bytes'] / 2**20:,.0f}"] for p in row["peaks"]]
    return [row["case"], *cells[0], *cells[1], f"{row['ratio']:.2f}"]


if __name__ == "__main__":
    main()
