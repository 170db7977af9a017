"""`open_maps`: which maps a command line names, and whether they fit the images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from c2i_fast.data.map_source import ArrayMaps, FolderMaps, MapSource
from c2i_fast.data.names import id_fault, some
from c2i_fast.errors import InputError

INDEX = "explain.json"


def open_maps(items: Sequence[str]) -> dict[str, MapSource]:
    """Returns the map sources by name, in the order given.

    Args:
        items: `[NAME=]PATH` each. PATH is a folder that `explain` wrote (all its methods, or the one called NAME), an
            .npz with `maps` and `ids`, or a folder of `<id>.npy` or `<stem>.npy`. NAME is else the file's or folder's.

    Raises:
        InputError: nothing there, no maps in it, or two sources of one name.
    """
    sources: dict[str, MapSource] = {}
    for item in items:
        for source in _open(*_split(item)):
            if source.name in sources:
                raise InputError(f"{item}: {source.name!r} names two sources of maps; give it another, NAME={item}")
            sources[source.name] = source
    return sources


def check_ids(maps: Mapping[str, MapSource], ids: Sequence[str]) -> None:
    """Raises an `InputError` when an image has no map, or shares one with another image."""
    for source in maps.values():
        found = {name: source.find(name) for name in ids}
        missing = [name for name, key in found.items() if key is None]
        if ids and len(missing) == len(ids):
            raise InputError(
                f"{source.where}: no map {source.name!r} belongs to any of the {len(ids)} images: images are called "
                f"like {ids[0]!r}, maps like {source.ids[0]!r}; expected <image id>.npy or <stem>.npy"
            )
        if missing:
            raise InputError(
                f"{source.where}: {len(missing)} of {len(ids)} images have no map {source.name!r}: {some(missing)}; "
                "explain them too, or leave these images out"
            )
        _check_shared(source, found)


def _check_shared(source: MapSource, found: Mapping[str, str | None]) -> None:
    """Two pictures of one stem must not be scored with one map."""
    owner: dict[str | None, str] = {}
    for name, key in found.items():
        if key in owner:
            raise InputError(
                f"{source.where}: map {key!r} would serve two images, {owner[key]} and {name}; "
                "name maps by the whole image id (<image id>.npy)"
            )
        owner[key] = name


def _split(item: str) -> tuple[str | None, Path]:
    """Returns NAME and PATH; a path that exists may contain `=` itself."""
    name, equals, path = item.partition("=")
    return (name, Path(path)) if equals and name and path and not Path(item).exists() else (None, Path(item))


def _open(name: str | None, path: Path) -> list[MapSource]:
    if (path / INDEX).is_file():
        return _explained(name, path)
    if path.is_dir():
        return [FolderMaps(name or path.resolve().name, path)]
    if path.is_file() and path.suffix.lower() == ".npz":
        return [ArrayMaps(name or path.stem, path)]
    came = f"is a file of kind {path.suffix or 'no suffix'!r}" if path.exists() else "does not exist"
    raise InputError(
        f"{path}: expected a folder that explain wrote, a folder of <image id>.npy, or an .npz with maps and ids, "
        f"but it {came}; mend the path given to --maps"
    )


def _explained(name: str | None, folder: Path) -> list[MapSource]:
    """Returns the methods of a folder that `explain` wrote; NAME picks one, or renames the only one."""
    places = _methods(folder / INDEX)
    if name is None:
        return [FolderMaps(method, folder / place) for method, place in places.items()]
    if name not in places and len(places) > 1:
        raise InputError(
            f"{folder}: there is no method {name!r}; it holds {some(list(places))}; name one of these, or give the "
            "folder without a name for all"
        )
    return [FolderMaps(name, folder / places.get(name, next(iter(places.values()))))]


def _methods(path: Path) -> dict[str, str]:
    """Returns name → sub-folder as `explain` listed them."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        places = {str(method["name"]): str(method["path"]) for method in content["methods"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected methods with name and path; run explain again") from error
    bad = [place for place in places.values() if id_fault(place)]
    if bad or not places:
        what = f"the path {bad[0]!r} leaves the folder" if bad else "it lists none"
        raise InputError(f"{path}: expected methods in sub-folders, but {what}; run explain again")
    return places
