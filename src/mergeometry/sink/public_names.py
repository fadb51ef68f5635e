"""What inputs and recipe are called where others read of them: nothing tells of this machine's folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mergeometry.hub_names import cached_name, folder_name, is_hub_name
from mergeometry.sink.record import RunRecord
from mergeometry.sink.record_parts import InputRecord

_PATH = re.compile(r"(?<![\w/:.~])~?/(?:[^\s/'\":;,()]+/)+[^\s/'\":;,()]+")
"""An absolute path of two folders or more within a sentence."""


def public_names(run: RunRecord, names: Mapping[str, str]) -> dict[str, str]:
    """Every input's name on the hub by its label; where none is known, the base's folder, and a model's label.

    ``names`` gives inputs by their labels the names that they have on the hub, where a path does not show it.
    """
    return {source.label: _shown_name(source, names) for source in run.inputs}


def pinned_names(run: RunRecord, names: Mapping[str, str]) -> dict[str, str]:
    """The same with the commit where an input comes from the hub."""
    return {source.label: _pinned(source, names[source.label]) for source in run.inputs}


def public_recipe(run: RunRecord, pinned: Mapping[str, str]) -> Any:
    """The recipe with inputs by their names and the last part of every other absolute path."""
    recipe = dict(run.recipe)
    base = next((pinned[source.label] for source in run.inputs if source.role == "base"), None)
    if isinstance(recipe.get("base"), str) and base is not None:
        # Relative to a folder that nobody else has, `models/minilm` would look like a name on the hub.
        recipe["base"] = base
    if isinstance(models := recipe.get("models"), list | tuple):
        recipe["models"] = [_named(entry, pinned) for entry in models]
    return _public(recipe, {source.path: pinned[source.label] for source in run.inputs})


def public_texts(run: RunRecord, texts: Sequence[str], pinned: Mapping[str, str]) -> list[str]:
    """Sentences with inputs by their names, and the last part of every other absolute path."""
    places = sorted(((source.path, pinned[source.label]) for source in run.inputs if source.path), key=_longest_first)
    return [_without_paths(text, places) for text in texts]


def _longest_first(place: tuple[str, str]) -> int:
    return -len(place[0])


def _without_paths(text: str, places: Sequence[tuple[str, str]]) -> str:
    for path, name in places:
        text = text.replace(path, name) if len(path) > 1 else text
    return _PATH.sub(lambda found: found[0].rpartition("/")[2], text)


def _named(entry: Any, pinned: Mapping[str, str]) -> Any:
    if not isinstance(entry, Mapping) or entry.get("name") not in pinned or not isinstance(entry.get("path"), str):
        return entry
    return {**entry, "path": pinned[entry["name"]]}


def _shown_name(source: InputRecord, names: Mapping[str, str]) -> str:
    if is_hub_name(source.path):
        return source.path
    local = folder_name(source.path) if source.role == "base" else source.label
    return cached_name(source.path) or names.get(source.label) or local or source.label


def _pinned(source: InputRecord, name: str) -> str:
    return f"{name}@{source.commit}" if source.commit and source.repository == name else name


def _public(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _public(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(item, names) for item in value]
    if not isinstance(value, str):
        return value
    if value in names:
        return names[value]
    absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    return PureWindowsPath(value).name if absolute else value
