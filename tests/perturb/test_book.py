"""The book of passes: equal images once, whoever asks; what no mask makes comes last."""

from __future__ import annotations

import numpy as np

from c2i_fast.perturb.baseline import Given
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.curve import RankedMap, request_curve
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import Preprocessing

SHAPE = (3, 4, 4)


def empty_book() -> Book:
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    return Book(given=Given(pixels=image, preprocessing=Preprocessing(mean=(0.5,))))


def test_a_set_asked_for_twice_is_one_pass_and_another_baseline_another():
    book, places = empty_book(), np.zeros((1, 4, 4), bool)
    places[0, 1, 2] = True
    first = book.removed("mean", places)
    assert book.removed("zero", places) == first, "a synonym is the same baseline"
    assert book.removed("black", places) != first
    assert book.removed("black", np.zeros((1, 4, 4), bool)) == book.clean(), "nothing removed is the image itself"


def test_a_curve_and_a_set_meet_in_one_pass():
    """The first point of a deletion removes the most salient pixel; whoever asks for that pixel gets the same pass."""
    book, saliency = empty_book(), np.arange(16, dtype=np.float32).reshape(4, 4)
    protocol = CurveProtocol(name="x", metric="deletion", counts="pixels", intervals=None, pixels_per_step=1)
    _, passes, _ = request_curve(book, RankedMap(saliency=saliency), protocol)
    top = np.zeros((1, 4, 4), bool)
    top[0, 3, 3] = True
    assert book.removed("mean", top) == passes[1]


def test_closing_numbers_masked_passes_first_and_direct_ones_after_them():
    book = empty_book()
    made = np.full(SHAPE, 0.25, np.float32)
    direct = book.direct(made, 0.5)
    assert book.direct(made.copy(), 0.5) == direct
    clean = book.clean()
    plans, work, images, fractions, renumbered = book.close()
    assert (len(plans), len(work), len(images)) == (1, 1, 1)
    assert renumbered(np.array([clean, direct])).tolist() == [0, 1]
    assert fractions.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(images[0], made)
