from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest

from c2i_fast.calibration import load_calibrator, save_calibrator
from c2i_fast.calibration.file import read_calibrator
from c2i_fast.calibration.temperature import Temperature
from c2i_fast.errors import InputError, NotFittedError

META = {"n_fit": 200, "nll": {"before": 0.81, "after": 0.53}, "model_sha256": "ab" * 32, "activation": "softmax"}


@pytest.fixture
def calibrator(overconfident):
    return Temperature().fit(*overconfident())


@pytest.fixture
def stored(tmp_path, calibrator):
    path = tmp_path / "cal.json"
    save_calibrator(path, calibrator, classes=5, meta=META)
    return path


def rewrite(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def test_what_was_saved_is_what_is_loaded(stored, calibrator, overconfident):
    logits, _ = overconfident(seed=9)
    loaded = load_calibrator(stored, classes=5)
    np.testing.assert_array_equal(loaded.transform(logits), calibrator.transform(logits))
    whole = read_calibrator(str(stored))
    assert (whole.classes, whole.meta) == (5, META)


def test_the_file_is_plain_json_with_the_keys_promised(stored, calibrator):
    assert json.loads(stored.read_text()) == {
        "c2i_fast": {"calibrator": 1},
        "method": "temperature",
        "parameters": calibrator.parameters(),
        "classes": 5,
        "meta": META,
    }


def test_nothing_else_is_left_beside_it(stored):
    assert os.listdir(stored.parent) == ["cal.json"]


def test_others_may_read_it_as_any_file(stored):
    other = stored.parent / "other"
    other.write_text("")
    assert stat.S_IMODE(stored.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_an_existing_file_is_kept_unless_forced(stored):
    other = Temperature.from_parameters({"temperature": 7.0})
    before = stored.read_bytes()
    with pytest.raises(InputError, match="exists already; give another name, or --force"):
        save_calibrator(stored, other, classes=5, meta={})
    assert stored.read_bytes() == before
    save_calibrator(stored, other, classes=5, meta={}, force=True)
    assert load_calibrator(stored).parameters()["temperature"] == 7.0


@pytest.mark.parametrize("place", ["absent/cal.json", "file/cal.json"])
def test_an_impossible_place_is_one_line(tmp_path, calibrator, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the calibrator"):
        save_calibrator(tmp_path / place, calibrator, classes=5, meta={})


def test_a_folder_is_no_file_to_write_even_with_force(tmp_path, calibrator):
    with pytest.raises(InputError, match="cannot write the calibrator"):
        save_calibrator(tmp_path, calibrator, classes=5, meta={}, force=True)
    assert os.listdir(tmp_path) == []
    assert not list(tmp_path.parent.glob("*.part"))


def test_a_failure_half_way_leaves_the_old_file_and_no_other(stored, calibrator, monkeypatch):
    before = stored.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_calibrator(stored, Temperature.from_parameters({"temperature": 7.0}), classes=5, meta={}, force=True)
    assert stored.read_bytes() == before
    assert os.listdir(stored.parent) == ["cal.json"]


def test_an_interrupt_half_way_leaves_nothing(tmp_path, calibrator, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_calibrator(tmp_path / "cal.json", calibrator, classes=5, meta={})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {"x": object()}])
def test_what_json_cannot_hold_is_not_half_written(tmp_path, calibrator, meta):
    with pytest.raises((ValueError, TypeError)):
        save_calibrator(tmp_path / "cal.json", calibrator, classes=5, meta=meta)
    assert os.listdir(tmp_path) == []


def test_an_unfitted_calibrator_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save_calibrator(tmp_path / "cal.json", Temperature(), classes=5, meta={})
    assert os.listdir(tmp_path) == []


def test_another_class_count_says_how_to_mend_it(stored):
    with pytest.raises(InputError, match=r"fitted on 5 classes and the model has 10; fit one .*c2i-fast calibrate"):
        load_calibrator(stored, classes=10)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match="cannot read the calibrator"):
            load_calibrator(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x89PNG\r\n",
        b"\xff\xfe\x00",
        b"import os",
        b"[" * 100_000,
        b'{"parameters": NaN}',
        b'{"a": -Infinity}',
    ],
)
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "cal.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected .*cal\.json to be JSON"):
        load_calibrator(path)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"temperature"'])
def test_json_that_is_no_object_is_refused(tmp_path, content):
    (tmp_path / "cal.json").write_text(content)
    with pytest.raises(InputError, match="to hold a JSON object"):
        load_calibrator(tmp_path / "cal.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"c2i_fast": {"calibrator": 2}},
            r'expected a calibrator file with .*"calibrator": 1.*, got \{"calibrator": 2\}',
        ),
        ({"c2i_fast": None}, "got null"),
        ({"method": "os:system"}, "there is no calibrator 'os:system'"),
        ({"method": ["temperature"]}, "method as text"),
        ({"parameters": {"temperature": 2.0, "beta": 0.5}}, "got beta, temperature"),
        ({"parameters": {"temperature": 0}}, "positive finite number, got 0"),
        ({"parameters": {"temperature": -1.0}}, r"positive finite number, got -1\.0"),
        ({"parameters": {"temperature": "2.0"}}, "positive finite number, got '2.0'"),
        ({"parameters": None}, "parameters as an object"),
        ({"classes": 0}, "at least 1, got 0"),
        ({"classes": 5.0}, r"at least 1, got 5\.0"),
        ({"classes": True}, "at least 1, got True"),
        ({"meta": 3}, "meta to be an object"),
        ({"extra": 3}, "unknown or missing: extra"),
    ],
)
def test_a_file_edited_by_hand_is_refused_with_its_path(stored, changes, message):
    rewrite(stored, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load_calibrator(stored)
    assert "cal.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_infinite_temperature_written_as_a_number_is_refused(stored):
    stored.write_text(stored.read_text().replace('"temperature": 2', '"temperature": 1e999, "unused": 2', 1))
    with pytest.raises(InputError):
        load_calibrator(stored)
    rewrite(stored, parameters={})
    stored.write_text(stored.read_text().replace('"parameters": {}', '"parameters": {"temperature": 1e999}'))
    with pytest.raises(InputError, match="positive finite number, got inf"):
        load_calibrator(stored)


@pytest.mark.parametrize("key", ["c2i_fast", "method", "parameters", "classes", "meta"])
def test_a_missing_key_is_refused(stored, key):
    content = json.loads(stored.read_text())
    del content[key]
    stored.write_text(json.dumps(content))
    with pytest.raises(InputError, match="expected a calibrator file" if key == "c2i_fast" else f"missing: {key}"):
        load_calibrator(stored)


def test_a_byte_order_mark_does_no_harm(stored, calibrator):
    stored.write_bytes(b"\xef\xbb\xbf" + stored.read_bytes())
    assert load_calibrator(stored).parameters() == calibrator.parameters()
