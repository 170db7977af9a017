"""How many elements have changed at each point: every rule by a loop, and what cannot be."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.errors import InputError
from c2i_fast.perturb.counts import point_counts
from c2i_fast.protocols import CurveProtocol

examples = settings(deadline=None, derandomize=True, max_examples=200)


def protocol(rule: str, start: str = "image", **fields) -> CurveProtocol:
    return CurveProtocol(name="p", metric="deletion", counts=rule, start=start, **fields)


def counts(rule: str, elements: int, start: str = "image", width: int = 1, **fields) -> list[int]:
    return point_counts(protocol(rule, start, **fields), elements, width).tolist()


@st.composite
def sizes(draw):
    elements = draw(st.integers(1, 5000))
    return elements, draw(st.integers(1, elements))


@examples
@given(sizes())
def test_equal_rounds_down_from_the_image_and_up_from_the_baseline(size):
    elements, n = size
    from_image = [math.floor(Fraction(k * elements, n)) for k in range(n + 1)]
    from_baseline = [math.ceil(Fraction(k * elements, n)) for k in range(n + 1)]
    assert counts("equal", elements, intervals=n) == from_image
    assert counts("equal", elements, "baseline", intervals=n) == from_baseline
    assert from_baseline == [elements - c for c in reversed(from_image)]


@examples
@given(sizes())
def test_floor_rounds_down_at_both_ends(size):
    elements, n = size
    expected = [math.floor(Fraction(k * elements, n)) for k in range(n + 1)]
    assert counts("floor", elements, intervals=n) == expected
    assert counts("floor", elements, "baseline", intervals=n) == expected


@examples
@given(st.integers(1, 5000), st.integers(1, 6000), st.sampled_from(["image", "baseline"]))
def test_ceil_block_takes_blocks_of_the_rounded_up_size_until_all_are_gone(elements, n, start):
    block = math.ceil(Fraction(elements, n))
    expected = [0]
    while expected[-1] < elements:
        expected.append(min(expected[-1] + block, elements))
    assert counts("ceil-block", elements, start, intervals=n) == expected
    assert len(expected) - 1 <= n


@examples
@given(st.integers(1, 5000), st.integers(1, 6000), st.sampled_from(["image", "baseline"]))
def test_pixels_takes_blocks_of_p_the_last_one_short(elements, block, start):
    expected = [0]
    while expected[-1] < elements:
        expected.append(min(expected[-1] + block, elements))
    assert counts("pixels", elements, start, intervals=None, pixels_per_step=block) == expected


def test_pixels_without_a_number_takes_eight_rows():
    """RISE's data-set run: 1792 of 224·224 pixels a step, 29 points."""
    found = counts("pixels", 224 * 224, width=224, intervals=None)
    assert found == [k * 1792 for k in range(29)]
    assert counts("pixels", 20 * 30, width=30, intervals=None) == [0, 240, 480, 600]
    assert counts("pixels", 3 * 5, width=5, intervals=None) == [0, 15]


@examples
@given(sizes(), st.sampled_from(["equal", "floor"]), st.sampled_from(["image", "baseline"]))
def test_curves_start_at_nothing_end_at_everything_and_never_go_back(size, rule, start):
    elements, n = size
    found = counts(rule, elements, start, intervals=n)
    assert found[0] == 0
    assert found[-1] == elements
    assert len(found) == n + 1
    steps = [b - a for a, b in pairwise(found)]
    assert min(steps) >= 1, "n ≤ U: every interval changes something"
    assert max(steps) - min(steps) <= 1, "as equal as whole elements can be"


def test_counts_are_exact_for_sizes_whose_products_exceed_32_bits():
    elements = 10_000 * 10_000
    found = counts("equal", elements, intervals=1000)
    assert found[999] == 999 * elements // 1000
    assert counts("equal", elements, "baseline", intervals=999)[998] == -(-998 * elements // 999)


@pytest.mark.parametrize(
    ("rule", "intervals", "elements"),
    [
        *[(rule, n, u) for rule in ("equal", "floor") for n, u in ((17, 16), (2, 1))],
        *[(rule, n, 16) for rule in ("equal", "floor", "ceil-block") for n in (None, 0)],
    ],
)
def test_no_intervals_or_more_than_elements_is_an_error_that_says_what_fits(rule, intervals, elements):
    with pytest.raises(InputError, match=rf"set intervals to 1\.\.{elements}"):
        counts(rule, elements, intervals=intervals)


@pytest.mark.parametrize("rule", ["equal", "floor", "ceil-block"])
def test_one_element_in_one_interval(rule):
    assert counts(rule, 1, intervals=1) == [0, 1]
    assert counts(rule, 1, "baseline", intervals=1) == [0, 1]


@pytest.mark.parametrize("rule", ["equal", "floor", "ceil-block"])
def test_as_many_intervals_as_elements_is_one_a_step(rule):
    assert counts(rule, 7, intervals=7) == list(range(8))
    assert counts(rule, 7, "baseline", intervals=7) == list(range(8))


@pytest.mark.parametrize("listed", [(0, 9), (0, 0, 3, 3, 9), (0, 5), (0, 0)])
@pytest.mark.parametrize("start", ["image", "baseline"])
def test_a_list_is_taken_as_it_is(listed, start):
    assert counts("list", 9, start, count_list=listed) == list(listed)


@pytest.mark.parametrize("listed", [None, (), (0,), (1, 2), (0, 3, 2), (0, 10), (-1, 3), (0, -1)])
def test_a_list_that_cannot_be_is_an_error(listed):
    with pytest.raises(InputError, match="from 0 to at most 9"):
        counts("list", 9, count_list=listed)
