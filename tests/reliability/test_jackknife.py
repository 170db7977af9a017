from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from c2i_fast.reliability.jackknife import jackknife_interval


def test_the_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(0).normal(size=15)
    interval = jackknife_interval(lambda rows: values[rows].mean(), 15)
    assert interval == pytest.approx(tuple(ttest_1samp(values, 0).confidence_interval(0.95)), abs=1e-12)


def test_groups_leave_each_sample_out_once():
    seen = []
    jackknife_interval(lambda rows: seen.append(rows) or 0.0, 50, groups=7)
    left_out = np.concatenate([np.setdiff1d(np.arange(50), rows) for rows in seen[:-1]])
    assert sorted(left_out) == list(range(50))
    assert len(seen) == 8
    assert (seen[-1] == np.arange(50)).all()


def test_it_holds_a_mean_as_often_as_it_says():
    held = 0
    for seed in range(100):
        values = np.random.default_rng(seed).exponential(size=200)
        low, high = jackknife_interval(lambda rows, values=values: values[rows].mean(), 200, seed=seed)
        held += low <= 1 <= high
    assert 87 <= held <= 100


def test_the_seed_decides():
    values = np.random.default_rng(0).normal(size=300)
    first, again, other = (jackknife_interval(lambda rows: values[rows].mean(), 300, seed=s) for s in (1, 1, 2))
    assert first == again != other


def test_too_few_samples_have_no_interval():
    assert jackknife_interval(lambda rows: 0.0, 2) is None
