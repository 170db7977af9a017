"""What stands under a table: the statistics of the right scores, in the right direction, and no verdict too early."""

from __future__ import annotations

import json

import numpy as np
import pytest

from c2i_fast.reliability.agreement import Agreement, agreement
from c2i_fast.reliability.compare import compare
from c2i_fast.reliability.consistency import internal_consistency, mean_inter_method, ranking_consistency
from c2i_fast.reliability.stability import split_half
from c2i_fast.results.trust import RESAMPLES, reliability, trust, verdict

METHODS = ("ours", "theirs", "random", "smooth-random")


def make_scores(images=40, methods=METHODS, seed=0):
    rng = np.random.default_rng(seed)
    return 0.5 - 0.05 * np.arange(len(methods))[:, None] + 0.05 * rng.normal(size=(len(methods), images))


def cells_of(scores, methods=METHODS, metric="deletion", readout="raw"):
    return {
        (method, metric, "c2i", readout): {str(i): float(v) for i, v in enumerate(row) if np.isfinite(v)}
        for method, row in zip(methods, scores, strict=True)
    }


def test_every_number_is_its_statistic_with_deletion_turned_round():
    scores = make_scores()
    (entry,) = trust(cells_of(scores))
    assert entry.agreement == agreement(-scores, resamples=RESAMPLES)
    assert entry.without_controls == agreement(-scores[:2], resamples=RESAMPLES)
    assert entry.inter_method == mean_inter_method(-scores)
    assert entry.stability == split_half(-scores)
    assert list(entry.pairs) == compare(scores, METHODS), "differences keep the metric's own sign"


def test_better_follows_the_metrics_direction():
    scores = make_scores()
    (low,), (high,) = trust(cells_of(scores)), trust(cells_of(scores, metric="insertion"))
    assert low.better["smooth-random"] == ("ours", "theirs", "random")
    assert low.better["ours"] == ()
    assert high.better["ours"] == ("theirs", "random", "smooth-random")
    assert high.better["smooth-random"] == ()


def test_groups_are_metric_by_read_out_and_single_methods_have_none():
    cells = cells_of(make_scores()) | cells_of(make_scores(seed=1), readout="calibrated")
    cells |= cells_of(make_scores()[:1], ("ours",), metric="gap")
    assert [(e.metric, e.readout) for e in trust(cells)] == [("deletion", "raw"), ("deletion", "calibrated")]


def test_images_that_a_method_lacks_are_left_out():
    scores = make_scores()
    holed = scores.copy()
    holed[1, 3] = np.nan
    (entry,) = trust(cells_of(holed))
    assert entry.agreement.images == 39
    assert list(entry.pairs) == compare(np.delete(scores, 3, axis=1), METHODS)


@pytest.mark.parametrize(
    ("methods", "images", "ci95", "said"),
    [
        (3, 90, (0.8, 0.9), "no verdict: needs four methods"),
        (4, 2, None, "no verdict: too few images"),
        (4, 90, None, "no verdict: no method differs"),
        (4, 90, (0.66, 0.9), "images agree"),
        (4, 90, (0.1, 0.3), "images disagree"),
        (4, 90, (0.5, 0.7), "undecided"),
    ],
)
def test_verdicts(methods, images, ci95, said):
    assert verdict(Agreement(alpha=0.7, ci95=ci95, ci99=ci95, methods=methods, images=images)) == said


def test_controls_alone_or_one_method_beside_them_have_no_second_alpha():
    scores = make_scores()
    assert trust(cells_of(scores, ("ours", "sobel", "random", "smooth-random")))[0].without_controls is None
    assert trust(cells_of(scores, ("center", "sobel", "random", "smooth-random")))[0].without_controls is None
    assert trust(cells_of(scores, ("a", "b", "c", "d")))[0].without_controls is None


def test_consistency_of_two_metrics_counts_them_both_upwards():
    deletion, insertion = make_scores(), -make_scores(seed=3)
    cells = cells_of(deletion) | cells_of(insertion, metric="insertion") | cells_of(deletion, readout="calibrated")
    (entry,) = reliability(cells)["consistency"]
    assert (entry["first"], entry["second"], entry["readout"]) == ("deletion", "insertion", "raw")
    np.testing.assert_allclose(list(entry["over_images"].values()), internal_consistency(-deletion, insertion))
    assert entry["over_methods_mean"] == pytest.approx(ranking_consistency(-deletion, insertion).mean())


def test_the_json_is_json_and_says_its_verdict():
    content = json.loads(json.dumps(reliability(cells_of(make_scores()))))
    (entry,) = content["metrics"]
    assert entry["verdict"] in ("images agree", "images disagree", "undecided")
    assert entry["without_controls"]["verdict"] == "no verdict: needs four methods"
    assert len(entry["pairs"]) == 6
    assert {"first", "second", "mean", "ci95", "n", "test", "p", "p_holm", "wilcoxon_holm"} == set(entry["pairs"][0])


def test_one_image_is_no_statistics_and_no_failure():
    (entry,) = trust(cells_of(make_scores(images=1)))
    assert np.isnan([entry.agreement.alpha, entry.stability.tau, entry.inter_method]).all()
    assert verdict(entry.agreement) == "no verdict: too few images"


def test_equal_maps_are_one_method_twice_and_never_told_apart():
    scores = make_scores()
    scores[1] = scores[0]
    (entry,) = trust(cells_of(scores))
    assert entry.pairs[0].p_holm == 1
    assert entry.stability.same == 0, "a tie is no ranking"
