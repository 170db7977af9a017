"""One registry: names once, lazily, with an error that helps; and the errors everything raises."""

from __future__ import annotations

import sys

import pytest

from c2i_fast.calibration.interface import CALIBRATORS
from c2i_fast.engines import ENGINES
from c2i_fast.errors import (
    C2IError,
    ContractError,
    EngineError,
    InputError,
    MissingDependencyError,
    NotFittedError,
    UsageError,
)
from c2i_fast.metrics import METRICS, PRESETS
from c2i_fast.perturb.baseline import BASELINES
from c2i_fast.registry import Registry


@pytest.fixture
def colours() -> Registry[int]:
    registry: Registry[int] = Registry("colour")
    registry.add("red", 1, "a warm one")
    registry.add("blue", 2, "a cold one")
    return registry


def test_entries_are_found_listed_and_described_in_the_order_they_came(colours):
    assert colours["blue"] == 2
    assert list(colours) == ["red", "blue"]
    assert "red" in colours
    assert "green" not in colours
    assert colours.summary("red") == "a warm one"


def test_adding_and_registering_return_what_they_store(colours):
    assert colours.add("green", 3, "") == 3

    @colours.register("black", "none")
    def black() -> int:
        return 0

    assert colours["black"] is black


def test_a_name_is_given_once(colours):
    with pytest.raises(ValueError, match="colour 'red' is registered twice"):
        colours.add("red", 9, "another")
    with pytest.raises(ValueError, match="registered twice"):
        colours.add_lazy("red", "math:pi", "another")
    assert colours["red"] == 1


def test_an_unknown_name_lists_the_known_ones_and_guesses(colours):
    with pytest.raises(InputError, match=r"no colour 'rad' \(did you mean 'red'\?\); known: red, blue"):
        colours["rad"]
    with pytest.raises(InputError, match=r"no colour 'zzz'; known"):
        colours["zzz"]


def test_lazy_entries_are_imported_when_first_asked_for_and_kept(colours):
    colours.add_lazy("zen", "json.tool:main", "a lazy one")
    sys.modules.pop("json.tool", None)
    assert colours.summary("zen") == "a lazy one"
    assert "zen" in colours
    assert "json.tool" not in sys.modules
    entry = colours["zen"]
    assert "json.tool" in sys.modules
    assert colours["zen"] is entry


def test_an_empty_registry_still_answers():
    with pytest.raises(InputError, match="no thing 'x'"):
        Registry("thing")["x"]
    assert list(Registry("thing")) == []


@pytest.mark.parametrize("registry", [ENGINES, METRICS, PRESETS, BASELINES, CALIBRATORS], ids=lambda r: r.kind)
def test_everything_registered_says_in_one_line_what_it_is(registry):
    assert len(list(registry)) >= 2
    for name in registry:
        assert name.partition(":")[0] == name.partition(":")[0].strip().lower()
        assert registry.summary(name).strip()
        assert "\n" not in registry.summary(name)


def test_lazy_locations_lead_somewhere():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert ENGINES["onnxruntime"].__name__ == "OnnxRuntimeSession"
    assert [CALIBRATORS[name].method for name in CALIBRATORS] == list(CALIBRATORS)


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (InputError, ValueError),
        (UsageError, InputError),
        (NotFittedError, (ValueError, AttributeError)),
        (ContractError, ValueError),
        (EngineError, RuntimeError),
        (MissingDependencyError, ImportError),
    ],
)
def test_errors_have_one_base_and_are_what_python_calls_them(error, also):
    assert issubclass(error, C2IError)
    for kind in also if isinstance(also, tuple) else (also,):
        assert issubclass(error, kind)


def test_a_missing_package_comes_with_the_line_that_installs_it():
    error = MissingDependencyError("openvino", "cpu")
    assert str(error) == "openvino is not installed; install it with: pip install 'c2i-fast[cpu]'"
    assert (error.package, error.extra) == ("openvino", "cpu")
