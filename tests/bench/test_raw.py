from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from c2i_fast.bench.raw import RawRow, best, image_shape, random_images, sweep, usable_batches
from c2i_fast.bench.timing import TimingRules
from c2i_fast.errors import UsageError
from c2i_fast.types import GraphContract, Preprocessing

CONTRACT = GraphContract(channels=3, space=(4, 6), classes=2, preprocessing=Preprocessing())
RULES = TimingRules(seconds=0.4, iterations=2, warm_up_seconds=0.0, warm_up_iterations=1, turns=2)


class FakeSession:
    """Takes a fixed time an image, by a clock of its own."""

    def __init__(self, clock, seconds_an_image):
        self.clock, self.seconds = clock, seconds_an_image
        self.seen = []

    def run(self, feeds):
        self.seen.append(feeds["pixels"])
        self.clock.now += self.seconds * len(feeds["pixels"])
        return {}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_row_is_batch_over_the_median():
    row = RawRow.of(8, np.array([0.1, 0.2, 0.9]))
    assert row.images_per_s == pytest.approx(40)
    assert (row.p50_ms, row.iterations) == (pytest.approx(200), 3)


def test_the_sweep_has_a_row_for_each_batch_and_engine():
    clock = Clock()
    sessions = {"fast": FakeSession(clock, 0.01), "slow": FakeSession(clock, 0.1)}
    rows = sweep(sessions, CONTRACT, (4, 1, 4), RULES, clock=clock)
    assert [row.batch for row in rows["fast"]] == [1, 4]
    assert [row.images_per_s for row in rows["slow"]] == pytest.approx([10, 10])
    assert [row.images_per_s for row in rows["fast"]] == pytest.approx([100, 100])


def test_the_random_input_is_made_once():
    clock = Clock()
    session = FakeSession(clock, 0.01)
    sweep({"one": session}, CONTRACT, (2,), RULES, clock=clock)
    assert len({array.__array_interface__["data"][0] for array in session.seen}) == 1
    assert session.seen[0].shape == (2, 3, 4, 6)
    assert session.seen[0].dtype == np.float32


def test_random_images_are_noise_in_the_unit_interval():
    images = random_images(2, (3, 8, 8))
    assert 0 <= images.min() < 0.1 < 0.9 < images.max() < 1
    np.testing.assert_array_equal(images, random_images(2, (3, 8, 8)))


def test_a_fixed_batch_is_the_only_one_timed():
    assert usable_batches(replace(CONTRACT, batch=5), (1, 8)) == (5,)
    assert usable_batches(CONTRACT, (8, 1, 8)) == (1, 8)


def test_an_open_size_is_the_preprocessings():
    open_space = replace(CONTRACT, space=(None, None))
    assert image_shape(replace(open_space, preprocessing=Preprocessing(size=(7, 9)))) == (3, 7, 9)
    with pytest.raises(UsageError, match="--size"):
        image_shape(open_space)


def test_signals_have_one_axis():
    assert image_shape(replace(CONTRACT, channels=1, space=(64,))) == (1, 64)


def test_best_is_the_most_images_per_second():
    rows = [RawRow.of(batch, np.array([seconds])) for batch, seconds in ((1, 0.1), (8, 0.2), (32, 1.0))]
    assert best(rows).batch == 8
