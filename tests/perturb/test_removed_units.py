"""Sets of units at the baseline: every pass shows what was asked for, under the number that set already has."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.errors import InputError
from c2i_fast.perturb.baseline import Given, baseline_image
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.plan import closed
from c2i_fast.perturb.units import cells, units_of
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Preprocessing


def a_book(shape=(3, 6, 5), seed=0) -> Book:
    pixels = np.random.default_rng(seed).random(shape).astype(np.float32)
    return Book(given=Given(pixels=pixels, preprocessing=Preprocessing(mean=(0.4, 0.5, 0.6))))


def units(book: Book, unit: str, size: int | None = None):
    return units_of(CurveProtocol(name="x", metric="deletion", unit=unit, unit_size=size), book.image)


def shown(plan, index: int) -> np.ndarray:
    number, step = plan.work[index]
    made = plan.plans[number]
    return np.where(made.step_map < step, made.end, made.start)


@pytest.mark.parametrize(("unit", "size"), [("pixel", None), ("channel", None), ("patch", 2), ("grid", 4)])
def test_growing_sets_show_what_they_say_in_one_plan(unit, size):
    book, rng = a_book(), np.random.default_rng(1)
    own = units(book, unit, size)
    order, counts = rng.permutation(own.count), np.array([1, 3, own.count])
    passes = book.removed_units("black", own, order, counts)
    plan = closed(book, ())
    baseline = baseline_image("black", book.given)
    members = np.arange(np.prod(own.places)).reshape(own.places) if own.members is None else own.members
    for index, count in zip(passes, counts, strict=True):
        places = np.isin(members, order[:count])
        np.testing.assert_array_equal(shown(plan, index), np.where(places, baseline, book.image))
        assert plan.perturbed_fraction[index] == pytest.approx(places.mean())
    assert len(plan.plans) == 2  # the clean image is the other one
    assert book.removed_units("black", own, order, counts).tolist() == passes.tolist()


def test_a_set_is_one_pass_by_whatever_units_and_ways_it_is_asked_for():
    book = a_book()
    grid, pixels, values = units(book, "grid", 2), units(book, "pixel"), units(book, "channel")
    places = grid.members == 3
    first = book.removed("mean", places)
    one = np.array([int(places.sum())])
    assert book.removed_units("zero", grid, np.array([3]), np.array([1])).tolist() == [first]
    assert book.removed_units("mean", pixels, np.flatnonzero(places), one).tolist() == [first]
    everywhere = np.flatnonzero(np.broadcast_to(places, (3, 6, 5)))
    assert book.removed_units("mean", values, everywhere, 3 * one).tolist() == [first]
    assert book.removed_units("black", pixels, np.flatnonzero(places), one).tolist() != [first]


def test_no_units_at_all_is_the_clean_pass():
    book = a_book()
    found = book.removed_units("mean", units(book, "pixel"), np.array([], np.intp), np.array([0]))
    assert found.tolist() == [book.clean()]
    plan = closed(book, ())
    np.testing.assert_array_equal(shown(plan, plan.clean), book.image)


def test_once_is_made_once():
    book, calls = a_book(), []
    assert [book.once("it", lambda: calls.append(1) or 7) for _ in range(3)] == [7, 7, 7]
    assert calls == [1]


@pytest.mark.parametrize(("length", "number"), [(32, 9), (7, 3), (5, 5), (224, 16), (9, 1)])
def test_a_place_is_in_the_cell_its_centre_is_in(length, number):
    found = cells((length,), number)
    assert found.tolist() == [int((i + 0.5) * number / length) for i in range(length)]
    assert np.unique(found).tolist() == list(range(number))
    assert np.ptp(np.bincount(found)) <= 1


def test_cells_of_a_picture_go_row_by_row_and_cannot_be_more_than_pixels():
    assert cells((2, 4), 2).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3]]
    with pytest.raises(InputError, match="a grid of 5 cells an axis does not fit an image of \\(6, 4\\)"):
        cells((6, 4), 5)
