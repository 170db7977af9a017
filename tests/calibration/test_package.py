"""The room as a whole: light to import, its names, its examples, and what every calibrator must be."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import c2i_fast.calibration
from c2i_fast.calibration import CALIBRATORS
from c2i_fast.calibration.error import per_sample
from c2i_fast.types import Calibrator

MODULES = ["affine", "checks", "choose", "dirichlet", "error", "ets", "histogram_ovr", "identity", "isotonic"]
MODULES += ["isotonic_ovr", "mask_law", "matrix", "monotone", "platt", "recalx", "report", "spec", "split", "stored"]
MODULES += ["temperature", "vector"]


def test_importing_it_loads_nothing_heavy():
    program = (
        "import sys, c2i_fast; before = set(sys.modules)\n"
        "import c2i_fast.calibration, c2i_fast.calibration.temperature, c2i_fast.calibration.logits_file\n"
        "heavy = {'scipy', 'sklearn', 'onnx', 'onnx_ir', 'onnxruntime', 'torch', 'pyarrow'}\n"
        "print(sorted((set(sys.modules) - before) & heavy))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(c2i_fast.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


def test_the_public_names():
    assert c2i_fast.calibration.__all__ == ["CALIBRATORS", "fit_report", "load_calibrator", "save_calibrator"]
    assert {"temperature", "identity"} <= set(CALIBRATORS)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_are_true(name):
    module = importlib.import_module(f"c2i_fast.calibration.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.fixture(params=list(CALIBRATORS))
def calibrator_class(request):
    return CALIBRATORS[request.param]


@pytest.fixture(params=[name for name in CALIBRATORS if name not in ("platt", "recalx")])
def softmax_calibrator_class(request):
    """All that labels of one class a sample are enough for; `test_platt.py`, `test_recalx.py` ask it of the others."""
    return CALIBRATORS[request.param]


def test_every_calibrator_keeps_the_protocol(calibrator_class):
    calibrator = calibrator_class()
    assert isinstance(calibrator, Calibrator)
    assert CALIBRATORS[calibrator.method] is calibrator_class
    assert isinstance(calibrator.preserves_order, bool)
    assert isinstance(calibrator.needs_perturbed_fraction, bool)
    assert set(calibrator.activations) <= {"softmax", "sigmoid"}
    assert calibrator.activations
    assert list(inspect.signature(calibrator.to_graph).parameters) == ["tape", "logits", "perturbed_fraction"]


def test_every_calibrator_survives_its_parameters_and_does_not_hurt_where_it_was_fitted(
    softmax_calibrator_class, overconfident
):
    logits, labels = overconfident()
    fitted = softmax_calibrator_class().fit(logits, labels)
    rebuilt = softmax_calibrator_class.from_parameters(json.loads(json.dumps(fitted.parameters(), allow_nan=False)))
    calibrated = fitted.transform(logits)
    assert calibrated.dtype == np.float64
    assert calibrated.shape == logits.shape
    np.testing.assert_array_equal(rebuilt.transform(logits), calibrated)
    losses = [per_sample(logits, labels, c).nll.mean() for c in (None, fitted)]
    assert losses[1] <= losses[0] + 1e-12


def test_every_calibrator_that_says_so_preserves_order(softmax_calibrator_class, overconfident):
    logits, labels = overconfident()
    calibrator = softmax_calibrator_class().fit(logits, labels)
    if not calibrator.preserves_order:
        pytest.skip(f"{calibrator.method} does not promise it")
    order = np.argsort(logits, axis=1)
    assert (np.diff(np.take_along_axis(calibrator.transform(logits), order, axis=1), axis=1) >= 0).all()
