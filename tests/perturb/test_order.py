"""Ranks are a permutation with defined ties; step maps are counted as DESIGN §2 counts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from c2i_fast.perturb.order import pixel_order, step_map, step_type, tied_share

examples = settings(deadline=None, derandomize=True, max_examples=150)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
FEW_VALUES = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38, 0.1])
SPACES = st.one_of(
    st.tuples(st.integers(1, 40)),
    st.tuples(st.integers(1, 7), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
)


def maps(elements=FLOATS | FEW_VALUES):
    return SPACES.flatmap(lambda space: hnp.arrays(np.float32, space, elements=elements))


def order_by_definition(saliency: np.ndarray, ties: str) -> list[int]:
    """Value descending; among equals (−0 equals +0) the smaller flat index first, or the larger."""
    values = [float(v) for v in saliency.ravel()]
    sign = 1 if ties == "index" else -1
    return sorted(range(len(values)), key=lambda i: (-values[i], sign * i))


@examples
@given(maps(), st.sampled_from(["index", "reverse-index"]))
def test_order_is_value_descending_then_index(saliency, ties):
    assert pixel_order(saliency, ties).tolist() == order_by_definition(saliency, ties)


@examples
@given(maps(FEW_VALUES), st.sampled_from(["index", "reverse-index"]))
def test_order_of_maps_full_of_ties_zeros_and_denormals(saliency, ties):
    assert pixel_order(saliency, ties).tolist() == order_by_definition(saliency, ties)


@pytest.mark.parametrize("ties", ["index", "reverse-index"])
def test_order_of_a_large_map_with_many_ties(ties):
    saliency = np.random.default_rng(0).normal(size=(300, 301)).astype(np.float32).round(3)
    expected = np.argsort(-saliency.ravel(), kind="stable")
    if ties == "reverse-index":
        expected = np.argsort(saliency.ravel(), kind="stable")[::-1]
    np.testing.assert_array_equal(pixel_order(saliency, ties), expected)


def test_minus_zero_ties_with_zero():
    saliency = np.array([-0.0, 0.0, -0.0, 0.0], np.float32)
    assert pixel_order(saliency).tolist() == [0, 1, 2, 3]
    assert pixel_order(saliency, "reverse-index").tolist() == [3, 2, 1, 0]


def test_denormals_are_neither_zero_nor_each_other():
    tiny = np.float32(1e-45)
    saliency = np.array([0, tiny, -tiny, 2 * tiny, -2 * tiny], np.float32)
    assert pixel_order(saliency).tolist() == [3, 1, 0, 2, 4]


@examples
@given(maps())
def test_without_ties_the_order_of_the_negative_is_the_reverse(saliency):
    flat = saliency.ravel()
    _, first = np.unique(flat + 0, return_index=True)
    distinct = flat[np.sort(first)]
    np.testing.assert_array_equal(pixel_order(-distinct), pixel_order(distinct)[::-1])


@examples
@given(maps())
def test_reverse_index_is_a_reversed_ascending_stable_sort(saliency):
    np.testing.assert_array_equal(
        pixel_order(saliency, "reverse-index"), np.argsort(saliency.ravel(), kind="stable")[::-1]
    )


@examples
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(-1000, 1000)),
    st.sampled_from(["index", "reverse-index"]),
)
def test_strictly_increasing_transforms_leave_the_order(saliency, ties):
    order = pixel_order(saliency, ties)
    for transform in (lambda s: s * 3 - 7, lambda s: s**3, lambda s: np.exp(s.astype(np.float64) / 20)):
        np.testing.assert_array_equal(pixel_order(transform(saliency).astype(np.float32), ties), order)


def test_a_constant_map_counts_from_the_first_index_or_the_last():
    flat = np.full((2, 3), 0.25, np.float32)
    assert pixel_order(flat).tolist() == [0, 1, 2, 3, 4, 5]
    assert pixel_order(flat, "reverse-index").tolist() == [5, 4, 3, 2, 1, 0]


def test_orders_of_views_and_read_only_maps():
    base = np.random.default_rng(1).normal(size=(8, 9)).astype(np.float32)
    view = base[::2, ::-1]
    view.flags.writeable = False
    np.testing.assert_array_equal(pixel_order(view), order_by_definition(view, "index"))
    np.testing.assert_array_equal(pixel_order(base.T), order_by_definition(base.T, "index"))


# ------------------------------------------------------------------------------------------------ step maps


def steps_by_definition(order, counts) -> list[int]:
    """step_map[p] = number of j ≥ 1 with counts[j] ≤ rank[p], ranks from 0."""
    rank = {int(p): r for r, p in enumerate(order)}
    return [sum(1 for c in counts[1:] if c <= rank[p]) for p in range(len(order))]


@st.composite
def orders_and_counts(draw, complete: bool = False):
    elements = draw(st.integers(1, 60))
    order = np.array(draw(st.permutations(range(elements))), np.intp)
    inner = draw(st.lists(st.integers(0, elements), min_size=0, max_size=12))
    last = elements if complete else draw(st.integers(0, elements))
    counts = [0, *sorted(min(c, last) for c in inner), last]
    return order, np.array(counts, np.int64)


@examples
@given(orders_and_counts())
def test_step_map_is_the_count_of_counts_up_to_the_rank(case):
    order, counts = case
    found = step_map(order, counts, (order.size,))
    assert found.shape == (1, order.size)
    assert found[0].tolist() == steps_by_definition(order, counts)


@examples
@given(orders_and_counts())
def test_image_k_shows_exactly_counts_k_changed_elements_the_first_of_the_order(case):
    order, counts = case
    steps = step_map(order, counts, (order.size,))[0]
    for k, count in enumerate(counts):
        assert set(np.flatnonzero(steps < k)) == set(order[:count])


@examples
@given(orders_and_counts(complete=True))
def test_the_lerf_mirror_is_n_minus_1_minus_the_step_map(case):
    """Reversed order, counts mirrored to U − c(n−k): image n−k of the one complements image k of the other."""
    order, counts = case
    n = len(counts) - 1
    mirrored_counts = order.size - counts[::-1]
    found = step_map(order[::-1], mirrored_counts, (order.size,)).astype(int)
    np.testing.assert_array_equal(found, n - 1 - step_map(order, counts, (order.size,)).astype(int))


def test_the_last_step_means_never():
    steps = step_map(np.array([2, 0, 1, 3]), np.array([0, 1, 2]), (2, 2))
    assert steps.tolist() == [[[1, 2], [0, 2]]]


def test_repeated_counts_are_images_that_equal_the_one_before():
    steps = step_map(np.arange(3), np.array([0, 0, 2, 2, 3]), (3,))[0]
    assert steps.tolist() == [1, 1, 3]
    shown = [set(np.flatnonzero(steps < k)) for k in range(5)]
    assert shown == [set(), set(), {0, 1}, {0, 1}, {0, 1, 2}]


@pytest.mark.parametrize(
    ("intervals", "name"),
    [(1, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (65536, "int32"), (2**24, "int32")],
)
def test_the_type_is_the_smallest_that_holds_n(intervals, name):
    assert step_type(intervals) == name
    assert np.iinfo(name).max >= intervals


@pytest.mark.parametrize(("space", "n"), [((16, 16), 256), ((17, 15), 255), ((70001,), 70001), ((256, 256), 65536)])
def test_one_element_a_step_gives_the_ranks_themselves(space, n):
    elements = int(np.prod(space))
    order = np.random.default_rng(2).permutation(elements)
    counts = np.arange(n + 1) * elements // n
    found = step_map(order, counts, space)
    assert found.dtype == step_type(n)
    assert found.shape == (1, *space)
    np.testing.assert_array_equal(found.ravel()[order], np.arange(elements))


def test_one_pixel_changes_in_one_step():
    assert step_map(np.array([0]), np.array([0, 1]), (1, 1)).tolist() == [[[0]]]


# ------------------------------------------------------------------------------------------------ ties


@examples
@given(maps(st.integers(-3, 3).map(float)), st.sampled_from(["index", "reverse-index"]))
def test_tied_share_counts_elements_that_have_an_equal(saliency, ties):
    values = saliency.ravel().tolist()
    expected = sum(values.count(v) > 1 for v in values) / len(values)
    assert tied_share(saliency, pixel_order(saliency, ties)) == pytest.approx(expected)


def test_tied_share_of_one_element_and_of_a_constant_map():
    assert tied_share(np.zeros((1, 1), np.float32), np.array([0])) == 0
    assert tied_share(np.zeros((4, 2), np.float32), np.arange(8)) == 1
    assert tied_share(np.array([0.0, -0.0, 1.0], np.float32), np.array([2, 0, 1])) == pytest.approx(2 / 3)
