"""How often is `--until-separated` wrong, and how many images does it take?

Four methods on one set of images, made here: `a` and `b` equal on average and different on every image, `c` better by
0.06, `d` by 0.012 where the margin is 0.01; differences have heavy tails. The images are reshuffled thousands of times
(for the estimand `population`: drawn with replacement) and fed one by one to the rule at 0.95 on all six pairs. A run
is wrong if any verdict is, or if any sequence of intervals ever loses its mean. Beside it, on the same orders: looking
with paired t-tests after every image from the tenth on, at 0.05 Bonferroni-corrected over the pairs, and believing the
first that is significant. ms an image: the rule as `score` runs it, on six pairs.

    python benchmarks/sequential.py
"""

from __future__ import annotations

import time
from itertools import combinations
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from c2i_fast.reliability.sequential import Gamblers, SequentialComparison
from c2i_fast.types import Doubles

NAMES = "abcd"
PAIRS = list(combinations(NAMES, 2))
FIRST, SECOND = np.array(list(combinations(range(4), 2))).T
MARGIN, CONFIDENCE = 0.01, 0.95
SPREADS = (0.02, 0.05, 0.15)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--reshuffles", type=int, default=2000, help="of the images (%(default)s)")
    parser.add_argument("--set-size", type=int, default=1000, help="images of the set (%(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.reshuffles, options.set_size = 20, 200
    with common.watched(results := {}):
        results["rows"] = [
            measured(planted(options.set_size, spread), spread, estimand, options.reshuffles)
            for spread in SPREADS
            for estimand in ("set", "population")
        ]
        results["ms_per_image"] = cost(planted(options.set_size, SPREADS[0]))
    common.show(
        f"{options.reshuffles} reshuffles of {options.set_size} images, {CONFIDENCE:.0%}, margin {MARGIN}; "
        f"{results['ms_per_image']:.2f} ms an image",
        ("spread", "estimand", "wrong", "upper limit", "t-tests wrong", "median image of the verdict"),
        [shown(row) for row in results["rows"]],
    )
    common.emit("sequential", options, results)


def planted(images: int, spread: float) -> Doubles:
    """Returns scores (4, images) in [0, 1]; a − b has about this standard deviation."""
    rng = np.random.default_rng(0)
    noise = rng.laplace(size=(4, images)) * np.array([[0.0], [1.0], [1.0], [0.7]]) * spread / 2**0.5
    base = 0.2 + 0.4 * rng.random(images)
    noise = np.clip(noise, -0.2, 0.3)
    noise -= noise.mean(axis=1, keepdims=True)
    return np.clip(base + noise + np.array([[0.0], [0.0], [0.06], [0.012]]), 0, 1)


def measured(scores: Doubles, spread: float, estimand: str, reshuffles: int) -> dict[str, Any]:
    """Returns how often the rule, and t-tests, are wrong, and at which image verdicts fall; all reshuffles at once."""
    images, pairs = scores.shape[1], len(PAIRS)
    true = (scores[FIRST] - scores[SECOND]).mean(axis=1)
    true[np.abs(true) < 1e-12] = 0.0
    grid = np.unique(np.r_[-MARGIN, 0.0, MARGIN, true])
    finite = images if estimand == "set" else None
    gamblers = Gamblers(reshuffles * pairs, grid, bound=1, images=finite, tail=(1 - CONFIDENCE) / 2 / pairs)
    orders = np.stack([order(images, estimand, seed) for seed in range(reshuffles)])
    truth = np.tile(true, reshuffles)
    places, everyone = np.searchsorted(grid, truth), np.arange(reshuffles * pairs)
    wrong, peeked = np.zeros(reshuffles * pairs, bool), np.zeros(reshuffles * pairs, bool)
    at = np.full(reshuffles * pairs, np.inf)
    sums = np.zeros((2, reshuffles * pairs))
    for t in range(images):
        x = (scores[FIRST][:, orders[:, t]] - scores[SECOND][:, orders[:, t]]).T.ravel()
        gamblers.update(x)
        equivalent, separated = gamblers.verdicts(MARGIN)
        fresh = np.isinf(at) & (equivalent | separated)
        turned = separated & ~equivalent & (np.sign(gamblers.means()) * np.sign(truth) <= 0)
        wrong |= fresh & ((equivalent & (np.abs(truth) >= MARGIN)) | turned)
        at[fresh] = t + 1
        if gamblers.seen != finite:
            wrong |= gamblers.low_out[everyone, places] | gamblers.high_out[everyone, places]
            sums += x, x**2
            peeked |= t_test_is_wrong(sums, t + 1, truth)
    failed, fooled = (int(who.reshape(reshuffles, pairs).any(axis=1).sum()) for who in (wrong, peeked))
    return {
        "spread": spread,
        "estimand": estimand,
        "reshuffles": reshuffles,
        "images": images,
        "wrong": failed,
        "upper_limit": float(stats.binomtest(failed, reshuffles).proportion_ci(0.95, method="exact").high),
        "wrong_with_t_tests": fooled,
        "median_at": {
            "−".join(pair): float(median) if np.isfinite(median) else None
            for pair, median in zip(PAIRS, np.median(at.reshape(-1, pairs), axis=0), strict=True)
        },
    }


def order(images: int, estimand: str, seed: int) -> NDArray[np.int64]:
    """Returns the images of one run."""
    rng = np.random.default_rng([1, seed])
    return rng.permutation(images) if estimand == "set" else rng.integers(images, size=images)


def t_test_is_wrong(sums: Doubles, n: int, truth: Doubles) -> NDArray[np.bool_]:
    """Returns where a t-test is significant now and on the wrong side, or where there is no side."""
    if n < 10:
        return np.zeros(len(truth), bool)
    mean = sums[0] / n
    spread = np.sqrt(np.maximum(sums[1] - n * mean**2, 0) / (n - 1))
    edge = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / len(PAIRS), n - 1)
    return (np.abs(mean) > edge * spread / n**0.5) & (np.sign(mean) * np.sign(truth) <= 0)


def cost(scores: Doubles) -> float:
    """Returns what the rule costs an image, in ms, the median over images."""
    race = SequentialComparison(PAIRS, bound=1, margin=MARGIN, images=None)
    taken = []
    for column in scores.T.tolist():
        clock = time.perf_counter()
        race.update(dict(zip(NAMES, column, strict=True)))
        taken.append(time.perf_counter() - clock)
    return 1000 * float(np.median(taken))


def shown(row: dict[str, Any]) -> list[str]:
    """Returns a row as text."""
    ends = ", ".join(f"{pair} {'–' if at is None else f'{at:.0f}'}" for pair, at in row["median_at"].items())
    wrong, total = row["wrong"], row["reshuffles"]
    return [
        f"{row['spread']:g}",
        row["estimand"],
        f"{wrong} ({wrong / total:.2%})",
        f"{row['upper_limit']:.4f}",
        f"{row['wrong_with_t_tests'] / total:.1%}",
        ends,
    ]


if __name__ == "__main__":
    main()
