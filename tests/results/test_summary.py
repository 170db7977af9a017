"""From rows to the table: means, lifts over the control, corrected means."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.reliability.intervals import corrected_mean, mean_interval, paired
from c2i_fast.results.run import score_table
from c2i_fast.results.summary import COLUMNS, FLOOR, aligned, score_rows, summarise, table_rows, values_by_cell
from c2i_fast.types import Score

RNG = np.random.default_rng(0)


def rows(values: dict[str, dict[str, float]], metric="deletion", readout="raw") -> list[tuple]:
    """(method → image → value) as rows in the order of COLUMNS, image by image as a run writes them."""
    images = dict.fromkeys(image for own in values.values() for image in own)
    return [
        (image, method, metric, "c2i", readout, own[image])
        for image in images
        for method, own in values.items()
        if image in own
    ]


def table(**methods) -> dict[str, dict[str, float]]:
    return {
        name.replace("_", "-"): {str(i): float(v) for i, v in enumerate(values)} for name, values in methods.items()
    }


def test_cells_gather_images_in_the_order_they_first_appear():
    cells = values_by_cell(rows(table(rise=[1, 2], sobel=[3, 4])) + rows(table(rise=[5, 6]), metric="gap"))
    assert list(cells) == [
        ("rise", "deletion", "c2i", "raw"),
        ("sobel", "deletion", "c2i", "raw"),
        ("rise", "gap", "c2i", "raw"),
    ]
    assert cells["sobel", "deletion", "c2i", "raw"] == {"0": 3.0, "1": 4.0}


def test_scores_and_tables_of_scores_give_the_same_rows():
    scores = [
        Score(
            image=i,
            method="m",
            metric="gap",
            protocol="p",
            protocol_hash="h",
            readout="raw",
            target=0,
            value=v,
            curve=None,
            passes=1,
        )
        for i, v in (("a", 0.1), ("b", 0.2))
    ]
    expected = [("a", "m", "gap", "p", "raw", 0.1), ("b", "m", "gap", "p", "raw", 0.2)]
    assert list(score_rows(scores)) == list(table_rows(score_table(scores))) == expected
    assert len(COLUMNS) == 6


def test_every_cell_has_its_mean_and_interval():
    values = RNG.random(12)
    (row,) = summarise(values_by_cell(rows(table(rise=values))))
    assert row.score == mean_interval(values)
    assert row.lift is None
    assert row.corrected is None
    content = row.to_dict()
    assert {k: content[k] for k in ("method", "metric", "protocol", "readout", "n")} == {
        "method": "rise",
        "metric": "deletion",
        "protocol": "c2i",
        "readout": "raw",
        "n": 12,
    }
    assert list(content) == ["method", "metric", "protocol", "readout", "mean", "ci95", "n"]


def test_the_lift_is_the_paired_difference_to_smooth_random():
    ours, floor = RNG.random((2, 9))
    summary = {r.method: r for r in summarise(values_by_cell(rows(table(rise=ours, smooth_random=floor))))}
    assert FLOOR == "smooth-random"
    assert summary["rise"].lift == paired(ours, floor)
    assert summary["smooth-random"].lift is None, "the control has no lift over itself"
    assert summary["rise"].to_dict()["lift"]["mean"] == pytest.approx(np.mean(ours - floor))


def test_the_lift_is_of_the_same_metric_and_read_out():
    deletion, gap = table(rise=[1, 2, 3], smooth_random=[0, 0, 0]), table(rise=[1, 2, 3])
    summary = summarise(values_by_cell(rows(deletion) + rows(gap, metric="gap") + rows(deletion, readout="calibrated")))
    lifts = {(r.method, r.metric, r.readout): r.lift for r in summary}
    assert lifts["rise", "gap", "raw"] is None
    assert lifts["rise", "deletion", "calibrated"].mean == 2


def test_pairs_are_made_of_the_images_both_have():
    first, second = aligned({"a": 1.0, "b": 2.0, "c": 3.0}, {"c": 30.0, "a": 10.0, "z": 0.0})
    assert first.tolist() == [1, 3]
    assert second.tolist() == [10, 30]


def test_low_precision_is_corrected_by_its_subset():
    fast = RNG.random(20)
    reference = {str(i): float(fast[i] + 0.05 + 0.01 * RNG.normal()) for i in (3, 7, 8, 15)}
    cells = values_by_cell(rows(table(rise=fast)))
    full = values_by_cell(rows({"rise": reference}))
    (row,) = summarise(cells, full)
    subset = np.array([fast[int(i)] for i in reference])
    assert row.score == mean_interval(fast), "the uncorrected mean stays beside it"
    assert row.corrected == corrected_mean(fast, subset, np.array(list(reference.values())))
    assert row.to_dict()["corrected"]["mean"] == pytest.approx(np.mean(fast) + 0.05, abs=0.02)
