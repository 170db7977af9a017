"""From names to measures: presets, their own metrics, several presets at once."""

from __future__ import annotations

import pytest

from c2i_fast.errors import InputError
from c2i_fast.metrics import METRICS, PRESETS
from c2i_fast.metrics.measures import default_metrics, make_measures, protocols_of


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_has_metrics_of_its_own_and_no_protocol_without_one(preset):
    measures = make_measures((), (preset,))
    assert measures
    assert {p.name for p in protocols_of(measures)} == {preset}
    usable = {name for metric in METRICS for name in METRICS[metric].protocols}
    assert set(PRESETS[preset]) <= usable


def test_the_usual_three_are_the_default_where_a_preset_has_them():
    assert default_metrics("c2i") == ("deletion", "insertion", "gap")
    assert default_metrics("torchcam") == ("deletion", "insertion")
    assert default_metrics("tomsett")[:2] == ("aopc-lerf", "aopc-morf") or "aopc-morf" in default_metrics("tomsett")


def test_several_presets_give_each_metric_under_each_that_has_it():
    made = make_measures(("deletion", "aopc-morf"), ("c2i", "torchcam", "tomsett"))
    assert [(m.metric.name, m.protocol.name) for m in made] == [
        ("deletion", "c2i"),
        ("aopc-morf", "c2i"),
        ("deletion", "torchcam"),
        ("aopc-morf", "tomsett"),
    ]


def test_equal_protocols_of_two_presets_are_one_measure():
    twice = make_measures(("deletion",), ("c2i", "c2i"))
    assert len(twice) == 1


def test_what_no_preset_defines_is_named_before_any_pass():
    with pytest.raises(InputError, match="preset 'torchcam' has no protocol for 'irof'; it has deletion, insertion"):
        make_measures(("irof",), ("torchcam",))
    with pytest.raises(InputError, match="none of the presets torchcam, xplique defines irof"):
        make_measures(("irof", "deletion"), ("torchcam", "xplique"))


def test_an_override_applies_where_the_field_is_and_must_be_somewhere():
    (made,) = make_measures(("deletion",), ("c2i",), {"unit": "patch", "unit_size": "4"})
    assert made.protocol.name == "c2i+unit=patch+unit_size=4"
    with pytest.raises(InputError, match="no field 'steps' to set; known: baseline"):
        make_measures(("deletion",), ("c2i",), {"steps": "3"})
