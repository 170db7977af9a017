"""What a run is continued with is what it was begun with; anything else is refused by name."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from c2i_fast.errors import InputError, UsageError
from c2i_fast.results.settings import RunSettings, check_hashes

STORED = RunSettings(
    metrics=("deletion", "gap"),
    presets=("c2i",),
    overrides={"intervals": "8"},
    readouts=("raw",),
    controls=False,
    engine="onnxruntime",
    precision="fp32",
    device="cpu",
    threads=2,
    batch_size=32,
    passes_per_part=1024,
    keep_logits=True,
    limit=None,
    seed=0,
    fp32_images=64,
    until_separated=0.95,
    equivalence_margin=0.01,
    estimand="set",
    decide_on=("gap:raw",),
    recalx_mismatch="refuse",
    tolerance=0.001,
    baseline_panel=False,
)
OTHER = {
    "metrics": ("insertion",),
    "presets": ("rise",),
    "overrides": {},
    "readouts": ("logit",),
    "controls": True,
    "engine": "openvino",
    "precision": "bf16",
    "device": "gpu",
    "threads": 1,
    "batch_size": 8,
    "passes_per_part": 1,
    "keep_logits": False,
    "limit": 5,
    "seed": 1,
    "fp32_images": 8,
    "until_separated": 0.9,
    "equivalence_margin": 0.02,
    "estimand": "population",
    "decide_on": ("gap",),
    "recalx_mismatch": "ok",
    "tolerance": 0.01,
    "baseline_panel": True,
}


SPELLED = {
    "metrics": "--metric",
    "presets": "--preset",
    "overrides": "--set",
    "readouts": "--readout",
    "passes_per_part": "--part-passes",
}


def test_settings_go_through_json():
    stored = json.loads(json.dumps(STORED.to_dict()))
    assert RunSettings.from_dict(stored) == STORED


def test_settings_of_another_version_are_refused():
    with pytest.raises(InputError, match=r"unknown settings \['colour'\]; it is from another version"):
        RunSettings.from_dict({**STORED.to_dict(), "colour": "red"})


def test_what_is_not_given_comes_from_the_defaults_and_what_is_given_stays():
    given = RunSettings(threads=7, keep_logits=False, seed=0)
    assert given.filled(STORED) == replace(STORED, threads=7, keep_logits=False)


def test_continuing_with_nothing_or_with_the_same_takes_the_stored_settings():
    assert RunSettings().continuing(STORED) == STORED
    assert STORED.continuing(STORED) == STORED


@pytest.mark.parametrize("name", [f.name for f in fields(RunSettings)])
def test_every_setting_that_differs_is_refused_by_its_option(name):
    with pytest.raises(UsageError) as caught:
        RunSettings(**{name: OTHER[name]}).continuing(STORED)
    said = str(caught.value)
    spelled = SPELLED.get(name, f"--{name.replace('_', '-')}")
    stored, other = (
        ", ".join(map(repr, value)) if isinstance(value, tuple) else repr(value)
        for value in (getattr(STORED, name), OTHER[name])
    )
    assert f"{spelled} {stored}, not {other}; leave the option out" in said
    assert "\n" not in said


HASHES = {"model": "a", "calibrator": None, "images": "c", "maps": {"rise": "d"}}


def test_the_same_inputs_may_go_on():
    check_hashes(HASHES, dict(HASHES))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "x"),
        ("calibrator", "x"),
        ("images", "x"),
        ("maps", {"rise": "x"}),
        ("maps", {"rise": "d", "new": "e"}),
    ],
)
def test_every_input_that_differs_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"{name}.*another --out"):
        check_hashes(HASHES, {**HASHES, name: value})
    with pytest.raises(InputError, match=name):
        check_hashes({k: v for k, v in HASHES.items() if k != name}, {**HASHES, name: value})
