"""Everything, one after the other, into one file: benchmarks/results/<date>-<cpu>.json.

    python benchmarks/all.py                  half an hour on two cores that nobody else uses
    python benchmarks/all.py --quick          a smoke run, written nowhere unless --out says so

`peers.py` runs where torchcam and Quantus are installed; `--peers-python` names the interpreter that has them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import common

from c2i_fast.bench.environment import cpu_model

HERE = Path(__file__).resolve().parent
BENCHMARKS = ("ranking", "sequential", "efficiency", "memory", "peers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="one of them (repeatable)")
    parser.add_argument("--peers-python", default=sys.executable, help="the interpreter for peers.py")
    parser.add_argument("--threads", type=int, default=common.THREADS, help="%(default)s")
    parser.add_argument("--out", type=Path, help="the file to write")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the numbers mean nothing")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in options.only or BENCHMARKS:
        python = options.peers_python if name == "peers" else sys.executable
        results[name] = _run(python, name, options)
    out = options.out or (None if options.quick else _default_path())
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        common.say(f"wrote {out}")


def _run(python: str, name: str, options: argparse.Namespace) -> Any:
    common.say(f"— {name}")
    command = [python, str(HERE / f"{name}.py"), "--threads", str(options.threads)]
    done = subprocess.run(command + (["--quick"] if options.quick else []), stdout=subprocess.PIPE, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"benchmark": name, "failed": done.returncode}


def _default_path() -> Path:
    cpu = re.sub(r"[^a-z0-9]+", "-", cpu_model().lower()).strip("-")
    return HERE / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{cpu}.json"


if __name__ == "__main__":
    main()
