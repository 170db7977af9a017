"""The baseline panel: rankings, their agreement and where removal ends, from rows that can be worked out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.metrics.measures import make_measures
from c2i_fast.results.panel import BASELINES, baseline_panel, panel_measures, with_panel

NAMES = (*BASELINES, "ROAD")
METHODS = ("a", "b", "c", "d")


def tau(first, second) -> float:
    """Kendall's τ of values without ties, pair by pair."""
    signs = [np.sign((first[i] - first[j]) * (second[i] - second[j])) for i, j in combinations(range(len(first)), 2)]
    return float(np.mean(signs))


def rows(means, ends, clean=0.8, images=5, overrides=None, rng=None):
    """Rows of a run whose methods have these means under each baseline, and removal these ends."""
    rng = rng or np.random.default_rng(0)
    made = []
    for name, rank, end in panel_measures(overrides or {}):
        offsets = rng.normal(size=images)
        offsets -= offsets.mean()
        for image in range(images):
            for method, mean in zip(METHODS, means[name], strict=True):
                value = mean + offsets[image]
                made.append((str(image), method, rank.metric.name, rank.protocol.hash(), "raw", value, [0.0]))
                last = ends[name] - (clean if name == "ROAD" else 0)
                curve = [0.0, last] if name == "ROAD" else [clean, 0.1, last]
                made.append((str(image), method, end.metric.name, end.protocol.hash(), "raw", 9.0, curve))
                made.append((str(image), method, rank.metric.name, rank.protocol.hash(), "logit", 99.0, [0.0]))
    return made


def test_rankings_taus_and_ends_are_those_of_the_rows():
    rng = np.random.default_rng(3)
    means = {name: rng.permutation(4) / 10 for name in NAMES}
    ends = {"mean": 0.01, "blur": 0.6, "noise": 0.3, "another-image": 0.0, "ROAD": 0.5}
    found = baseline_panel(rows(means, ends), {}, "raw")
    assert [row.baseline for row in found.rows] == list(NAMES)
    for row in found.rows:
        expected = [METHODS[i] for i in np.argsort(-means[row.baseline])]
        assert list(row.ranking) == expected
        assert row.means["b"] == pytest.approx(means[row.baseline][1])
        assert row.clean == pytest.approx(0.8)
        assert row.end == pytest.approx(ends[row.baseline])
        assert row.still_high == (ends[row.baseline] > 0.4)
    assert len(found.tau) == 10
    for (first, second), value in found.tau.items():
        assert value == pytest.approx(tau(means[first], means[second]))
    content = found.to_dict()
    assert content["kendall_tau"][0]["tau"] == pytest.approx(found.tau["mean", "blur"])


def test_equal_means_have_no_tau_and_json_says_null():
    means = {name: np.zeros(4) if name == "blur" else np.arange(4) for name in NAMES}
    found = baseline_panel(rows(means, dict.fromkeys(NAMES, 0.0)), {}, "raw")
    nulls = [pair for pair in found.to_dict()["kendall_tau"] if "blur" in (pair["first"], pair["second"])]
    assert [pair["tau"] for pair in nulls] == [None] * 4


def test_the_panels_measures_are_added_once_under_the_names_that_were_there():
    plain = make_measures((), ("c2i",))
    made = with_panel(plain, {}, 2)
    assert made[: len(plain)] == plain
    names = [(m.metric.name, m.protocol.name) for m in made]
    assert len(set(names)) == len(names)
    assert names.count(("gap", "c2i")) == 1
    assert ("gap", "c2i+baseline=mean") not in names
    assert {("gap", "c2i+baseline=blur"), ("deletion", "c2i+baseline=noise"), ("road-combined", "c2i")} <= set(names)
    assert len(made) == len(plain) + 2 * 3 + 2


def test_overrides_hold_but_for_the_baseline_and_those_that_cut_the_ends_off():
    overrides = {"intervals": "7", "baseline": "white", "ends": "no-start", "noise": "0.5"}
    found = {name: (rank, end) for name, rank, end in panel_measures(overrides)}
    assert found["blur"][0].protocol.name == "c2i+baseline=blur+intervals=7"
    assert found["blur"][1].protocol.ends == "both"
    assert found["ROAD"][0].protocol.noise == 0.5


def test_one_method_and_signals_are_refused():
    plain = make_measures((), ("c2i",))
    with pytest.raises(InputError, match="ranks methods, and there is 1"):
        with_panel(plain, {}, 1)
    with pytest.raises(InputError, match="for pictures"):
        with_panel(plain, {}, 2, axes=1)
