from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from c2i_fast.calibration.identity import Identity
from c2i_fast.calibration.spec import calibrator_from_spec, calibrator_hash, calibrator_spec
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError, NotFittedError


def test_a_calibrator_survives_json(overconfident):
    logits, labels = overconfident()
    fitted = Temperature().fit(logits, labels)
    restored = calibrator_from_spec(json.loads(json.dumps(calibrator_spec(fitted))))
    assert isinstance(restored, Temperature)
    np.testing.assert_array_equal(restored.transform(logits), fitted.transform(logits))
    assert calibrator_spec(restored) == calibrator_spec(fitted)
    assert calibrator_hash(restored) == calibrator_hash(fitted)


def test_the_hash_is_of_canonical_json():
    calibrator = Temperature.from_parameters({"temperature": 2})
    text = '{"method":"temperature","parameters":{"at_bound":null,"temperature":2.0}}'
    assert calibrator_hash(calibrator) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_hash_tells_calibrators_apart():
    temperatures = [Temperature.from_parameters({"temperature": t}) for t in (2.0, 2.0000000000000004, 3.0)]
    assert len({calibrator_hash(each) for each in [*temperatures, Identity()]}) == 4


def test_an_unfitted_calibrator_has_no_spec():
    with pytest.raises(NotFittedError):
        calibrator_spec(Temperature())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (None, "got NoneType"),
        ("temperature", "got str"),
        ([1, 2], "got list"),
        ({}, r"got keys \[\]"),
        ({"method": "temperature"}, r"got keys \['method'\]"),
        ({"method": "identity", "parameters": {}, "code": "x"}, r"\['code', 'method', 'parameters'\]"),
        ({"method": 3, "parameters": {}}, "method as text"),
        ({"method": "identity", "parameters": []}, "parameters as an object, got 'identity'"),
        ({"method": "temprature", "parameters": {}}, "did you mean 'temperature'"),
        ({"method": "os:system", "parameters": {}}, "there is no calibrator 'os:system'"),
        ({"method": "identity", "parameters": {"a": 1}}, "identity has no parameters, got a"),
        ({"method": "temperature", "parameters": {"temperature": -2}}, "positive finite number, got -2"),
    ],
)
def test_what_is_no_spec_is_refused(spec, message):
    with pytest.raises(InputError, match=message):
        calibrator_from_spec(spec)
