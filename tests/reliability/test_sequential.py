"""Sequential verdicts: equal to the definition by loops, and wrong no more often than they say, however one looks."""

from __future__ import annotations

from itertools import combinations
from math import log, log1p, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from c2i_fast.reliability.sequential import CUT, PRIOR_VARIANCE, Gamblers, SequentialComparison

examples = settings(deadline=None, derandomize=True, max_examples=25)
PAIR = [("a", "b")]


def capitals_by_loops(differences, candidate, *, bound, images, log_threshold):
    """log K of the two gamblers against one candidate, image by image, from the formulas of the paper."""
    x = [(d / bound + 1) / 2 for d in differences]
    m = (candidate / bound + 1) / 2
    low = high = 0.0
    squares, mean, path = PRIOR_VARIANCE, 0.5, []
    for t, value in enumerate(x, 1):
        now = m if images is None else (images * m - sum(x[: t - 1])) / (images - t + 1)
        if now < 0 or now > 1:
            path.append((np.inf if now < 0 else low, np.inf if now > 1 else high))
            return path
        bet = sqrt(2 * log_threshold / (squares / t * t * log1p(t)))
        low += log(1 + min(bet, CUT / max(now, 1e-9)) * (value - now))
        high += log(1 - min(bet, CUT / max(1 - now, 1e-9)) * (value - now))
        path.append((low, high))
        new = (0.5 + sum(x[:t])) / (t + 1)
        squares += (value - mean) * (value - new)
        mean = new
    return path


@examples
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([1.0, 2.0]), st.sampled_from([0.0, 0.05, 0.3]))
def test_it_is_its_definition(seed, finite, bound, shift):
    rng = np.random.default_rng(seed)
    differences = np.clip(rng.normal(shift, 0.1, 60), -bound, bound)
    images = 80 if finite else None
    race = SequentialComparison(PAIR, bound=bound, margin=0.02, images=images)
    threshold = log(2 / 0.05)
    paths = {
        m: capitals_by_loops(differences, m, bound=bound, images=images, log_threshold=threshold)
        for m in (-0.02, 0.0, 0.02)
    }
    expected = None
    for t, d in enumerate(differences):
        race.update({"a": float(d), "b": 0.0})
        low = {m: max(p[0] for p in path[: t + 1]) >= threshold for m, path in paths.items()}
        high = {m: max(p[1] for p in path[: t + 1]) >= threshold for m, path in paths.items()}
        if expected is None and low[-0.02] and high[0.02]:
            expected = ("equivalent", t + 1)
        elif expected is None and (low[0.0] or high[0.0]):
            expected = ("separated", t + 1)
        (pair,) = race.state()
        assert (pair.verdict, pair.decided_at) == (expected or ("undecided", None))
        assert pair.difference == pytest.approx(differences[: t + 1].mean(), abs=1e-9)


def planted(images, seed):
    """Four methods: b equals a on average and on no image, c is better by 0.06, d by 0.012, just over the margin."""
    rng = np.random.default_rng(seed)
    base = rng.random(images) * 0.3
    noise = rng.laplace(size=(4, images)) * np.array([[0.0], [0.03], [0.04], [0.02]])
    noise -= noise.mean(axis=1, keepdims=True)
    return np.clip(base + 0.3 + noise + np.array([[0.0], [0.0], [0.06], [0.012]]), 0, 1)


def family_wise_errors(scores, *, repeats, images, margin=0.01, longest=400) -> int:
    """Runs with any wrong verdict on the six pairs, or any sequence that ever lost its mean; all runs at once."""
    first, second = np.array(list(combinations(range(4), 2))).T
    true = (scores[first] - scores[second]).mean(axis=1)
    true[np.abs(true) < 1e-12] = 0.0
    grid = np.unique(np.r_[-margin, 0.0, margin, true])
    gamblers = Gamblers(repeats * 6, grid, bound=1, images=images, tail=0.05 / 2 / 6)
    count = scores.shape[1]
    length = images or longest
    orders = np.stack(
        [
            rng.permutation(count) if images else rng.integers(count, size=length)
            for rng in (np.random.default_rng([repeat]) for repeat in range(repeats))
        ]
    )
    open_, error = np.ones(repeats * 6, bool), np.zeros(repeats * 6, bool)
    truth = np.tile(true, repeats)
    place = np.searchsorted(grid, truth)
    for t in range(length):
        now = scores[:, orders[:, t]]
        gamblers.update((now[first] - now[second]).T.ravel())
        equivalent, separated = (who & open_ for who in gamblers.verdicts(margin))
        sign = np.sign(gamblers.means()) * np.sign(truth) <= 0
        error |= (equivalent & (np.abs(truth) >= margin)) | (separated & ~equivalent & sign)
        rows = np.arange(repeats * 6)
        if gamblers.seen != images:
            error |= gamblers.low_out[rows, place] | gamblers.high_out[rows, place]
        open_ &= ~(equivalent | separated)
    return int(error.reshape(repeats, 6).any(axis=1).sum())


