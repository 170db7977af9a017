"""Keys of sets: equal sets have equal keys however they came about, and others have others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.perturb.sets import EMPTY, growing, key_of, unit_keys
from c2i_fast.perturb.units import units_of
from c2i_fast.protocols import CurveProtocol

SHAPE = (3, 4, 5)
examples = settings(deadline=None, derandomize=True, max_examples=60)


def units(unit: str, size=None):
    protocol = CurveProtocol(name="x", metric="deletion", unit=unit, unit_size=size)
    return units_of(protocol, np.zeros(SHAPE, np.float32))


@examples
@given(st.integers(0, 2**32 - 1), st.sampled_from([("pixel", None), ("channel", None), ("patch", 2)]))
def test_a_growing_set_has_the_key_of_the_mask_it_makes(seed, unit):
    rng, partition = np.random.default_rng(seed), units(*unit)
    order = rng.permutation(partition.count)
    counts = np.sort(rng.integers(0, partition.count + 1, 6))
    found = growing(unit_keys(partition, SHAPE).take(order, axis=1), counts)
    for column, count in zip(found.T, counts, strict=True):
        chosen = np.zeros(partition.count, bool)
        chosen[order[:count]] = True
        assert (int(column[0]), int(column[1])) == key_of(partition.spread(chosen), SHAPE)


def test_a_patch_is_the_set_of_its_pixels_and_a_pixel_of_its_values():
    patch = np.zeros((1, 4, 5), bool)
    patch[0, :2, :2] = True
    assert key_of(patch, SHAPE) == key_of(np.broadcast_to(patch, SHAPE).copy(), SHAPE)
    first = unit_keys(units("patch", 2), SHAPE)[:, 0]
    assert key_of(patch, SHAPE) == (int(first[0]), int(first[1]))


def test_different_sets_have_different_keys_and_only_the_empty_one_is_zero():
    found = set()
    for number in range(1 << 10):
        mask = np.zeros((1, 4, 5), bool)
        mask.ravel()[:10] = [(number >> bit) & 1 for bit in range(10)]
        found.add(key_of(mask, SHAPE))
    assert len(found) == 1 << 10
    assert key_of(np.zeros((1, 4, 5), bool), SHAPE) == EMPTY
    assert EMPTY in found
