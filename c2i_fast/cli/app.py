"""`c2i-fast`: the commands put together, and what becomes of errors."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import click
import typer

from c2i_fast import __version__
from c2i_fast.cli import bench, calibrate, demo, explain, export, rescore, score
from c2i_fast.cli import list as list_
from c2i_fast.errors import C2IError, UsageError

app = typer.Typer(
    name="c2i-fast",
    help="Calibrated classifiers in one ONNX graph, and perturbation metrics of saliency at engine speed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (demo, calibrate, export, explain, score, rescore, bench, list_):
    command.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"c2i-fast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Calibrated classifiers in one ONNX graph, and perturbation metrics of saliency at engine speed."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command and exits: 0 done, 1 bad input or a failed check, 2 wrong usage, 130 interrupted.

    An error of ours is one line on stderr; a bug keeps its traceback.
    """
    try:
        code = app(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        code = _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except KeyboardInterrupt:
        code = _say("interrupted; a run goes on with --resume", 130)
    except UsageError as error:
        code = _say(str(error), 2)
    except C2IError as error:
        code = _say(str(error), 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        code = _say(f"{error.strerror}: {error.filename or 'the output'}; a run goes on with --resume", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _say(message: str, code: int) -> int:
    print(f"c2i-fast: {message}", file=sys.stderr)
    return code
