"""The registry of methods, and that asking for one costs no torch."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest

from c2i_fast.attribution import CONTROLS, METHODS, Context
from c2i_fast.errors import InputError

GRADIENTS = ["gradient", "input-x-gradient", "integrated-gradients", "smoothgrad", "lrp", "randomised"]
CAMS = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam"]
TORCH = [*GRADIENTS, *CAMS, "opticam", "meaningful-perturbation"]
MASKED = ["rise", "rise-c2i", "occlusion", "superpixel-occlusion", "cam", "scorecam", "relax"]


def test_names_are_those_of_the_command_line():
    assert set(METHODS) == {*MASKED, *TORCH, *CONTROLS, "canny", "superpixel-random"}
    assert next(iter(METHODS)) == "rise"
    assert CONTROLS == ("random", "smooth-random", "sobel", "center")


@pytest.mark.parametrize("name", list(METHODS))
def test_a_class_agrees_with_its_registration(name):
    method = METHODS[name]
    assert method.name == name
    torch = dict.fromkeys(TORCH, "torch")
    passes = dict.fromkeys(MASKED, "passes")
    assert method.needs == (torch | passes).get(name, "nothing")
    assert METHODS.summary(name)
    assert method.__doc__


@pytest.mark.parametrize("name", CONTROLS)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(InputError, match=f"{name} has no option 'masks'; it has: none"):
        METHODS[name](Context(options={"masks": 3}))


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no method 'sobol' \(did you mean 'sobel'\?\)"):
        METHODS["sobol"]


def test_looking_up_every_method_imports_nothing_heavy():
    code = (
        "import sys; from c2i_fast.attribution import METHODS; [METHODS[name] for name in METHODS];"
        "print([m for m in ('torch', 'captum', 'pytorch_grad_cam', 'cv2', 'scipy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", ["", ".base", ".follow", ".masked", ".masks", ".relax", ".rise", ".rise_c2i", ".scorecam", ".upsample"]
)
def test_examples_in_docstrings(module):
    outcome = doctest.testmod(importlib.import_module(f"c2i_fast.attribution{module}"), extraglobs={"np": np})
    assert outcome.attempted > 0
    assert outcome.failed == 0
