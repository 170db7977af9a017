"""Protocols as data: the tables of the presets, and what may be set over them."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.metrics.measures import make_measures
from c2i_fast.metrics.presets import PRESETS, protocol_for
from c2i_fast.perturb.counts import point_counts
from c2i_fast.protocols import CurveProtocol

CURVES = ("deletion", "insertion", "deletion-lerf", "insertion-lerf")
SIDES = {
    "deletion": ("morf", "image"),
    "insertion": ("morf", "baseline"),
    "deletion-lerf": ("lerf", "image"),
    "insertion-lerf": ("lerf", "baseline"),
}


@pytest.mark.parametrize("curve", CURVES)
def test_c2i_is_32_equal_intervals_to_the_mean_with_stable_ties(curve):
    order, start = SIDES[curve]
    assert protocol_for("c2i", curve) == CurveProtocol(
        name="c2i",
        metric=curve,
        unit="pixel",
        order=order,
        ties="index",
        counts="equal",
        intervals=32,
        pixels_per_step=None,
        count_list=None,
        start=start,
        baseline="mean",
        x="fraction",
        target="top1",
        summary="trapezoid",
    )


@pytest.mark.parametrize("curve", CURVES)
def test_rise_is_eight_rows_a_step_to_zero_and_from_a_blur_by_equal_steps(curve):
    order, start = SIDES[curve]
    assert protocol_for("rise", curve) == CurveProtocol(
        name="rise",
        metric=curve,
        unit="pixel",
        order=order,
        ties="reverse-index",
        counts="pixels",
        intervals=None,
        pixels_per_step=None,
        count_list=None,
        start=start,
        baseline="blur" if curve.startswith("insertion") else "zero",
        x="step",
        target="top1",
        summary="trapezoid",
    )


def test_rise_on_224_is_the_published_29_points_of_1792_pixels():
    counts = point_counts(protocol_for("rise", "deletion"), 224 * 224, 224)
    assert counts.tolist() == [1792 * k for k in range(29)]


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_names_itself_and_its_metrics(preset):
    for curve, protocol in PRESETS[preset].items():
        assert (protocol.name, protocol.metric) == (preset, curve)
        assert protocol.clash() is None
        assert type(protocol).from_dict(protocol.to_dict()) == protocol
    assert len({p.hash() for p in PRESETS[preset].values()}) == len(PRESETS[preset])


# ------------------------------------------------------------------------------------------------ overrides


@pytest.mark.parametrize(
    ("preset", "overrides", "expected"),
    [
        ("c2i", {"intervals": "8"}, {"intervals": 8}),
        ("c2i", {"baseline": "blur"}, {"baseline": "blur"}),
        ("c2i", {"counts": "floor"}, {"counts": "floor"}),
        ("c2i", {"ties": "reverse-index"}, {"ties": "reverse-index"}),
        ("c2i", {"x": "step"}, {"x": "step"}),
        ("c2i", {"target": "label"}, {"target": "label"}),
        ("c2i", {"target": "7"}, {"target": "7"}),
        ("c2i", {"counts": "ceil-block", "intervals": "20"}, {"counts": "ceil-block", "intervals": 20}),
        ("c2i", {"pixels_per_step": "16"}, {"counts": "pixels", "pixels_per_step": 16, "intervals": None}),
        ("c2i", {"counts": "pixels"}, {"counts": "pixels", "pixels_per_step": None, "intervals": None}),
        (
            "c2i",
            {"counts": "pixels", "pixels_per_step": "3"},
            {"counts": "pixels", "pixels_per_step": 3, "intervals": None},
        ),
        ("rise", {"pixels_per_step": "16"}, {"counts": "pixels", "pixels_per_step": 16}),
        ("rise", {"intervals": "10"}, {"counts": "equal", "intervals": 10}),
        ("rise", {"counts": "ceil-block", "intervals": "20"}, {"counts": "ceil-block", "intervals": 20}),
        ("rise", {"counts": "floor", "intervals": "20"}, {"counts": "floor", "intervals": 20}),
    ],
)
def test_an_override_changes_its_field_and_nothing_else_but_what_it_implies(preset, overrides, expected):
    plain, made = protocol_for(preset, "deletion"), protocol_for(preset, "deletion", overrides)
    assert made == replace(plain, name=made.name, **expected)
    assert made.hash() != plain.hash()


def test_the_name_carries_every_override_sorted():
    overrides = {"x": "step", "baseline": "blur", "intervals": "8"}
    name = protocol_for("c2i", "insertion", overrides).name
    assert name == "c2i+baseline=blur+intervals=8+x=step"
    assert protocol_for("c2i", "insertion", dict(reversed(overrides.items()))).name == name
    assert protocol_for("c2i", "insertion", {}).name == protocol_for("c2i", "insertion").name == "c2i"


def test_setting_a_default_changes_the_name_and_not_the_hash():
    made = protocol_for("c2i", "deletion", {"intervals": "32"})
    assert made.name == "c2i+intervals=32"
    assert made.hash() == protocol_for("c2i", "deletion").hash()


def test_the_same_protocol_reached_by_two_ways_has_one_hash():
    by_number = protocol_for("c2i", "deletion", {"pixels_per_step": "16", "ties": "reverse-index", "x": "step"})
    by_preset = protocol_for("rise", "deletion", {"pixels_per_step": "16"})
    assert by_number.hash() == by_preset.hash()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"intervals": "8", "pixels_per_step": "4"}, "both say how long a step is"),
        ({"counts": "pixels", "intervals": "8"}, "counts=pixels has no use for intervals"),
        ({"counts": "floor", "pixels_per_step": "8"}, "counts=floor has no use for pixels_per_step"),
        ({"intervals": "0"}, "intervals must be a whole number of at least 1, got '0'"),
        ({"intervals": "-3"}, "whole number"),
        ({"intervals": "8.5"}, "whole number"),
        ({"intervals": ""}, "whole number"),
        ({"pixels_per_step": "many"}, "pixels_per_step must be a whole number"),
        ({"baseline": "blurr"}, r"no baseline 'blurr' \(did you mean 'blur'\?\)"),
        (
            {"counts": "list"},
            r"counts must be one of equal, floor, linspace, .*, pixels; got 'list'",
        ),
        ({"counts": "equals"}, "got 'equals'"),
        ({"ties": "random"}, "ties must be one of index, reverse-index"),
        ({"x": "lambda"}, "x must be one of fraction, step"),
        ({"target": "top5"}, "target"),
        ({"target": "-1"}, "target"),
    ],
)
@pytest.mark.parametrize("preset", [name for name in PRESETS if "deletion" in PRESETS[name]])
def test_what_cannot_be_set_is_an_error_that_says_what_can(preset, overrides, said):
    with pytest.raises(InputError, match=said):
        protocol_for(preset, "deletion", overrides)


@pytest.mark.parametrize("field", sorted({f.name for f in fields(CurveProtocol)} - set(CurveProtocol.settable)))
def test_fields_that_make_a_metric_what_it_is_cannot_be_set(field):
    with pytest.raises(InputError, match=f"no field '{field}' to set; known: baseline, counts"):
        make_measures(("deletion",), ("c2i",), {field: "x"})


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"unit": "patch"}, "unit=patch needs unit_size"),
        ({"unit_size": "8"}, "unit=pixel has no use for unit_size"),
        ({"baseline": "running-mean"}, "baseline=running-mean .* start=baseline begins without it"),
        ({"limit": "0"}, "limit must be a number above 0 and at most 1"),
        ({"limit": "half"}, "limit must be a number above 0 and at most 1"),
        ({"most_steps": "0"}, "most_steps must be a whole number"),
        ({"unit": "voxel"}, "unit must be one of pixel, channel, patch, token, window, .*superpixel"),
    ],
)
def test_fields_that_contradict_each_other_are_named(overrides, said):
    with pytest.raises(InputError, match=said):
        protocol_for("c2i", "insertion", overrides)


def test_unknown_presets_and_curves_list_what_there_is():
    with pytest.raises(InputError, match=r"no preset 'risee' \(did you mean 'rise'\?\); known: c2i, rise"):
        protocol_for("risee", "deletion")
    with pytest.raises(InputError, match=re.escape("preset 'c2i' has no protocol for 'road'; it has deletion")):
        protocol_for("c2i", "road")


def test_a_bad_target_is_wrong_usage():
    with pytest.raises(UsageError):
        protocol_for("c2i", "deletion", {"target": "first"})
