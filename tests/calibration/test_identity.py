from __future__ import annotations

import numpy as np
import pytest

from c2i_fast.calibration.identity import Identity
from c2i_fast.errors import InputError


def test_it_returns_the_same_numbers_in_float64_and_not_the_same_memory():
    logits = np.array([[1.5, -2.25], [0.1, 3.0]], np.float32)
    mapped = Identity().transform(logits)
    assert mapped.dtype == np.float64
    np.testing.assert_array_equal(mapped, logits)
    mapped[0, 0] = 9
    assert logits[0, 0] == np.float32(1.5)


def test_a_float64_input_is_copied_too():
    logits = np.array([[1.5, -2.25]])
    Identity().transform(logits)[0, 0] = 9
    assert logits[0, 0] == 1.5


def test_fit_learns_nothing_and_returns_itself(overconfident):
    calibrator = Identity()
    assert calibrator.fit(*overconfident()) is calibrator
    assert calibrator.parameters() == {}
    assert vars(calibrator) == {"activation": "softmax"}


def test_fit_checks_its_input_as_others_do():
    with pytest.raises(InputError, match="1 of 2 rows"):
        Identity().fit([[0.0, np.nan], [1.0, 2.0]], [0, 1])
    with pytest.raises(InputError, match=r"0\.\.1, got 0\.\.2"):
        Identity().fit([[0.0, 1.0], [1.0, 2.0]], [0, 2])


def test_parameters_are_refused_by_name():
    with pytest.raises(InputError, match="identity has no parameters, got temperature"):
        Identity.from_parameters({"temperature": 2.0})
    assert isinstance(Identity.from_parameters({}), Identity)
