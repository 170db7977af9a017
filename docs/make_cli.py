"""Prints docs/cli.md from the commands themselves: `python docs/make_cli.py > docs/cli.md`."""

from __future__ import annotations

from typing import Any, get_type_hints

import typer

from c2i_fast.cli.app import app

HEAD = """# Commands

Every command and every option, as the commands themselves tell them (`python docs/make_cli.py > docs/cli.md`).
[how-to-score.md](how-to-score.md) shows them at work.

- MODEL is a fused or foreign `.onnx`, a `.pt2`, `torchvision:NAME`, `timm:NAME` or `package.module:callable`. Names
  never download unless `--download` says so. A fused file carries its preprocessing; any other is told by flags or
  `--recipe`.
- SRC is a folder with a sub-folder per class, a CSV with `file,label`, or an `.npz` with `images` and, where there are
  any, `labels`, `ids` and `targets`. Several labels are `3;17` in the CSV and (N, K) of 0 and 1 in the `.npz`.
- Exit codes: 0 done, 1 bad input or a failed check, 2 wrong usage, 130 interrupted.
- With `--json` the summary is on stdout and all else on stderr.
"""


def reference() -> str:
    """Returns the page."""
    group: Any = typer.main.get_command(app)
    hints = {
        info.name or info.callback.__name__: get_type_hints(info.callback)
        for info in app.registered_commands
        if info.callback
    }
    return "\n".join([HEAD, *(_command(name, command, hints[name]) for name, command in group.commands.items())])


def _command(name: str, command: Any, hints: dict[str, Any]) -> str:
    def shown(parameter: Any) -> str:
        return _shown(parameter, str(hints.get(parameter.name, "")))

    places = [shown(p) if p.required else f"[{shown(p)}]" for p in command.params if not _is_option(p)]
    needed = [shown(p) for p in command.params if _is_option(p) and p.required]
    usage = " ".join([f"c2i-fast {name}", *places, *needed, "[OPTIONS]"])
    rows = [f"| `{shown(p)}` | {_default(p)} | {p.help} |".replace("  ", " ") for p in command.params]
    return "\n".join(
        [f"## {name}", "", command.help, "", f"`{usage}`", "", "| | default | |", "| --- | --- | --- |", *rows, ""]
    )


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _shown(parameter: Any, hint: str) -> str:
    """Returns `--option VALUE`, `--flag/--no-flag` or `ARGUMENT`."""
    if not _is_option(parameter):
        return str(parameter.metavar)
    if parameter.is_flag:
        return "/".join([*parameter.opts, *parameter.secondary_opts])
    kind = next((word for part, word in (("int", "N"), ("float", "X"), ("Path", "PATH")) if part in hint), "NAME")
    return f"{parameter.opts[0]} {parameter.metavar or kind}"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = parameter.default
    return "" if shown is None or shown is False else f"`{shown}`"


if __name__ == "__main__":
    print(reference(), end="")
