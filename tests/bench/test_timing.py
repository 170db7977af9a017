from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.bench import timing
from c2i_fast.bench.timing import Latency, TimingRules, neighbours, take_turns


class FakeClock:
    """A clock that only the subjects move."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def subject(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return run


def rules(**changes):
    return TimingRules(
        **{"seconds": 1.0, "iterations": 1, "warm_up_seconds": 0.0, "warm_up_iterations": 0, "turns": 1} | changes
    )


def test_a_fast_subject_is_called_until_the_seconds_are_full():
    clock = FakeClock()
    taken = take_turns({"a": clock.subject("a", 0.25)}, rules(), clock)
    assert taken["a"].tolist() == [0.25] * 4


def test_a_slow_subject_is_called_as_often_as_asked():
    clock = FakeClock()
    assert len(take_turns({"a": clock.subject("a", 10.0)}, rules(iterations=3), clock)["a"]) == 3


@pytest.mark.parametrize(("changes", "untimed"), [({"warm_up_iterations": 3}, 3), ({"warm_up_seconds": 1.0}, 4)])
def test_warm_up_calls_are_made_and_not_counted(changes, untimed):
    clock = FakeClock()
    taken = take_turns({"a": clock.subject("a", 0.25)}, rules(**changes), clock)
    assert len(taken["a"]) == 4
    assert len(clock.calls) == 4 + untimed


def test_every_second_turn_runs_backwards():
    clock = FakeClock()
    subjects = {"a": clock.subject("a", 1.0), "b": clock.subject("b", 1.0)}
    take_turns(subjects, rules(turns=4, seconds=4.0), clock)
    assert "".join(clock.calls) == "abbaabba"


def test_all_subjects_are_warm_before_the_first_is_timed():
    clock = FakeClock()
    subjects = {"a": clock.subject("a", 1.0), "b": clock.subject("b", 1.0)}
    take_turns(subjects, rules(warm_up_iterations=1), clock)
    assert "".join(clock.calls) == "abab"


def test_iterations_are_shared_between_turns_and_rounded_up():
    clock = FakeClock()
    assert len(take_turns({"a": clock.subject("a", 9.0)}, rules(iterations=5, turns=2), clock)["a"]) == 6


def test_a_machine_that_slows_down_moves_both_subjects_alike():
    clock = FakeClock()

    def slowing(name):
        def run():
            clock.now += 1.0 + len(clock.calls) / 10
            clock.calls.append(name)

        return run

    taken = take_turns({"a": slowing("a"), "b": slowing("b")}, rules(turns=2, seconds=0.1), clock)
    assert taken["a"].sum() == pytest.approx(taken["b"].sum())


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"iterations": 0}, {"turns": 0}])
def test_rules_that_time_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        rules(**wrong)


@pytest.mark.parametrize("calls", [1, 2, 7, 1000])
def test_percentiles_are_numpys(calls):
    seconds = np.random.default_rng(calls).gamma(2.0, 0.01, calls)
    found = Latency.of(seconds)
    expected = [float(np.quantile(seconds, q)) * 1000 for q in (0.5, 0.9, 0.99)]
    assert [found.p50_ms, found.p90_ms, found.p99_ms] == pytest.approx(expected)


def test_the_share_of_neighbours_is_a_share():
    with neighbours() as others:
        sum(range(10_000))
    assert others.share is None or 0 <= others.share <= 1


def test_neighbours_are_unknown_where_there_are_no_books(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "CPU_TIMES", tmp_path / "absent")
    with neighbours() as others:
        pass
    assert others.share is None


def test_neighbours_are_what_is_busy_beside_this_process(monkeypatch):
    books = iter([(10.0, 1.0), (16.0, 3.0)])
    monkeypatch.setattr(timing, "_cpu_seconds", lambda: next(books))
    clock = iter([0.0, 4.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(timing.os, "cpu_count", lambda: 2)
    with neighbours() as others:
        pass
    assert others.share == pytest.approx((6 - 2) / (4 * 2))
