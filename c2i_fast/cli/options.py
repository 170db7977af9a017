"""Options that several commands share: each written once, in groups that a command takes as one argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from c2i_fast.errors import UsageError

if TYPE_CHECKING:
    from c2i_fast.data.source import ImageSource
    from c2i_fast.engines.select import EngineChoice
    from c2i_fast.models.classifier import Classifier

Images = Annotated[
    str, typer.Option(metavar="SRC", help="A folder (a sub-folder per class), a CSV with file,label, or an .npz.")
]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode images.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first so many images.")]
LARGEST_SEED = 2**32 - 1  # what scikit-learn takes
Seed = Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of every random number.")]
Target = Annotated[
    str | None,
    typer.Option(
        help="top1 (default), label (each one of a sigmoid head), given (`targets` of an .npz) or a class index."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
RecalxMismatch = Annotated[
    str | None,
    typer.Option(
        metavar="refuse|ok",
        help="Where ReCalX was fitted for another baseline: refuse (default), or read it.",
    ),
]
OnError = Annotated[
    str, typer.Option(metavar="stop|skip", help="stop at an image that cannot be read, or skip it and record it.")
]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """MODEL and, where it is bare, its preprocessing and weights."""

    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A fused or foreign .onnx, a .pt2, torchvision:NAME, timm:NAME or package.module:callable.",
        ),
    ] = None
    size: Annotated[
        str | None, typer.Option(metavar="N|H,W", help="224 or H,W: the network's input (squash, Pillow bilinear).")
    ] = None
    crop: Annotated[float | None, typer.Option(help="Short side to size/crop, then the centre; e.g. 0.875.")] = None
    mean: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="r,g,b in [0,1]; the model is fed (pixel − mean)/std.")
    ] = None
    std: Annotated[str | None, typer.Option(metavar="R,G,B", help="r,g,b in [0,1].")] = None
    bgr: Annotated[bool | None, typer.Option("--bgr/--rgb", help="Reverse the channels after normalising.")] = None
    drop_class: Annotated[int | None, typer.Option(min=0, help="Leave out so many leading classes.")] = None
    outputs: Annotated[
        str | None, typer.Option(help="logits, or probabilities (their log, or a sigmoid's logit, is taken).")
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(
            metavar="softmax|sigmoid",
            help="softmax (default): one of K classes; or sigmoid: any of K labels, or one yes or no.",
        ),
    ] = None
    recipe: Annotated[str | None, typer.Option(help="A TOML file, or the name of a shipped recipe.")] = None
    output: Annotated[str | None, typer.Option(help="Which output of an ONNX file holds the logits.")] = None
    weights: Annotated[
        Path | None, typer.Option(help="Weights of torchvision:, timm: or a callable (.safetensors, .pt).")
    ] = None
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Random weights, for benchmarks.")] = False
    download: Annotated[bool, typer.Option("--download", help="Let a named model fetch its weights.")] = False

    def load(self, say: Callable[[str], None], seed: int = 0) -> Classifier:
        """Returns the classifier, after saying its notes."""
        from c2i_fast.models import load_classifier
        from c2i_fast.models.named_models import check_weights_given, describe
        from c2i_fast.models.preprocess import activation_from_options, preprocessing_from_options

        if self.model is None:
            raise UsageError(
                "MODEL is missing: a .onnx or .pt2 file, torchvision:NAME, timm:NAME or package.module:callable"
            )
        named = self.model.startswith(("torchvision:", "timm:"))
        if named:
            check_weights_given(self.model, self.weights, self.random_weights, self.download)
        names = ("size", "crop", "mean", "std", "bgr", "drop_class", "outputs", "recipe")
        classifier = load_classifier(
            self.model,
            preprocessing=preprocessing_from_options(
                **{name: getattr(self, name) for name in names},
                base=(lambda: describe(str(self.model)).preprocessing) if named else None,
            ),
            weights=self.weights,
            random_weights=self.random_weights,
            download=self.download,
            output=self.output,
            activation=activation_from_options(self.activation, self.recipe),
            seed=seed,
        )
        for note in classifier.notes:
            say(note)
        return classifier


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What runs the graph. None means: the default, or on --resume what the run was begun with."""

    engine: Annotated[str | None, typer.Option(help="auto (default), onnxruntime, openvino, torch or tensorrt.")] = None
    precision: Annotated[
        str | None, typer.Option(help="fp32 (default), or bf16, fp16 or int8: an estimate of the fp32 answer.")
    ] = None
    device: Annotated[str | None, typer.Option(help="cpu (default), or cuda: an NVIDIA GPU.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, max=4096, help="Masked images in one engine batch.")] = None
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="Threads of the engine; default all cores.")] = (
        None
    )

    def choose(self, classifier: Classifier) -> EngineChoice:
        """Returns the engine's configuration and why it was taken."""
        from c2i_fast.engines.select import ALL_PRECISIONS
        from c2i_fast.export.open import engine_for

        precision = self.precision or "fp32"
        choice("--precision", precision, ALL_PRECISIONS)
        return engine_for(
            classifier,
            self.engine or "auto",
            precision=precision,  # type: ignore[arg-type]
            device=self.device or "auto",
            threads=self.threads,
            batch_size=self.batch_size,
        )


@dataclass(frozen=True, kw_only=True)
class TalkOptions:
    """How a command speaks."""

    json: Annotated[bool, typer.Option("--json", help="A JSON summary on stdout, all else on stderr.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False


def choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Returns `value` if it is one of `allowed`, else raises a `UsageError`."""
    if value not in allowed:
        raise UsageError(f"{option} must be one of {', '.join(allowed)}; got {value!r}")
    return value


def open_source(images: str, classifier: Classifier, say: Callable[[str], None], limit: int | None) -> ImageSource:
    """Returns the images, prepared for the classifier, after saying the source's notes."""
    from c2i_fast.data.images import open_images

    if not images:
        raise UsageError("--images is empty; give a folder, a CSV or an .npz")
    contract = classifier.contract
    source = open_images(
        images,
        preprocessing=contract.preprocessing,
        channels=contract.channels,
        classes=contract.classes,
        activation=contract.activation,
        class_names=contract.class_names,
        limit=limit,
    )
    for note in source.notes:
        say(note)
    return source


def converted(classifier: Classifier, chosen: EngineChoice, source: ImageSource, seed: int) -> Classifier:
    """Returns the classifier in the precision that was chosen; int8 is calibrated on some of the source's images."""
    from c2i_fast.export.precision import CALIBRATION_IMAGES, converted_for
    from c2i_fast.results.estimate import calibration_images

    return converted_for(classifier, chosen.config, calibration_images(source, CALIBRATION_IMAGES, seed))


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """Returns the command as Typer wants it: every field of a dataclass argument is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        parameters += _fields(group) if group else [parameter.replace(annotation=hints[parameter.name])]

    @wraps(command)
    def run(**given: Any) -> None:
        made = {name: kind(**{f.name: given.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        command(**made, **given)

    ordered = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in ordered}
    return run


def _fields(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if f.default is MISSING else f.default,
            annotation=hints[f.name],
        )
        for f in fields(group)
    ]
