"""The nouns: what they refuse, that nothing can change them, and what identifies a protocol and a contract."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.protocols import CurveProtocol
from c2i_fast.types import (
    Calibrator,
    Curve,
    EngineConfig,
    GraphContract,
    PerturbationPlan,
    Preprocessing,
    Provenance,
    Score,
    frozen,
)

examples = settings(deadline=None, derandomize=True, max_examples=100)


def plan(**changes) -> PerturbationPlan:
    image = np.zeros((3, 4, 5), np.float32)
    content = {"start": image, "end": image + 1, "step_map": np.zeros((1, 4, 5), np.uint8), "intervals": 4}
    return PerturbationPlan(**{**content, **changes})


# ------------------------------------------------------------------------------------------------ frozen values


def test_frozen_is_a_read_only_view_that_leaves_the_owner_alone():
    owner = np.arange(3)
    view = frozen(owner)
    assert np.shares_memory(view, owner)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 9
    owner[0] = 9
    assert view[0] == 9


@pytest.mark.parametrize(
    "value",
    [
        plan(),
        Curve(fractions=np.array([0.0, 1.0]), values=np.array([1.0, 0.0])),
        CurveProtocol(name="p", metric="deletion"),
        Preprocessing(),
        GraphContract(channels=1, space=(2,), classes=2, preprocessing=Preprocessing()),
        EngineConfig(engine="torch"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_cannot_be_changed_nor_grow_and_take_keywords_only(value):
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)
        held = getattr(value, field.name)
        if isinstance(held, np.ndarray):
            assert not held.flags.writeable
    with pytest.raises((AttributeError, TypeError)):
        value.something_new = 1
    with pytest.raises(TypeError):
        type(value)(*[getattr(value, field.name) for field in fields(value)])


# ------------------------------------------------------------------------------------------------ plans


@pytest.mark.parametrize(
    ("shape", "step_shape"),
    [
        ((3, 4, 5), (1, 4, 5)),
        ((3, 4, 5), (3, 4, 5)),
        ((2, 7), (1, 7)),
        ((2, 7), (2, 7)),
        ((1, 1), (1, 1)),
        ((2, 3, 4, 5), (1, 3, 4, 5)),
    ],
)
def test_plans_take_one_map_or_one_a_channel_at_any_rank(shape, step_shape):
    made = plan(start=np.zeros(shape, "f"), end=np.zeros(shape, "f"), step_map=np.zeros(step_shape, np.uint8))
    assert made.step_map.shape == step_shape


@pytest.mark.parametrize("step_shape", [(4, 5), (2, 4, 5), (1, 5, 4), (1, 4, 5, 1), (3, 4), (0, 4, 5)])
def test_a_step_map_that_does_not_fit_is_refused(step_shape):
    with pytest.raises(ValueError, match="does not fit"):
        plan(step_map=np.zeros(step_shape, np.uint8))


def test_ends_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        plan(end=np.zeros((3, 5, 4), np.float32))


# ------------------------------------------------------------------------------------------------ curves


@examples
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=2, max_size=40))
def test_area_is_the_sum_of_trapezia(points):
    fractions = np.sort([f for f, _ in points])
    values = np.array([v for _, v in points])
    expected = 0.0
    for k in range(len(points) - 1):
        expected += (values[k] + values[k + 1]) / 2 * (fractions[k + 1] - fractions[k])
    assert Curve(fractions=fractions, values=values).area() == pytest.approx(expected, abs=1e-12)


def test_area_of_a_constant_is_the_constant_and_of_a_falling_line_one_half():
    fractions = np.linspace(0, 1, 33)
    assert Curve(fractions=fractions, values=np.full(33, 0.3)).area() == pytest.approx(0.3, abs=1e-15)
    assert Curve(fractions=fractions, values=1 - fractions).area() == pytest.approx(0.5, abs=1e-15)
    assert Curve(fractions=np.array([0, 0.5, 1]), values=np.array([1, 0.5, 0])).area() == 0.5


@pytest.mark.parametrize(("fractions", "values"), [([0, 1], [0, 1, 2]), ([[0, 1]], [[0, 1]]), (0.0, 1.0)])
def test_curves_are_two_vectors_of_one_length(fractions, values):
    with pytest.raises(ValueError, match="one vector each"):
        Curve(fractions=np.asarray(fractions, float), values=np.asarray(values, float))


# ------------------------------------------------------------------------------------------------ protocols


PROTOCOL = CurveProtocol(name="c2i", metric="deletion")
OTHER = {
    "metric": "insertion",
    "unit": "patch",
    "unit_size": 8,
    "unit_grid": "centred",
    "unit_value": "sum",
    "percentiles": (90.0, 50.0),
    "limit": 0.5,
    "most_steps": 7,
    "ends": "no-start",
    "value": "drop",
    "order": "lerf",
    "ties": "reverse-index",
    "counts": "floor",
    "intervals": 31,
    "pixels_per_step": 8,
    "count_list": (0, 3),
    "start": "baseline",
    "baseline": "blur",
    "x": "step",
    "target": "label",
    "summary": "sum",
}


def test_the_hash_is_16_hex_digits_and_ignores_the_name():
    assert len(PROTOCOL.hash()) == 16
    assert set(PROTOCOL.hash()) <= set("0123456789abcdef")
    assert replace(PROTOCOL, name="something else").hash() == PROTOCOL.hash()


@pytest.mark.parametrize("field", [f.name for f in fields(CurveProtocol) if f.name != "name"])
def test_the_hash_changes_with_every_field_but_the_name(field):
    assert OTHER[field] != getattr(PROTOCOL, field)
    assert replace(PROTOCOL, **{field: OTHER[field]}).hash() != PROTOCOL.hash()


def test_all_single_changes_have_hashes_of_their_own():
    changed = [replace(PROTOCOL, **{field: value}).hash() for field, value in OTHER.items()]
    assert len({*changed, PROTOCOL.hash()}) == len(OTHER) + 1


def test_the_hash_survives_json_and_defaults_written_out():
    listed = replace(PROTOCOL, counts="list", count_list=(0, 2, 9))
    for protocol in (PROTOCOL, listed):
        stored = json.loads(json.dumps(asdict(protocol)))
        assert CurveProtocol(**stored).hash() == protocol.hash()
    assert CurveProtocol(name="x", metric="deletion", intervals=32, baseline="mean").hash() == PROTOCOL.hash()


def test_the_hash_resolves_synonyms():
    """`zero` is the mean in normalised space: the same protocol under another word."""
    assert replace(PROTOCOL, baseline="zero").hash() == replace(PROTOCOL, baseline="mean").hash()


# ------------------------------------------------------------------------------------------------ preprocessing


def test_one_statistic_serves_all_channels_and_lists_are_taken():
    mean, std = Preprocessing(mean=[0.5], std=[0.1, 0.2, 0.4]).channel_stats(3)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_array_equal(mean, np.float32([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(std, np.float32([0.1, 0.2, 0.4]))


@pytest.mark.parametrize("std", [(0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)])
def test_std_must_be_positive_and_finite(std):
    with pytest.raises(ValueError, match="std must be positive"):
        Preprocessing(std=std)


def test_mean_and_std_of_two_channel_counts_are_refused():
    with pytest.raises(ValueError, match="mean has 3 channels and std 2"):
        Preprocessing(mean=(0, 0, 0), std=(1, 1))


def test_statistics_for_another_number_of_channels_are_refused():
    with pytest.raises(ValueError, match="shape"):
        Preprocessing(mean=(0.1, 0.2, 0.3)).channel_stats(4)


# ------------------------------------------------------------------------------------------------ contracts


FULL = GraphContract(
    channels=3,
    space=(32, None),
    classes=2,
    preprocessing=Preprocessing(
        size=(32, 40), crop=0.875, mean=(0.1, 0.2, 0.3), std=(0.5,), bgr=True, drop_class=1, outputs="probabilities"
    ),
    activation="sigmoid",
    class_names=("cat", "Hündin"),
    calibrator={"method": "temperature", "parameters": {"temperature": 1.7}},
    precision="fp16",
    opset=17,
    source_sha256="ab" * 32,
    batch=4,
    step_map_dtype="uint16",
)


@pytest.mark.parametrize(
    "contract", [FULL, GraphContract(channels=1, space=(7,), classes=3, preprocessing=Preprocessing())]
)
def test_a_contract_survives_json(contract):
    text = contract.to_json()
    assert GraphContract.from_json(text) == contract
    assert GraphContract.from_json(text).to_json() == text
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"extra": 1}, "extra"),
        ({"version": "1"}, "version '1'"),
    ],
)
def test_contracts_of_another_version_or_with_unknown_keys_are_refused(change, said):
    content = json.loads(FULL.to_json()) | change
    with pytest.raises(ValueError, match=said):
        GraphContract.from_json(json.dumps(content))


def test_elements_counts_the_values_of_one_image():
    assert GraphContract(channels=3, space=(4, 5), classes=2, preprocessing=Preprocessing()).elements == 60
    assert GraphContract(channels=2, space=(None,), classes=2, preprocessing=Preprocessing()).elements == 2


# ------------------------------------------------------------------------------------------------ the rest


def test_calibrators_are_known_by_what_they_can_do():
    assert isinstance(Temperature(), Calibrator)
    assert isinstance(Identity(), Calibrator)
    assert not isinstance(object(), Calibrator)


def test_a_score_may_be_scalar_and_a_config_says_what_it_leaves_open():
    row = Score(
        image="a",
        method="m",
        metric="x",
        protocol="p",
        protocol_hash="0",
        readout="raw",
        target=1,
        value=0.5,
        curve=None,
        passes=2,
    )
    assert row.curve is None
    assert row.warnings == ()
    assert EngineConfig(engine="onnxruntime").threads is None


def test_provenance_has_no_command_unless_given():
    content = {f.name: None for f in dataclasses.fields(Provenance) if f.name != "command"}
    assert tuple(Provenance(**content).command) == ()
