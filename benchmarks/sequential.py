"""How often is `--until-separated` wrong, and how many images does it take?

Four methods on one set of images, made here: `a` and `b` equal on average and different on every image, `c` better by
0.06, `d` by 0.012 where the margin is 0.01; differences have heavy tails. The set is reshuffled thousands of times and
every reshuffle is fed image by image to the rule at 0.95 until all six pairs have a verdict. Wrong is a run with any
wrong verdict or any final interval that misses its mean. Beside it, on the same orders: looking after every image with
paired t-tests, Bonferroni-corrected over the six pairs, and stopping at the first that is significant.

    python benchmarks/sequential.py
"""

from __future__ import annotations

import time
from itertools import combinations

import common
import numpy as np

from c2i_fast.reliability.sequential import SequentialComparison
from c2i_fast.types import Doubles

NAMES = "abcd"
PAIRS = list(combinations(NAMES, 2))
MARGIN = 0.01
SPREADS = (0.05,)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--reshuffles", type=int, default=2000, help="of the images (%(default)s)")
    parser.add_argument("--set-size", type=int, default=600, help="images of the set (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.reshuffles, options.set_size = 20, 200
    rows = []
    with common.watched(results := {}):
        for spread in SPREADS:
            scores = planted(options.set_size, spread)
            rows += [measured(scores, spread, estimand, options.reshuffles) for estimand in ("set", "population")]
    results["rows"] = rows
    common.show(
        f"{options.reshuffles} reshuffles of {options.set_size} images, 95 %, margin {MARGIN}",
        (
            "spread",
            "estimand",
            "wrong",
            "upper limit",
            "with t-tests",
            "images to the end",
            "to a verdict on …",
            "ms an image",
        ),
        [shown(row) for row in rows],
    )
    common.emit("sequential", options, results)


def planted(images: int, spread: float) -> Doubles:
    """Returns scores (4, images) in [0, 1] whose paired differences have about this standard deviation."""
    rng = np.random.default_rng(0)
    noise = rng.laplace(size=(4, images)) * np.array([[0.0], [1.0], [1.0], [0.7]]) * spread / 2**0.5
    noise -= noise.mean(axis=1, keepdims=True)
    return 0.2 + 0.4 * rng.random(images) + noise + np.array([[0.0], [0.0], [0.06], [0.012]])


def measured(scores: Doubles, spread: float, estimand: str, reshuffles: int) -> dict[str, object]:
    """Returns how often the rule, and t-tests, are wrong, and what the rule takes."""
    images, seconds = scores.shape[1], 0.0
    means = {name: float(row.mean()) for name, row in zip(NAMES, scores, strict=True)}
    wrong = peeked = fed = 0
    lengths, decided = [], {pair: [] for pair in PAIRS}
    for reshuffle in range(reshuffles):
        rng = np.random.default_rng([1, reshuffle])
        order = rng.permutation(images) if estimand == "set" else rng.integers(images, size=images)
        race = SequentialComparison(PAIRS, bound=1, margin=MARGIN, images=images if estimand == "set" else None)
        clock = time.perf_counter()
        for place in order:
            if race.update(dict(zip(NAMES, scores[:, place].tolist(), strict=True))):
                break
        seconds += time.perf_counter() - clock
        state = race.state()
        wrong += any(is_wrong(pair, means[pair.first] - means[pair.second]) for pair in state)
        peeked += t_tests_are_wrong(scores[:, order], means)
        lengths.append(race.seen)
        fed += race.seen
        for pair in state:
            decided[pair.first, pair.second].append(pair.decided_at or np.inf)
    return {
        "spread": spread,
        "estimand": estimand,
        "reshuffles": reshuffles,
        "images": images,
        "wrong": wrong,
        "upper_limit": upper_limit(wrong, reshuffles),
        "wrong_with_t_tests": peeked,
        "median_images": float(np.median(lengths)),
        "median_decided": {"−".join(pair): float(np.median(at)) for pair, at in decided.items()},
        "ms_per_image": 1000 * seconds / fed,
    }


def is_wrong(pair: object, true: float) -> bool:
    """Returns whether a verdict or an interval contradicts the true difference (equal means differ by rounding)."""
    low, high = pair.interval
    sign = pair.verdict == "separated" and (abs(true) < 1e-12 or true * pair.difference < 0)
    equal = pair.verdict == "equivalent" and abs(true) >= MARGIN
    return sign or equal or not low - 1e-9 <= true <= high + 1e-9


def t_tests_are_wrong(scores: Doubles, means: dict[str, float]) -> bool:
    """Returns whether a t-test of any pair, looked at from image 10 on, is ever significant with the wrong sign."""
    from scipy.stats import t

    n = np.arange(1, scores.shape[1] + 1)
    edge = t.ppf(1 - 0.025 / len(PAIRS), np.maximum(n - 1, 1))
    for first, second in PAIRS:
        x = scores[NAMES.index(first)] - scores[NAMES.index(second)]
        mean = np.cumsum(x) / n
        spread = np.sqrt(np.maximum(np.cumsum(x**2) - n * mean**2, 0) / np.maximum(n - 1, 1))
        true = means[first] - means[second]
        true = 0.0 if abs(true) < 1e-12 else true
        found = np.abs(mean) > edge * spread / np.sqrt(n)
        if (found & (mean * true <= 0))[9:-1].any():
            return True
    return False


def upper_limit(wrong: int, total: int) -> float:
    """Returns the upper end of the 95 % Clopper–Pearson interval."""
    from scipy.stats import binomtest

    return float(binomtest(wrong, total).proportion_ci(0.95, method="exact").high)


def shown(row: dict) -> list[str]:
    """Returns a row as text."""
    ends = ", ".join(f"{pair} {at:.0f}" for pair, at in row["median_decided"].items())
    wrong, total = row["wrong"], row["reshuffles"]
    return [
        f"{row['spread']:g}",
        row["estimand"],
        f"{wrong} ({wrong / total:.2%})",
        f"{row['upper_limit']:.3f}",
        f"{row['wrong_with_t_tests'] / total:.1%}",
        f"{row['median_images']:.0f}",
        ends,
        f"{row['ms_per_image']:.2f}",
    ]


if __name__ == "__main__":
    main()
