"""The command lines as text; `test_pipeline.py` runs them."""

from __future__ import annotations

import shlex
from pathlib import Path

from c2i_fast.demo.commands import commands

LINES = commands(Path("out dir"), seed=3, methods=("rise", "center"), masks=50)


def test_every_step_that_has_a_command_is_there_in_order():
    assert list(LINES) == ["calibrate", "export", "explain", "score"]
    assert all(shlex.split(line)[:2] == ["c2i-fast", step] for step, line in LINES.items())


def test_paths_survive_a_shell():
    assert "out dir/model.onnx" in shlex.split(LINES["export"])


def test_methods_and_masks_are_named():
    words = shlex.split(LINES["explain"])
    assert [words[i + 1] for i, word in enumerate(words) if word == "--method"] == ["rise", "center"]
    assert words[words.index("--masks") + 1] == "50"


def test_the_seed_is_said_where_it_matters_and_is_not_the_default():
    assert "--seed 3" in LINES["score"]
    assert "--seed" not in commands(Path("out"), seed=0, methods=("rise",), masks=1)["score"]
