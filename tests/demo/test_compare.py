"""What is said of scores and truth, from a run of three methods written by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from c2i_fast.demo.compare import compare, verdict
from c2i_fast.demo.tetromino import make_tetrominoes
from c2i_fast.demo.truth import MASS, TOP, Agreement

IMAGES = make_tetrominoes(4, seed=0)
QUALITY = {"good": 1.0, "fair": 0.5, "poor": 0.0}  # share of the map that is the truth, the rest is its opposite


class Maps:
    def __init__(self, quality: float) -> None:
        self.quality = quality

    def load(self, image_id, space, channels=1):
        mask = IMAGES.masks[IMAGES.ids.index(image_id)].astype(np.float32)
        assert mask.shape == space
        return self.quality * mask + (1 - self.quality) * (1 - mask)


def found(order=("good", "fair", "poor"), readouts=("raw",)):
    """A comparison whose deletion falls, and gap rises, in this order of methods."""
    low = {}
    for readout in readouts:
        for rank, method in enumerate(order):
            for metric, sign in (("deletion", 1), ("gap", -1)):
                low[method, metric, "c2i", readout] = dict.fromkeys(reversed(IMAGES.ids), sign * rank / 10)
    maps = {name: Maps(quality) for name, quality in QUALITY.items()}
    return compare(SimpleNamespace(low=low), maps, IMAGES, seed=0)


def test_the_measures_are_those_of_the_maps():
    truth = found().truth
    assert truth[MASS]["good"].mean == truth[TOP]["good"].mean == 1
    assert truth[MASS]["poor"].mean == truth[TOP]["poor"].mean == 0
    share = IMAGES.masks.mean(axis=(1, 2))
    assert truth[MASS]["fair"].mean == pytest.approx(share.mean())
    assert found().chance == pytest.approx(share.mean())


def test_maps_are_in_the_order_of_the_images():
    assert np.array_equal(found().maps["good"], IMAGES.masks.astype(np.float32))


@pytest.mark.parametrize(("order", "tau"), [(("good", "fair", "poor"), 1.0), (("poor", "fair", "good"), -1.0)])
def test_every_metric_is_turned_so_that_higher_is_better(order, tau):
    for agreement in found(order).agreements[MASS].values():
        assert agreement.tau == pytest.approx(tau)


def test_as_json_it_holds_every_method_and_score():
    content = found(readouts=("raw", "calibrated")).to_dict()
    assert {(row["name"], row["measure"]) for row in content["methods"]} == {
        (n, m) for n in QUALITY for m in (MASS, TOP)
    }
    assert len(content["tau"]) == 2 * 2 * 2
    assert set(content["verdict"]) == {MASS, TOP}


def certain(tau):
    return Agreement(tau=tau, ci95=(tau - 0.1, tau + 0.1))


def test_the_verdict_names_best_and_worst():
    said = verdict(
        {("gap", "raw"): certain(0.5), ("deletion", "raw"): certain(0.2), ("insertion", "raw"): certain(0.4)}
    )
    assert said == "most by gap, τ = 0.50 [0.40, 0.60]; least by deletion, τ = 0.20 [0.10, 0.30]"


def test_the_verdict_admits_that_nothing_differs():
    assert verdict({("gap", "raw"): certain(0.3), ("deletion", "raw"): certain(0.3)}).startswith(
        "every score equally, τ"
    )


def test_a_read_out_is_named_where_the_other_one_differs():
    scores = {
        ("gap", "raw"): 0.5,
        ("gap", "calibrated"): 0.4,
        ("deletion", "raw"): 0.5,
        ("deletion", "calibrated"): 0.5,
    }
    said = verdict({key: certain(tau) for key, tau in scores.items()})
    assert said.startswith("most by gap (raw), deletion, τ = 0.50")
    assert "least by gap (calibrated), τ" in said


def test_ties_have_the_widest_of_their_intervals():
    narrow, wide = Agreement(tau=0.3, ci95=(0.2, 0.6)), Agreement(tau=0.3, ci95=(0.1, 0.4))
    assert verdict({("gap", "raw"): narrow, ("deletion", "raw"): wide}).endswith("[0.10, 0.60]")
