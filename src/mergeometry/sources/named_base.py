"""Reads which base a model's own files name: its adapter's settings, its model card, its configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from mergeometry import limits
from mergeometry.errors import SourceError
from mergeometry.sources.adapter_config import CONFIG_FILE as ADAPTER_CONFIG
from mergeometry.sources.checkpoint import CONFIG_FILE
from mergeometry.sources.files import read_small
from mergeometry.strict_json import parse_object

CARD = "README.md"
FILES = (ADAPTER_CONFIG, CARD, CONFIG_FILE)
"""The files that may name a base, the most reliable first."""

_KEY = re.compile(r"^base_model:[ \t]*(?P<one>[^\s#][^\n]*)?$(?P<items>(?:\n[ \t]*-[ \t]+[^\n]+)*)", re.MULTILINE)
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(?P<front>.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


class Named(NamedTuple):
    """A base as a model's file names it: a path or a repository, perhaps with a revision."""

    text: str
    file: str
    revision: str | None = None


def named_base(folder: Path) -> Named | None:
    """The base that a model's folder names, by the most reliable of its files; None where none does.

    A model card that names several is one of a merge, and names no base.

    Raises:
        SourceError: a configuration cannot be read.
    """
    adapter = _settings(folder, ADAPTER_CONFIG)
    if text := _text(adapter.get("base_model_name_or_path")):
        return Named(text, ADAPTER_CONFIG, _text(adapter.get("revision")))
    if text := _of_card(folder):
        return Named(text, CARD)
    text = _text(_settings(folder, CONFIG_FILE).get("_name_or_path"))
    return Named(text, CONFIG_FILE) if text else None


def _settings(folder: Path, name: str) -> dict[str, object]:
    if not os.path.lexists(folder / name):
        return {}
    raw = read_small(folder / name, folder, limits.JSON_BYTES, "configuration")
    return parse_object(raw, folder / name, "configuration", nesting=limits.JSON_NESTING, finite=False)


def _of_card(folder: Path) -> str | None:
    """The one base of a card's front matter. A card is for people: one that cannot be read names nothing."""
    try:
        raw = read_small(folder / CARD, folder, limits.JSON_BYTES, "model card")
    except (SourceError, OSError):
        return None
    front = _FRONT.match(raw.decode("utf-8", errors="replace"))
    key = None if front is None else _KEY.search(front["front"].replace("\r\n", "\n"))
    if key is None:
        return None
    given = [key["one"] or "", *(line.strip()[1:] for line in key["items"].splitlines())]
    names = [name for text in given for one in text.strip().strip("[]").split(",") if (name := one.strip(" \t'\""))]
    return _text(names[0]) if len(names) == 1 else None


def _text(value: object) -> str | None:
    return (
        value if isinstance(value, str) and 0 < len(value) <= limits.NAME_CHARACTERS and value.isprintable() else None
    )
