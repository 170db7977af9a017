"""From work to full batches: every row once, every batch full, little of it padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.perturb.packing import ROW_COST, pack

examples = settings(deadline=None, derandomize=True, max_examples=150)


@st.composite
def works(draw):
    """Groups of any size, a plan each, their rows shuffled, steps with repeats."""
    sizes = draw(st.lists(st.integers(1, 70), min_size=1, max_size=12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    plans = np.repeat(rng.permutation(3 * len(sizes))[: len(sizes)], sizes)
    work = np.stack([plans, rng.integers(0, 40, len(plans))], axis=1).astype(np.int32)
    return work[rng.permutation(len(work))] if draw(st.booleans()) else work


BATCHES = st.one_of(st.integers(1, 40), st.sampled_from([31, 32, 61, 64, 97, 128]))


@examples
@given(works(), BATCHES)
def test_every_row_of_work_is_in_exactly_one_cell_and_says_what_it_is(work, batch):
    answered = np.zeros(len(work), int)
    for rectangle in pack(work, batch):
        for (i, j), row in np.ndenumerate(rectangle.cells):
            if row < 0:
                assert rectangle.steps[i, j] == 0, "padding is step 0"
            else:
                answered[row] += 1
                assert (rectangle.plans[i], rectangle.steps[i, j]) == tuple(work[row])
    assert (answered == 1).all()


@examples
@given(works(), BATCHES)
def test_batches_are_always_full_and_of_one_shape(work, batch):
    rectangles = list(pack(work, batch))
    shapes = {r.steps.shape for r in rectangles}
    assert len(shapes) == 1
    rows, width = shapes.pop()
    assert rows * width == batch
    for r in rectangles:
        assert r.cells.shape == r.steps.shape == (rows, width)
        assert r.plans.shape == (rows,)
        assert r.steps.dtype == np.int32
        assert (r.cells >= 0).any(), "no batch is all padding"
        assert np.isin(r.plans, work[:, 0]).all(), "padding rows are fed a plan there is"


@examples
@given(works(), BATCHES)
def test_waste_is_bounded_by_what_one_pass_a_row_would_cost(work, batch):
    """One pass a row pads less than a batch; the chosen shape may pad more only where it saves feeding rows."""
    rectangles = list(pack(work, batch))
    rows = len(rectangles[0].steps)
    cells = len(rectangles) * batch
    one_a_row = -(-len(work) // batch) * batch * (1 + ROW_COST)
    assert cells + ROW_COST * len(rectangles) * rows <= one_a_row + 1e-9
    assert cells - len(work) < batch + ROW_COST * (len(work) + batch)


@examples
@given(works(), BATCHES)
def test_the_shape_is_the_cheapest_of_all(work, batch):
    def cost(width: int) -> float:
        groups = np.unique(work[:, 0], return_counts=True)[1]
        rows = sum(-(-int(size) // width) for size in groups)
        rectangles = -(-rows // (batch // width))
        return rectangles * batch + ROW_COST * rectangles * (batch // width)

    width = next(pack(work, batch)).steps.shape[1]
    assert cost(width) == pytest.approx(min(cost(d) for d in range(1, batch + 1) if batch % d == 0))


@examples
@given(works(), BATCHES)
def test_packing_depends_on_work_alone(work, batch):
    for first, second in zip(pack(work, batch), pack(work.copy(), batch), strict=True):
        np.testing.assert_array_equal(first.cells, second.cells)
        np.testing.assert_array_equal(first.plans, second.plans)


def test_whole_curves_fill_rows_without_padding():
    work = np.array([[p, s] for p in range(4) for s in range(32)], np.int32)
    for batch, shape in ((32, (1, 32)), (64, (2, 32)), (16, (1, 16)), (128, (4, 32))):
        rectangles = list(pack(work, batch))
        assert {r.steps.shape for r in rectangles} == {shape}
        assert all((r.cells >= 0).all() for r in rectangles)


def test_one_row_of_work_is_one_padded_batch():
    (rectangle,) = pack(np.array([[5, 3]], np.int32), 8)
    assert rectangle.cells.ravel().tolist().count(-1) == 7
    assert set(rectangle.plans.tolist()) == {5}


def test_no_work_is_no_batch():
    assert list(pack(np.zeros((0, 2), np.int32), 8)) == []


@pytest.mark.parametrize("batch", [1, 7, 31])
def test_batches_that_only_1_divides_still_hold_every_row(batch):
    work = np.array([[p, s] for p in range(3) for s in range(5)], np.int32)
    cells = np.concatenate([r.cells.ravel() for r in pack(work, batch)])
    assert sorted(cells[cells >= 0].tolist()) == list(range(15))
