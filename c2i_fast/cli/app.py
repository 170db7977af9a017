"""`c2i-fast`: the commands put together, and what becomes of errors."""

from __future__ import annotations

import errno
import io
import sys
from typing import Annotated, Any

import typer

from c2i_fast import __version__
from c2i_fast.cli import bench, calibrate, compare, demo, explain, export, plan, rescore, score
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
for command in (demo, calibrate, export, explain, score, rescore, compare, plan, bench, list_):
    command.register(app)


# Typer brought click along as a package of its own first and inside itself later; both give this base.
_WrongUsage: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
# What the disk or the file system says of a path of the user's; any other OSError is a bug of ours.
_PATH_FAULTS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EMFILE),
)
_RESUMABLE = ("explain", "score")


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
    for stream in (sys.stdout, sys.stderr):  # no terminal's encoding and no file's name may cost a result its table
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else arguments
    hint = "; go on with --resume" if given and given[0] in _RESUMABLE else ""
    try:
        code = app(given, prog_name="c2i-fast", standalone_mode=False)
    except _WrongUsage as error:
        code = _wrong_usage(error)
    except UsageError as error:
        code = _say(str(error), 2)
    except C2IError as error:
        code = _say(str(error), 1)
    except OSError as error:
        if error.errno not in _PATH_FAULTS:
            raise
        code = _say(f"{error.filename or 'the output'}: {error.strerror}{hint}", 1)
    except MemoryError as error:
        code = _say(f"out of memory: {error or 'no more'}; give a smaller --batch-size{hint}", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:
        _say(f"interrupted{hint}", code)
    sys.exit(code if isinstance(code, int) else 0)


def _wrong_usage(error: Any) -> int:
    """Says in one line what the command line got wrong, and which --help to read."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    command = error.ctx.command_path if getattr(error, "ctx", None) else "c2i-fast"
    return _say(f"{error.format_message().rstrip('.')}; see {command} --help", 2)


def _say(message: str, code: int) -> int:
    print(f"c2i-fast: {message}", file=sys.stderr)
    return code
