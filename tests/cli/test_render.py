"""What is printed: JSON without NaN, tables that are whole, intervals, and progress for people only."""

from __future__ import annotations

import io
import json

import pytest

from c2i_fast.cli.options import TalkOptions
from c2i_fast.cli.render import interval, progress, sayer, show_json, show_table


def test_json_has_no_nan_and_no_infinity(capsys):
    show_json({"a": float("nan"), "b": [1.5, float("inf"), (float("-inf"), None)], 3: "∅"})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None, [None, None]], "3": "∅"}


def test_a_table_keeps_every_cell_whole(capsys):
    wide = "a" * 300
    show_table("title", ["name", "number"], [["x", "1.25"], [wide, "10.5"]])
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert title == "title"
    assert head.split() == ["name", "number"]
    assert first.split() == ["x", "1.25"]
    assert second.split() == [wide, "10.5"]
    assert len(first.rstrip()) == len(second.rstrip()), "numbers are aligned to the right"


@pytest.mark.parametrize(
    ("mean", "ci95", "text"),
    [
        (0.123456, (0.1, 0.2), "0.1235 [0.1000, 0.2000]"),
        (0.5, None, "0.5000"),
        (0.5, (None, None), "0.5000"),
        (None, None, "–"),
    ],
)
def test_an_interval(mean, ci95, text):
    assert interval(mean, ci95) == text


def test_notes_go_to_stderr_unless_quiet(capsys):
    sayer(TalkOptions())("spoken")
    sayer(TalkOptions(quiet=True))("unspoken")
    assert capsys.readouterr() == ("", "spoken\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("quiet", "shown"), [(False, True), (True, False)])
def test_progress_is_shown_on_a_terminal_with_passes_per_second(monkeypatch, quiet, shown):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress(TalkOptions(quiet=quiet), "score", 4) as advance:
        advance(0, 100)
        advance(2, 50)
        advance(2, 0)
    assert ("4/4" in terminal.getvalue() and "passes/s" in terminal.getvalue()) == shown


def test_progress_says_nothing_to_a_file(capsys):
    with progress(TalkOptions(), "score", 4) as advance:
        advance(4, 100)
    assert capsys.readouterr() == ("", "")
