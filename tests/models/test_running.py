"""Running graphs while they are loaded: the images they are run on and the measure of a difference."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from c2i_fast.models import running
from c2i_fast.models.backbone import cut
from c2i_fast.models.running import difference, example_images, first_line, opened
from c2i_fast.types import Preprocessing
from tests.models import graphs


def test_example_images_are_uniform_pixels_normalised_and_reversed():
    plain = example_images(500, (3, 4, 4), Preprocessing())
    assert (plain.shape, plain.dtype) == ((500, 3, 4, 4), np.float32)
    assert plain.min() >= 0
    assert plain.max() < 1
    assert plain.mean() == pytest.approx(0.5, abs=0.01)
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    normalised = example_images(500, (3, 4, 4), Preprocessing(mean=mean, std=std, bgr=True))
    column = (1, 3, 1, 1)
    expected = (plain - np.float32(mean).reshape(column)) / np.float32(std).reshape(column)
    np.testing.assert_array_equal(normalised, expected[:, ::-1])
    assert normalised.flags.c_contiguous


def test_signals_have_one_space_axis():
    assert example_images(2, (4, 16), Preprocessing(mean=(0.5,))).shape == (2, 4, 16)


@pytest.mark.parametrize(
    ("answer", "expected", "gap"),
    [
        ([[1.0, -4.0]], [[1.0, -4.0]], 0.0),
        ([[1.0, -3.0]], [[1.0, -4.0]], 0.25),
        ([[0.0]], [[0.0]], 0.0),
        ([[0.5]], [[0.0]], 0.5),
        ([[1.0]], [[1.0, 2.0]], np.inf),
        ([[np.nan]], [[np.nan]], np.inf),
        ([[np.inf]], [[1.0]], np.inf),
    ],
)
def test_a_difference_is_relative_to_the_largest_answer(answer, expected, gap):
    assert difference(np.array(answer), np.array(expected)) == gap


def test_both_evaluators_give_the_same_answer(monkeypatch):
    model = ir.from_proto(graphs.simple().model())
    rows = graphs.images(3)
    fast = opened(model)(rows)
    monkeypatch.setattr(running, "have_onnxruntime", lambda: False)
    assert difference(opened(model)(rows), fast) < 1e-5


def test_a_graph_too_large_for_one_message_goes_through_files(monkeypatch):
    model = cut(ir.from_proto(graphs.simple().model()), "image", "logits")
    rows = graphs.images(3)
    expected = opened(model)(rows)
    monkeypatch.setattr(running, "PROTOBUF_LIMIT", 0)
    np.testing.assert_array_equal(opened(model)(rows), expected)


@pytest.mark.parametrize(("message", "line"), [("\n\n  one \ntwo", "one"), ("", "ValueError"), ("x" * 500, "x" * 200)])
def test_the_first_line_says_something_and_is_short(message, line):
    assert first_line(ValueError(message)) == line
