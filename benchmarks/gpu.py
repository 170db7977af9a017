"""What do the kernels and scoring reach on this GPU?

    make bench-gpu                                   everything, and a table with the GPU's name in benchmarks/results/
    python benchmarks/gpu.py --case resnet50 --engine torch:fp16
    python benchmarks/gpu.py --device host --quick   the same code on the CPU, for tests: its numbers mean nothing

Nothing is timed before it is right: masks of every type and layout equal NumPy's bit for bit, ranks equal, read-outs
within 1e-6, the same under compute-sanitizer (memcheck and racecheck) where it is installed, and every engine's scores
within a tolerance of the torch module's on the CPU.

- *kernels*: bytes `mask_select` writes a second ÷ bytes memset writes a second, same buffer, in turns; every rung of
  its ladder; bytes of a chain of torch operations ÷ those it writes; microseconds a map of `rank_steps`.
- *link*: GB a second up from pinned and pageable memory, and down.
- *scoring*: masked images scored a second ÷ images a second of the same engine at its best batch size, fed from device
  memory. Scoring starts from arrays in host memory and ends with scores in memory: ranking, planning, uploads, masks,
  network, read-outs. 225 and 33 points a curve, deletion and insertion; and an awkward shape: 37 images, 29 intervals,
  three methods. Beside it: what CUDA graphs and overlapped uploads are worth (the rate with ÷ the rate without);
  transfers and compute apart, each by itself as a share of the time taken; the host's processor time a pass beside a
  device that takes none; bytes sent to the device ÷ bytes of the masked images. Where masks are made in the graph, raw
  is fed from the host as well.
- *peers*: torchcam's and Quantus' metrics around the same torch module on the same GPU, per pass, at their best batch,
  after their curves agree with ours.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import common
from gpu_kernels import check_kernels, open_device, sanitised, time_kernels, time_link
from gpu_scoring import MODELS, peers, scoring

from c2i_fast.errors import C2IError

ENGINES = (
    *("torch:fp32", "torch:fp16", "torch:bf16", "onnxruntime:fp32", "tensorrt:fp32"),
    *("onnxruntime-scorer:fp32", "onnxruntime-tensorrt:fp32"),
)


def main() -> int:
    parser = common.arguments(__doc__, repeats=5)
    parser.add_argument("--device", default="cuda", choices=("cuda", "host"), help="host runs the kernels on the CPU")
    parser.add_argument("--engine", action="append", metavar="NAME:PRECISION", help=f"default {', '.join(ENGINES)}")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each raw timing (%(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="leave torchcam and Quantus out")
    options = parser.parse_args()
    options.engine = options.engine or list(ENGINES)
    if options.quick:
        options.seconds, options.repeats = 0.01, 1
    try:
        device = open_device(options.device)
        checked = check_kernels(device)
    except C2IError as error:
        common.say(f"error: {error}")
        return 1
    common.say(f"on {device.name}: {checked} masks, ranks and read-outs are right")
    tools = sanitised() if options.device == "cuda" else {"skipped": "no GPU"}
    common.say("compute-sanitizer: " + "; ".join(f"{tool} {said}" for tool, said in tools.items()))
    if any("FAILED" in said for said in tools.values()):
        return 1
    found: dict[str, Any] = {"gpu": device.name, "includes": __doc__, "sanitizer": tools}
    found |= {"kernels": time_kernels(device, options), "link_gb_per_s": time_link(device, options)}
    names = [name for name in options.case or MODELS if name in MODELS]
    found["rows"] = [with_shares(row, found) for name in names for row in scoring(name, device, options)]
    found["peers"] = [] if options.no_peers else [row for name in names for row in peers(name, device, options)]
    _tables(found)
    if options.device == "cuda" and not options.quick:
        _keep(found)
    common.emit("gpu", options, found)
    return 0


def with_shares(row: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Returns the row with what its uploads and its network take, each alone, as shares of the time taken."""
    if "sent_bytes" not in row:
        return row
    seconds = row["passes"] / row["passes_per_s"]
    transfers = row["sent_bytes"] / (found["link_gb_per_s"]["up_pinned"] * 1e9)
    return row | {"transfers_share": transfers / seconds, "network_share": row["efficiency"]["median"]}


def _tables(found: dict[str, Any]) -> None:
    written, shares = found["kernels"]["gb_per_s"], found["kernels"]["of_memset"]
    common.show(
        f"kernels on {found['gpu']}, {found['kernels']['buffer_bytes'] / 2**20:,.0f} MiB of fp16",
        ("kernel", "GB/s written", "of memset"),
        [[name, f"{rate:,.1f}", common.spread(shares[name])] for name, rate in written.items()],
    )
    link = ", ".join(f"{name} {rate:,.1f}" for name, rate in found["link_gb_per_s"].items())
    common.say(f"link, GB/s: {link}; {found['kernels']['rank_us_per_map_with_transfers']:,.0f} µs to rank a map")
    heads = (
        *("network", "engine", "shape", "raw images/s (batch)", "passes/s", "efficiency", "|Δ score|"),
        *("graphs", "overlap", "bytes sent", "uploads alone", "host µs/pass (main)"),
    )
    done = [row for row in found["rows"] if "skipped" not in row]
    common.show(f"scoring on {found['gpu']}", heads, [_line(row) for row in done])
    best = {row["network"]: row["passes_per_s"] for row in done if row["engine"] == "torch:fp32"}
    for row in found["peers"]:
        rates = ", ".join(f"batch {batch}: {rate:,.1f}" for batch, rate in row["passes_per_s"].items())
        ours = best.get(row["network"])
        ratio = f"; ours ÷ theirs {ours / max(row['passes_per_s'].values()):,.1f}" if ours else ""
        common.say(f"{row['network']} {row['peer']}, passes/s: {rates}{ratio}")


def _line(row: dict[str, Any]) -> list[str]:
    kernels = "worth" in row
    return [
        row["network"],
        row["engine"],
        row["shape"],
        f"{row['raw'][row['batch']]:,.0f} ({row['batch']})",
        f"{row['passes_per_s']:,.0f}",
        common.spread(row["efficiency"]),
        f"{row['max_abs_dscore']:.1e}",
        common.spread(row["worth"]["no graphs"]) if kernels else "",
        common.spread(row["worth"]["no overlap"]) if kernels else "",
        f"{row['sent_over_masked']:.4f}" if kernels else "",
        f"{row['transfers_share']:.1%}" if kernels else "",
        "{all_threads:.1f} ({main:.1f})".format(**row["host_us_per_pass"]) if kernels else "",
    ]


def _keep(found: dict[str, Any]) -> None:
    """Writes benchmarks/results/<date>-<gpu>.json."""
    gpu = re.sub(r"[^a-z0-9]+", "-", found["gpu"].lower()).strip("-")
    path = common.ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{gpu}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    common.say(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
