"""The public names are these. Adding one is a decision; losing one is a breaking change."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import c2i_fast

NAMES = [
    "C2IError",
    "Calibrator",
    "Curve",
    "CurveProtocol",
    "EngineConfig",
    "GraphContract",
    "MaskedPasses",
    "PerturbationPlan",
    "Preprocessing",
    "Score",
    "Scores",
    "score",
]


def test_the_public_names():
    assert c2i_fast.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(name):
    thing = getattr(c2i_fast, name)
    assert len(inspect.getdoc(thing).split()) >= 5
    assert thing.__doc__ is not inspect.getdoc(type(thing))


@pytest.mark.parametrize("name", NAMES)
def test_public_methods_say_what_they_do(name):
    thing = getattr(c2i_fast, name)
    own = [f for key, f in vars(thing).items() if not key.startswith("_")] if inspect.isclass(thing) else []
    for function in (f for f in own if inspect.isfunction(f) or isinstance(f, classmethod | property)):
        assert inspect.getdoc(function), function


@pytest.mark.parametrize("before", ["c2i_fast", "c2i_fast.score", "c2i_fast.memory", "c2i_fast.results.scoring"])
def test_score_is_the_function_whatever_was_imported_before(before):
    """A module of the package has the same name."""
    code = f"import {before}, c2i_fast; from c2i_fast import score; assert callable(score) and c2i_fast.score is score"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_argument_of_score_is_described():
    described = inspect.getdoc(c2i_fast.score)
    for name in inspect.signature(c2i_fast.score).parameters:
        assert f"\n    {name}: " in described, name