def upper_limit(errors, repeats) -> float:
    return stats.binomtest(errors, repeats).proportion_ci(0.95, method="exact").high


@pytest.mark.parametrize("images", [80, None], ids=["set", "population"])
def test_verdicts_are_seldom_wrong(images):
    errors = family_wise_errors(planted(80, 0), repeats=300, images=images, longest=80)
    assert errors / 300 <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("images", [400, None], ids=["set", "population"])
def test_wrong_verdicts_over_2000_reshuffles(images):
    errors = family_wise_errors(planted(images or 400, 1), repeats=2000, images=images)
    assert upper_limit(errors, 2000) <= 0.06


@pytest.mark.slow
def test_it_is_not_idle_where_looking_with_a_t_test_is_wrong():
    """The equal pair alone, without correction for pairs: stopping at the first p < 0.05 is wrong far more often."""
    scores = planted(300, 2)[:2]
    differences = scores[0] - scores[1]
    ours = peeking = 0
    for repeat in range(300):
        x = differences[np.random.default_rng([9, repeat]).permutation(300)][:200]
        race = SequentialComparison(PAIR, bound=1, margin=0.001, images=300)
        for d in x:
            race.update({"a": float(d), "b": 0.0})
        ours += race.state()[0].verdict == "separated"
        n = np.arange(1, 201)
        mean = np.cumsum(x) / n
        spread = np.sqrt(np.maximum(np.cumsum(x**2) / n - mean**2, 1e-12) * n / np.maximum(n - 1, 1))
        t = np.abs(mean) / (spread / np.sqrt(n))
        peeking += (t[10:] > stats.t.ppf(0.975, n[10:] - 1)).any()
    assert ours / 300 <= 0.05
    assert peeking / 300 > 0.2


def test_a_set_seen_whole_is_known_exactly():
    differences = np.random.default_rng(3).normal(0.004, 0.2, 30).clip(-1, 1)
    race = SequentialComparison(PAIR, bound=1, margin=0.001, images=30)
    for d in differences:
        race.update({"a": float(d), "b": 0.0})
    (pair,) = race.state()
    assert race.done
    assert pair.interval == pytest.approx((differences.mean(),) * 2)
    assert pair.verdict == ("equivalent" if abs(differences.mean()) < 0.001 else "separated")
    with pytest.raises(ValueError, match="all of them were seen"):
        race.update({"a": 0.0, "b": 0.0})


def test_equal_maps_are_equivalent_soon_and_for_good():
    race = SequentialComparison(PAIR, bound=1, margin=0.01, images=10_000)
    while not race.done:
        race.update({"a": 0.5, "b": 0.5})
    assert race.state()[0].verdict == "equivalent"
    assert race.seen < 500


def test_a_verdict_never_changes():
    race = SequentialComparison(PAIR, bound=1, margin=0.01, images=None)
    while not race.done:
        race.update({"a": 0.9, "b": 0.2})
    before = race.state()[0]
    for _ in range(300):
        race.update({"a": 0.2, "b": 0.9})
    after = race.state()[0]
    assert (after.verdict, after.decided_at) == (before.verdict, before.decided_at) == ("separated", race.seen - 300)


def test_a_larger_family_a_smaller_margin_and_more_confidence_take_longer():
    def images_until(**options):
        race = SequentialComparison(PAIR, **{"bound": 1, "margin": 0.02, "images": None, **options})
        rng = np.random.default_rng(4)
        while not race.done and race.seen < 20_000:
            race.update({"a": 0.5 + 0.05 * float(rng.uniform(-1, 1)), "b": 0.5})
        return race.seen

    plain = images_until()
    assert images_until(comparisons=20) > plain
    assert images_until(margin=0.01) > plain
    assert images_until(confidence=0.99) > plain
    assert images_until(bound=2) > plain
    assert images_until(images=plain + 100) < plain, "a set that is soon used up is known sooner"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": 0}, "the margin must lie between"),
        ({"margin": 1.5}, "the margin must lie between"),
        ({"confidence": 1}, "the confidence must lie"),
        ({"comparisons": 0}, "cannot hold 1 pairs"),
    ],
)
def test_what_cannot_be_promised_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SequentialComparison(PAIR, **{"bound": 1.0, "margin": 0.1, "images": 5, **options})


@pytest.mark.parametrize("value", [float("nan"), 1.2, -1.1])
def test_values_that_break_the_promise_are_refused(value):
    race = SequentialComparison(PAIR, bound=1, margin=0.1, images=5)
    with pytest.raises(ValueError, match="differences must be finite and at most 1"):
        race.update({"a": value, "b": 0.0})
