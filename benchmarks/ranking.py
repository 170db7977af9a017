"""How long does ranking a saliency map take?

`pixel_order` of a 224×224 float32 map without flat areas, beside NumPy's stable argsort of the same values, in turns,
in one thread. Both give the same order, which is checked first.

    python benchmarks/ranking.py
"""

from __future__ import annotations

import common
import numpy as np

from c2i_fast.bench.scoring import smooth_noise
from c2i_fast.bench.timing import Latency, TimingRules, take_turns
from c2i_fast.perturb.order import pixel_order

SIDE = 224
MAPS = 16


def main() -> None:
    options = common.arguments(__doc__).parse_args()
    maps = smooth_noise(MAPS, (1, SIDE, SIDE), seed=0)[:, 0]
    for saliency in maps:
        np.testing.assert_array_equal(pixel_order(saliency), np.argsort(-saliency.ravel(), kind="stable"))
    seconds = 0.1 if options.quick else 3.0
    found = {}
    with common.watched(results := {}):
        taken = take_turns(
            {
                "pixel_order": lambda: [pixel_order(m) for m in maps],
                "numpy stable argsort": lambda: [np.argsort(-m.ravel(), kind="stable") for m in maps],
            },
            TimingRules(seconds=seconds, iterations=max(options.repeats, 3)),
        )
    for name, times in taken.items():
        found[name] = {"ms_per_map": Latency.of(times / MAPS).p50_ms, "calls": len(times) * MAPS}
    ours, theirs = (found[name]["ms_per_map"] for name in found)
    results |= {"side": SIDE, "maps": MAPS, "rankings": found, "ratio": theirs / ours}
    common.show("ranking a 224×224 map", ["", "median ms"], [[n, f"{f['ms_per_map']:.3f}"] for n, f in found.items()])
    common.emit("ranking", options, results)


if __name__ == "__main__":
    main()
