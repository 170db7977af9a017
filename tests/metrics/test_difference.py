"""The share of each field in the difference of two protocols."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from c2i_fast.metrics.difference import described, differing, hybrids, shapley
from c2i_fast.metrics.presets import PRESETS, protocol_for
from c2i_fast.protocols import CurveProtocol

WITH_DELETION = [name for name in PRESETS if "deletion" in PRESETS[name]]


def test_shares_are_the_average_over_every_order_and_add_up():
    """By hand: each order of changing three fields, one after the other."""
    first = CurveProtocol(name="a", metric="deletion")
    second = CurveProtocol(name="b", metric="deletion", baseline="blur", x="step", ties="reverse-index")
    groups = list(differing(first, second))
    assert sorted(groups) == ["baseline", "ties", "x"]
    rng = np.random.default_rng(0)
    values = {chosen: rng.random(4) for chosen in hybrids(first, second)}
    assert len(values) == 8
    expected = {name: np.zeros(4) for name in groups}
    for order in permutations(groups):
        for place, name in enumerate(order):
            before = frozenset(order[:place])
            expected[name] += (values[before | {name}] - values[before]) / 6
    found = shapley(values, groups)
    for name in groups:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-15)
    total = values[frozenset(groups)] - values[frozenset()]
    np.testing.assert_allclose(sum(found.values()), total, atol=1e-15)


@pytest.mark.parametrize("name", WITH_DELETION)
@pytest.mark.parametrize("other", WITH_DELETION)
def test_mixtures_of_all_presets_make_sense_and_end_at_both(name, other):
    first, second = protocol_for(name, "deletion"), protocol_for(other, "deletion")
    mixed = hybrids(first, second)
    assert all(protocol.clash() is None for protocol in mixed.values())
    assert mixed[frozenset()].hash() == first.hash()
    assert mixed[frozenset(differing(first, second))].hash() == second.hash()
    assert len(mixed) == 2 ** len(differing(first, second))


def test_a_synonym_is_no_difference():
    first = CurveProtocol(name="a", metric="deletion", baseline="zero")
    assert differing(first, CurveProtocol(name="b", metric="deletion", baseline="mean")) == {}


def test_groups_are_described_by_what_they_set():
    rise = protocol_for("rise", "deletion", {"pixels_per_step": "224"})
    counts = differing(rise, protocol_for("torchcam", "deletion"))["counts"]
    assert described(rise, counts) == "pixels, pixels_per_step 224"
    assert described(protocol_for("torchcam", "deletion"), counts) == "ceil-block, intervals 20"
