"""Maps for a whole source: the function behind `c2i-fast explain`.

OUT/explain.json              the methods with their options, and what they were made with
OUT/METHOD/<image id>.npy     one float32 map (*space) each, written atomically: a killed run goes on with --resume
OUT/FURTHER/<image id>.npy    what a method makes besides, such as RELAX's uncertainty; not a map to be scored
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from c2i_fast.attribution import METHODS
from c2i_fast.attribution.base import DEFAULT_FOLLOW, Context, MakesMore, Method
from c2i_fast.data.source import Image, ImageSource, Skipped
from c2i_fast.errors import C2IError, InputError
from c2i_fast.metrics.target import target_class
from c2i_fast.results.files import read_json, write_atomically, write_json
from c2i_fast.types import Doubles, Floats, MaskedPasses

Sensitivity = Callable[[Method, Sequence[str], Floats, NDArray[Any]], Doubles]
"""From a method, ids, images and targets to one number an image: `max_sensitivity` with the rest given."""

INDEX = "explain.json"
IMAGES_AT_ONCE = 16


@dataclass(slots=True)
class MethodRun:
    """A method with its options, defaults written out, and what it has made in this call.

    `follow` is what its maps follow, None for those that know nothing of the model.
    """

    method: Method
    options: Mapping[str, Any]
    follow: str | None
    maps: int = 0
    seconds: float = 0.0
    sensitivity: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The method's name, which is also its folder's."""
        return self.method.name

    @property
    def further(self) -> tuple[str, ...]:
        """Folders of what the method makes besides its maps."""
        return self.method.further if isinstance(self.method, MakesMore) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainReport:
    """What `explain` wrote. `not_finite` are the maps, image id and method, that were left out for a NaN in them."""

    out: Path
    methods: tuple[MethodRun, ...]
    skipped: tuple[Skipped, ...]
    not_finite: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the command's JSON."""
        rows = [
            {
                "name": m.name,
                "maps": m.maps,
                "seconds": m.seconds,
                "passes": m.method.passes_used,
                "path": str(self.out / m.name),
                **({"max_sensitivity": float(np.mean(m.sensitivity))} if m.sensitivity else {}),
                **getattr(m.method, "measured", {}),
            }
            for m in self.methods
        ]
        lost = [{"id": image, "method": method} for image, method in self.not_finite]
        return {"out": str(self.out), "methods": rows, "skipped": len(self.skipped), "not_finite": lost}


def build_methods(names: Sequence[str], context: Context, options: Mapping[str, Any]) -> list[MethodRun]:
    """Returns the methods, each given those of `options` that it has; `method.option` is for that method alone.

    Raises:
        InputError: An unknown method, or an option that none of the methods has.
    """
    classes = [METHODS[name] for name in dict.fromkeys(names)]
    known = {spelt: kind for kind in classes for option in kind.defaults for spelt in (option, f"{kind.name}.{option}")}
    for option in options:
        if option not in known:
            plain = sorted({name for name in known if "." not in name})
            raise InputError(
                f"none of {', '.join(names)} has an option {option!r}; known: {', '.join(plain) or 'none'}"
            )
    built = []
    for kind in classes:
        own = {name: options[name] for name in kind.defaults if name in options}
        own |= {name: options[f"{kind.name}.{name}"] for name in kind.defaults if f"{kind.name}.{name}" in options}
        follow = _followed(kind, context)
        made = kind(replace(context, options=own, follow=follow))
        built.append(MethodRun(made, {**kind.defaults, **own}, follow))
    return built


def _followed(kind: type[Method], context: Context) -> str | None:
    """Returns what a method's maps follow; None for those that know no model, or whose own options say it.

    Raises:
        InputError: A read-out for a method that has its own, or a calibrator by λ for one that does not tell its own.
    """
    if getattr(kind, "own_target", False):
        if context.follow is not None:
            raise InputError(f"--readout says nothing about {kind.name}, which has a target of its own; leave it out")
        return None
    by_fraction = getattr(context.calibrator, "needs_perturbed_fraction", False)
    if by_fraction and kind.needs == "passes" and not getattr(kind, "gives_fraction", False):
        raise InputError(f"{kind.name} does not say how much each mask hides, which this ReCalX needs; rise does")
    return (context.follow or DEFAULT_FOLLOW[kind.needs]) if kind.needs != "nothing" else None


