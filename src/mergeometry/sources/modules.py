"""Reads which modules a sentence-transformers folder has."""

from __future__ import annotations

import os
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.modules import ENCODER_SETTINGS, MODULES_FILE, Module, modules_of
from mergeometry.errors import SourceError
from mergeometry.sources.files import read_small
from mergeometry.strict_json import parse_json, parse_object

CONFIG_FILE = "config.json"


def read_modules(folder: Path) -> tuple[Module, ...]:
    """The modules that the folder's modules.json lists; none without that file.

    Raises:
        SourceError: the file is malformed, or a module's folder leads out of the model's by a link, or is a file.
    """
    path = folder / MODULES_FILE
    if not path.exists() and not path.is_symlink():
        return ()
    raw = read_small(path, folder, limits.JSON_BYTES, MODULES_FILE)
    try:
        modules = modules_of(parse_json(raw, path, MODULES_FILE, nesting=limits.JSON_NESTING))
    except ValueError as error:
        raise SourceError(str(error), file=path) from error
    root = folder.resolve()
    for module in modules:
        if not (folder / module.path).resolve().is_relative_to(root):
            raise SourceError("a module's folder leads out of the model's by a link", file=folder / module.path)
        if (folder / module.path).exists() and not (folder / module.path).is_dir():
            raise SourceError(f"modules.json names {module.path!r} as a module, which is a file", file=path)
    return tuple(replace(module, settings=_settings(folder, module)) for module in modules)


def _settings(folder: Path, module: Module) -> dict[str, Any] | None:
    place = folder / module.path
    if not place.is_dir():
        return None
    names = [CONFIG_FILE]
    if module.is_encoder:
        names = sorted(entry.name for entry in os.scandir(place) if fnmatchcase(entry.name, ENCODER_SETTINGS))
    elif not module.path:
        return None  # the root's config.json is the encoder's
    for name in names:
        path = place / name
        if path.exists() or path.is_symlink():
            raw = read_small(path, folder, limits.JSON_BYTES, name)
            return parse_object(raw, path, name, nesting=limits.JSON_NESTING)
    return None
