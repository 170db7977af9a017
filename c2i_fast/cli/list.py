"""`c2i-fast list`: the names there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from c2i_fast.cli.options import ModelOptions, TalkOptions, choice, flattened
from c2i_fast.cli.render import sayer, show_json, show_table
from c2i_fast.errors import UsageError
from c2i_fast.registry import Registry
from c2i_fast.types import Preprocessing

KINDS = ("metrics", "presets", "methods", "calibrators", "measures", "baselines", "engines", "recipes")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "list",
        help="List metrics, presets, methods, calibrators, measures, baselines, engines, recipes, or a model's layers.",
    )(flattened(list_names))


def list_names(
    talk: TalkOptions,
    what: Annotated[str, typer.Argument(metavar="WHAT", help=", ".join(KINDS) + ", or layers, of MODEL.")],
    model: ModelOptions,
) -> None:
    """Prints one line a name."""
    choice("WHAT", what, (*KINDS, "layers"))
    if what != "layers" and model.model is not None:
        raise UsageError(f"list {what} takes no MODEL; leave {model.model} out")
    rows = layers_of(model.load(sayer(talk))) if what == "layers" else rows_of(what)
    if talk.json:
        show_json([{"name": name, "summary": summary} for name, summary in rows])
    else:
        show_table(what, ["name", ""], [[name, summary] for name, summary in rows], left=2)


def rows_of(what: str) -> list[tuple[str, str]]:
    """Returns (name, summary) pairs."""
    if what == "recipes":
        from c2i_fast.models.preprocess import load_recipe
        from c2i_fast.resources import resource

        folder = resource("export") / "recipes"
        return [(path.stem, _recipe_line(load_recipe(path))) for path in sorted(folder.glob("*.toml"))]
    registry = _registry(what)
    lines = [(name, registry.summary(name)) for name in registry]
    return lines if what != "engines" else _engines(dict(lines))


def layers_of(classifier: Any) -> list[tuple[str, str]]:
    """Returns what `--layer` takes: sub-modules of a torch model in the order they run, or an ONNX file's values."""
    if classifier.module is None:
        return _onnx_layers(classifier)
    from c2i_fast.models.onnx_torch import differentiable_module

    module = differentiable_module(classifier, "list layers")
    import torch

    from c2i_fast.attribution.layers import default_layer, trace

    contract = classifier.contract
    seen = trace(module, torch.zeros(1, contract.channels, *contract.space))
    default = default_layer(seen)
    rows = []
    for layer in seen:
        shape = "×".join(map(str, layer.shape)) if layer.shape else "no tensor"
        notes = [layer.kind, shape, "grid" if layer.has_grid else "no grid"]
        notes += [f"runs {layer.calls} times"] * (layer.calls > 1) + ["the default of CAM methods"] * (layer == default)
        rows.append((layer.name, ", ".join(notes)))
    return rows


def _onnx_layers(classifier: Any) -> list[tuple[str, str]]:
    """Returns the values of a graph that Score-CAM, CAM and RELAX can read."""
    from c2i_fast.export.taps import find_layer, onnx_layers

    layers = onnx_layers(classifier)
    default, rows = find_layer(layers, None), []
    for layer in layers:
        notes = [layer.op, "×".join(map(str, layer.shape)), "grid" if layer.has_grid else "no grid"]
        notes += ["the default"] * (layer.name == default.name)
        rows.append((layer.name, ", ".join(notes)))
    return rows


def _engines(summaries: dict[str, str]) -> list[tuple[str, str]]:
    """Returns every engine on every device, with where it has been executed: a claim nobody tried is marked as one."""
    from c2i_fast.engines.select import EXECUTED, PRECISIONS, installed

    there = {True: "installed", False: "not installed"}
    rows = [(name, f"{line}; {EXECUTED['cpu']}; {there[installed(name)]}") for name, line in summaries.items()]
    for name, precisions in PRECISIONS["cuda"].items():
        line = f"on an NVIDIA GPU, {', '.join(precisions)}; {EXECUTED['cuda']}; {there[installed(name)]}"
        rows.append((f"{name} --device cuda", line))
    return rows


def _recipe_line(preprocessing: Preprocessing) -> str:
    """Returns the fields that are not the default."""
    from dataclasses import fields

    changed = {f.name: getattr(preprocessing, f.name) for f in fields(preprocessing)}
    default = {f.name: f.default for f in fields(preprocessing)}
    return ", ".join(f"{name} {_short(value)}" for name, value in changed.items() if value != default[name])


def _short(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_short(entry) for entry in (value[:1] if len(set(value)) == 1 else value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _registry(what: str) -> Registry[object]:
    """Imports only the room that was asked about."""
    import importlib

    homes = {
        "metrics": ("c2i_fast.metrics", "METRICS"),
        "presets": ("c2i_fast.metrics", "PRESETS"),
        "methods": ("c2i_fast.attribution", "METHODS"),
        "calibrators": ("c2i_fast.calibration", "CALIBRATORS"),
        "measures": ("c2i_fast.calibration.measures", "MEASURES"),
        "baselines": ("c2i_fast.perturb.baseline", "BASELINES"),
        "engines": ("c2i_fast.engines", "ENGINES"),
    }
    module, attribute = homes[what]
    registry: Registry[object] = getattr(importlib.import_module(module), attribute)
    return registry
