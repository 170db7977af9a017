from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.split import split_samples
from c2i_fast.errors import InputError

quick = settings(deadline=None, max_examples=80)
labelings = st.lists(st.integers(0, 5), min_size=2, max_size=40).map(np.array)


@quick
@given(labelings, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_every_sample_is_in_exactly_one_part_and_neither_is_empty(labels, fraction, seed):
    split = split_samples(labels, fraction, seed)
    assert sorted([*split.fit, *split.test]) == list(range(len(labels)))
    assert len(split.fit) == min(max(round(fraction * len(labels)), 1), len(labels) - 1)
    assert (np.diff(split.fit) > 0).all()
    assert (np.diff(split.test) > 0).all()


@quick
@given(labelings, st.floats(0.01, 0.99), st.integers(0, 2**32 - 1))
def test_without_a_note_the_classes_are_in_proportion(labels, fraction, seed):
    split = split_samples(labels, fraction, seed)
    if split.note is None:
        for label in np.unique(labels):
            expected = len(split.fit) * (labels == label).mean()
            assert abs((labels[split.fit] == label).sum() - expected) <= 1


@quick
@given(labelings, st.integers(0, 1000))
def test_the_seed_decides_alone(labels, seed):
    first, again = split_samples(labels, 0.5, seed), split_samples(labels, 0.5, seed)
    np.testing.assert_array_equal(first.fit, again.fit)


@pytest.mark.parametrize("labels", [np.arange(200) % 4, np.arange(200)])
def test_another_seed_is_another_split(labels):
    assert split_samples(labels, 0.5, 0).fit.tolist() != split_samples(labels, 0.5, 1).fit.tolist()


def test_balanced_classes_stay_balanced():
    labels = np.repeat(np.arange(4), 25)
    split = split_samples(labels, 0.4, 7)
    assert np.bincount(labels[split.fit]).tolist() == [10, 10, 10, 10]
    assert split.note is None


def test_a_class_with_one_member_is_said():
    split = split_samples(np.array([0] * 10 + [1] * 10 + [2]), 0.5, 0)
    assert split.note == "the split is a plain shuffle, not stratified: class 2 has one sample"
    assert len(split.fit) == 10


def test_more_classes_than_samples_in_a_part_is_said():
    split = split_samples(np.repeat(np.arange(5), 2), 0.3, 0)
    assert split.note == "the split is a plain shuffle, not stratified: 5 classes and 3 samples in a part"
    assert len(split.fit) == 3


def test_one_holds_out_nothing():
    split = split_samples(np.array([0, 1, 1]), 1, 0)
    assert split.fit.tolist() == [0, 1, 2]
    assert split.test.tolist() == []
    assert split_samples(np.array([0]), 1.0, 0).fit.tolist() == [0]


@pytest.mark.parametrize("fraction", [0, -0.5, 1.01, float("nan"), float("inf")])
def test_an_impossible_fraction_is_refused(fraction):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        split_samples(np.array([0, 1]), fraction, 0)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_impossible_seed_is_refused(seed):
    with pytest.raises(InputError, match="expected a seed"):
        split_samples(np.array([0, 1]), 0.5, seed)


def test_one_sample_cannot_be_split():
    with pytest.raises(InputError, match="use a fit fraction of 1"):
        split_samples(np.array([0]), 0.5, 0)
