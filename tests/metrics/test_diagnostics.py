"""Warnings from a map's own passes: saturated clean images, and ends that are still recognised."""

from __future__ import annotations

import numpy as np
import pytest

from c2i_fast import score
from c2i_fast.metrics.diagnostics import pass_warnings
from c2i_fast.metrics.presets import protocol_for
from c2i_fast.results.diagnostics import count_warnings
from tests.nets import constant_net

CURVES = {
    "deletion": [0.9995, 0.5, 0.6],
    "insertion": [0.6, 0.5, 0.9995],
}


@pytest.mark.parametrize("metric", list(CURVES))
def test_both_directions_are_read_from_their_own_ends(metric):
    protocol = protocol_for("c2i", metric, {"intervals": "2"})
    found = pass_warnings("raw", [protocol], [3], np.array(CURVES[metric]))
    assert found == ["saturated=0.9995", "end still high=0.60"]
    calm = np.array(CURVES[metric]) * [0.9, 0.9, 0.2] if metric == "deletion" else np.array([0.1, 0.5, 0.9])
    assert pass_warnings("raw", [protocol], [3], calm) == []


def test_a_second_protocols_points_and_an_appended_clean_one_are_not_mistaken_for_the_end():
    curve = protocol_for("c2i", "deletion", {"intervals": "2"})
    values = np.array([0.8, 0.5, 0.1, 0.8, 0.7, 0.1])
    assert pass_warnings("raw", [curve, curve], [3, 3], values) == []
    drop = protocol_for("c2i", "aopc-morf", {"intervals": "2"})
    assert pass_warnings("raw", [drop], [4], np.array([0.8, 0.5, 0.1, 0.8])) == []
    assert pass_warnings("raw", [drop], [4], np.array([0.8, 0.5, 0.7, 0.8])) == ["end still high=0.70"]


@pytest.mark.parametrize("changes", [{"ends": "no-end"}, {"limit": "0.5"}, {"most_steps": "3"}])
def test_curves_that_do_not_reach_the_end_are_not_judged_by_it(changes):
    protocol = protocol_for("c2i", "deletion", changes)
    assert pass_warnings("raw", [protocol], [3], np.array([0.9995, 0.9, 0.9])) == []


def test_logits_and_other_protocols_are_not_judged():
    protocol = protocol_for("c2i", "deletion", {"intervals": "2"})
    assert pass_warnings("logit", [protocol], [3], np.array([9.0, 8, 7])) == []
    assert pass_warnings("raw", [protocol_for("c2i", "road-morf")], [3], np.array([0.9999, 0.9, 0.9])) == []


def test_a_network_that_looks_at_nothing_has_both_warnings_in_every_row():
    images = np.random.default_rng(0).random((2, 3, 4, 4)).astype(np.float32)
    found = score(constant_net(np.array([9.0, 0]), 3, (4, 4)), images, images[:, 0], overrides={"intervals": "4"})
    assert {row.metric for row in found.rows} == {"deletion", "insertion", "gap"}
    for row in found.rows:
        assert row.warnings == ("saturated=0.9999", "end still high=1.00")


def test_images_are_counted_once_a_method_and_warning():
    rows = [
        ("1", "a", ["ties=0.20", "saturated=0.9995"]),
        ("1", "a", ["ties=0.20"]),
        ("2", "a", ["ties=0.50", "constant map"]),
        ("1", "b", []),
        ("2", "b", ["constant map"]),
    ]
    found = [(d.method, d.warning, d.images, d.of) for d in count_warnings(rows)]
    assert found == [
        ("a", "ties", 2, 2),
        ("a", "constant map", 1, 2),
        ("a", "saturated", 1, 2),
        ("b", "constant map", 1, 2),
    ]