def explain_images(
    source: ImageSource,
    methods: Sequence[MethodRun],
    out: Path,
    *,
    passes: MaskedPasses | None,
    target: str = "top1",
    settings: Mapping[str, Any] | None = None,
    workers: int = 2,
    on_error: Literal["stop", "skip"] = "stop",
    on_images: Callable[[int], None] = lambda images: None,
    sensitivity: Sensitivity | None = None,
) -> ExplainReport:
    """Writes the maps that `out` does not hold yet, and returns what was made.

    Args:
        source: the images.
        methods: from `build_methods`.
        out: a new folder, or one that an interrupted call with the same settings began.
        passes: for targets (`top1`); None where no method looks at the target.
        target: `top1` of the raw logits, `label`, `given` or a class index.
        settings: what the maps depend on; continuing with others is refused.
        workers: decoding threads.
        on_error: `stop` at an image that cannot be read or a map that is not finite, or `skip` it.
        on_images: told how many images are done since the last call.
        sensitivity: measured of every method on the images explained in this call.
    """
    entries = [
        {"name": m.name, "path": m.name, "readout": m.follow, "options": dict(m.options)}
        | ({"further": list(m.further)} if m.further else {})
        for m in methods
    ]
    begun = _begin(out, {"methods": entries, "settings": {"target": target, **(settings or {})}})
    skipped: list[Skipped] = []
    lost: list[tuple[str, str]] | None = [] if on_error == "skip" else None
    stream = source.stream(workers=workers, on_error=on_error)
    try:
        for batch in _batches(stream, skipped):
            missing = [i for i in batch if any(not _path(out, m.name, i.id).exists() for m in methods)]
            for shape in dict.fromkeys(i.pixels.shape for i in missing):
                group = [i for i in missing if i.pixels.shape == shape]
                _explain_batch(group, methods, out, passes, target, sensitivity, lost)
            on_images(len(batch))
        if len(skipped) == len(source):
            raise InputError(f"none of the {len(source)} images could be read: {skipped[0].reason}")
        if lost and not any(m.maps for m in methods):
            raise InputError(f"none of the maps is finite, as the first: {lost[0][1]} of {lost[0][0]}")
    except C2IError:
        if begun and not any(m.maps for m in methods):  # it has come to nothing
            clear_maps(out)
            with suppress(OSError):
                out.rmdir()
        raise
    return ExplainReport(out=out, methods=tuple(methods), skipped=tuple(skipped), not_finite=tuple(lost or ()))


def _explain_batch(
    batch: Sequence[Image],
    methods: Sequence[MethodRun],
    out: Path,
    passes: MaskedPasses | None,
    target: str,
    sensitivity: Sensitivity | None,
    lost: list[tuple[str, str]] | None,
) -> None:
    images: Floats = np.stack([image.pixels for image in batch])
    targets = _targets(batch, images, passes, target)
    ids = [image.id for image in batch]
    for run in methods:
        clock = time.perf_counter()
        maps = run.method.explain(ids, images, targets)
        besides = run.method.further_maps if isinstance(run.method, MakesMore) else {}
        made = {**besides, run.name: maps}  # the map last: where it is, the rest is too
        for number, image in enumerate(batch):
            if lost is not None and not all(np.isfinite(own[number]).all() for own in made.values()):
                lost.append((image.id, run.name))
                continue
            for name, own in made.items():
                _write_map(_path(out, name, image.id), own[number])
            run.maps += 1
        run.seconds += time.perf_counter() - clock
        if sensitivity:
            run.sensitivity += sensitivity(run.method, ids, images, targets).tolist()


def _targets(batch: Sequence[Image], images: Floats, passes: MaskedPasses | None, rule: str) -> NDArray[np.int64]:
    if passes is None:
        return np.zeros(len(batch), np.int64)
    logits = passes.direct(list(images))
    chosen = [target_class(i.id, i.labels, i.target, z, rule) for i, z in zip(batch, logits, strict=True)]
    return np.asarray(chosen, np.int64)


def _batches(stream: Iterator[Image | Skipped], skipped: list[Skipped]) -> Iterator[list[Image]]:
    while taken := list(islice(stream, IMAGES_AT_ONCE)):
        skipped += [image for image in taken if isinstance(image, Skipped)]
        yield [image for image in taken if isinstance(image, Image)]


def clear_maps(out: Path) -> None:
    """Removes what an earlier call wrote to `out`, and nothing else."""
    if (out / INDEX).exists():
        stored = [method.get("path") for method in _index(out)["methods"] if isinstance(method, dict)]
        for name in METHODS:
            if name in stored:
                for folder in (name, *getattr(METHODS[name], "further", ())):
                    shutil.rmtree(out / folder, ignore_errors=True)
        (out / INDEX).unlink()


def _begin(out: Path, index: Mapping[str, Any]) -> bool:
    """Writes the index and returns True; of a folder begun before, checks that it is the same and returns False."""
    if (out / INDEX).exists():
        stored = _index(out)
        if stored.get("settings") != index["settings"] or stored.get("methods") != index["methods"]:
            raise InputError(
                f"{out} was begun with {_difference(stored, index)}; choose another --out, or give --force"
            )
        return False
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / INDEX, index)
    return True


def _index(out: Path) -> dict[str, Any]:
    content = read_json(out / INDEX, "index of maps")
    if not isinstance(content, dict) or not isinstance(content.get("methods"), list):
        raise InputError(f"{out / INDEX} was not written by explain; choose another --out")
    return content


def _difference(stored: Mapping[str, Any], index: Mapping[str, Any]) -> str:
    """Names what is not the same: the methods or their options, or one of the settings."""
    if stored.get("methods") != index["methods"]:
        return "other methods or options of theirs"
    before, now = stored.get("settings"), index["settings"]
    changed = [name for name in now if not isinstance(before, dict) or before.get(name) != now[name]]
    return f"another choice of {', '.join(changed) or 'settings'}"


def _path(out: Path, method: str, image_id: str) -> Path:
    path = out / method / f"{image_id}.npy"
    if not path.resolve().is_relative_to((out / method).resolve()):
        raise InputError(f"image id {image_id!r} leads out of {out}; rename the image")
    return path


def _write_map(path: Path, saliency: Floats) -> None:
    if not np.isfinite(saliency).all():
        raise InputError(
            f"the map of {path.stem} is not finite ({path.parent.name}); nothing was written for it; "
            "--on-error skip leaves such maps out"
        )
    path.parent.mkdir(parents=True, exist_ok=True)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, saliency.astype(np.float32), allow_pickle=False)

    write_atomically(path, partial(save))
