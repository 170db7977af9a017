"""Low precision is an estimator: which subset is scored twice, and when it is not to be believed."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.data.memory import MemoryImages
from c2i_fast.data.source import Image
from c2i_fast.errors import ContractError
from c2i_fast.reliability.intervals import paired
from c2i_fast.results.estimate import SubsetSource, check_estimate, reversals, subset, worst_drift

CELL = ("rise", "deletion", "c2i", "raw")
OTHER = ("sobel", "deletion", "c2i", "raw")


def by_image(values) -> dict[str, float]:
    return {str(i): float(v) for i, v in enumerate(values)}


# ------------------------------------------------------------------------------------------------ the subset


def test_the_subset_depends_on_seed_and_ids_and_not_on_their_order():
    ids = [f"{i}.png" for i in range(50)]
    chosen = subset(ids, 12, 3)
    assert len(chosen) == 12
    assert chosen <= set(ids)
    assert subset(ids[::-1], 12, 3) == chosen
    assert subset(ids, 12, 4) != chosen
    assert subset(ids, 5, 3) < chosen, "a smaller subset is part of the larger one"
    assert subset(ids, 99, 3) == set(ids)


def test_every_image_is_as_likely_to_be_chosen():
    ids = [str(i) for i in range(10)]
    counts = dict.fromkeys(ids, 0)
    for seed in range(600):
        for image in subset(ids, 3, seed):
            counts[image] += 1
    assert all(abs(c - 180) < 4 * (600 * 0.3 * 0.7) ** 0.5 for c in counts.values())


def test_a_subset_of_a_source_keeps_order_pixels_labels_and_place():
    images = np.random.default_rng(0).random((7, 1, 2, 3)).astype(np.float32)
    source = MemoryImages(images, labels=list(range(7)))
    part = SubsetSource(source, frozenset({"5", "1", "4"}))
    assert list(part.ids) == ["1", "4", "5"]
    found = [image for image in part.stream() if isinstance(image, Image)]
    assert [(i.id, i.index, i.labels) for i in found] == [("1", 0, (1,)), ("4", 1, (4,)), ("5", 2, (5,))]
    for image in found:
        np.testing.assert_array_equal(image.pixels, images[int(image.id)])
    assert [i.id for i in part.stream(start=2)] == ["5"]
    assert part.fingerprint() == source.fingerprint()


# ------------------------------------------------------------------------------------------------ drift


def test_drift_is_the_mean_change_held_to_the_spread_between_images():
    rng = np.random.default_rng(1)
    exact = rng.random(30)
    fast = exact + 0.02 + 0.01 * rng.normal(size=30)
    found = worst_drift({CELL: by_image(fast)}, {CELL: by_image(exact)})
    assert found.cell == CELL
    assert found.change == paired(fast, exact)
    assert found.share == pytest.approx(abs((fast - exact).mean()) / exact.std(ddof=1))
    content = found.to_dict()
    assert (content["method"], content["metric"], content["n"]) == ("rise", "deletion", 30)
    assert content["share_of_spread"] == found.share


def test_the_worst_drift_is_that_of_the_cell_that_moved_most_for_its_spread():
    narrow = np.array([0.50, 0.51, 0.52])
    wide = np.array([0.1, 0.5, 0.9])
    full = {CELL: by_image(wide), OTHER: by_image(narrow)}
    low = {CELL: by_image(wide - 0.1), OTHER: by_image(narrow - 0.02)}
    assert worst_drift(low, full).cell == OTHER


def test_drift_is_over_the_images_scored_twice_and_needs_two_of_them():
    fast = np.array([0.1, 0.2, 0.3, 9.0])
    found = worst_drift({CELL: by_image(fast)}, {CELL: {"0": 0.1, "1": 0.3}})
    assert found.change.mean == pytest.approx(-0.05)
    assert worst_drift({CELL: by_image(fast)}, {CELL: {"0": 0.1}}) is None
    assert worst_drift({CELL: by_image(fast)}, {}) is None


def test_a_shift_is_corrected_and_no_failure():
    exact = np.random.default_rng(2).random(20)
    check_estimate("bf16", {CELL: by_image(exact + 0.5)}, {CELL: by_image(exact)})


def test_methods_that_change_places_are_refused():
    rng = np.random.default_rng(4)
    base = rng.random(40)
    full = {CELL: by_image(base), OTHER: by_image(base + 0.1 + 0.001 * rng.normal(size=40))}
    low = {CELL: full[CELL], OTHER: by_image(base - 0.1 + 0.001 * rng.normal(size=40))}
    assert reversals(low, full) == [(CELL, OTHER)]
    assert reversals(full, full) == []
    with pytest.raises(ContractError, match="in bf16 rise and sobel change places"):
        check_estimate("bf16", low, full)


def test_methods_that_fp32_does_not_separate_cannot_change_places():
    rng = np.random.default_rng(5)
    base = rng.random(40)
    full = {CELL: by_image(base), OTHER: by_image(base + rng.normal(size=40))}
    low = {CELL: by_image(base), OTHER: by_image(base - 1)}
    separated = abs(np.mean(list(full[OTHER].values())) - base.mean()) > 0.5
    assert not separated
    assert reversals(low, full) == []


def test_cells_of_different_metrics_are_not_compared():
    gap = ("sobel", "gap", "c2i", "raw")
    values = np.random.default_rng(6).random(20)
    assert (
        reversals(
            {CELL: by_image(values), gap: by_image(values - 1)}, {CELL: by_image(values), gap: by_image(values + 1)}
        )
        == []
    )
