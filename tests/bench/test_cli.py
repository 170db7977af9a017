from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from c2i_fast.cli.bench import register
from c2i_fast.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def app():
    made = typer.Typer()
    register(made)

    @made.callback()
    def root() -> None:
        """With one command alone, Typer would leave out its name."""

    return made


def run(app, tiny_file, *options):
    command = ["bench", str(tiny_file), "--batch", "1,4", "--duration", "0.02", "--threads", "1", *options]
    return CliRunner().invoke(app, command, catch_exceptions=True)


def test_json_keeps_its_keys_and_stands_alone_on_stdout(app, tiny_file):
    result = run(app, tiny_file, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert {"engine", "precision", "raw", "scoring", "parity", "environment"} <= set(content)
    assert [row["batch"] for row in content["raw"]] == [1, 4]
    assert "parity" in result.stderr


def test_the_table_says_what_is_included(app, tiny_file):
    result = run(app, tiny_file, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    for said in ("images/s", "passes/s", "efficiency", "no decoding", "Parquet"):
        assert said in result.stdout


def test_engines_named_twice_are_timed_once(app, tiny_file):
    result = run(app, tiny_file, "--json", "--engine", "openvino", "--engine", "auto")
    assert result.exit_code == 0, result.output
    assert "engines" not in json.loads(result.stdout)


@pytest.mark.parametrize("text", ["", "0", "1,two", "1,,2", "-1"])
def test_a_wrong_batch_is_wrong_usage(app, tiny_file, text):
    result = run(app, tiny_file, f"--batch={text}")
    assert isinstance(result.exception, UsageError)
    assert "--batch must look like 1,8,32" in str(result.exception)


def test_an_unknown_precision_is_wrong_usage(app, tiny_file):
    assert isinstance(run(app, tiny_file, "--precision", "fp31").exception, UsageError)


def test_the_command_loads_no_framework():
    check = (
        "import sys, c2i_fast.cli.bench as b, typer; b.register(typer.Typer());"
        "assert not {'torch', 'onnxruntime', 'openvino', 'onnx', 'scipy', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)
