"""Writes mergekit's recipes as YAML in our own form, to be read by people and to be read back."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mergeometry.errors import RecipeError
from mergeometry.hub_names import halves_of
from mergeometry.recipe.files import documents_of
from mergeometry.recipe.mergekit import Translation, is_mergekit, translate
from mergeometry.recipe.stages import NAME
from mergeometry.working_folder import folder_for

_SHORT = 100
"""Longest mapping or list that is written on one line."""


def recipes_in_own_form(path: Path, folder: Path) -> str:
    """Every recipe of a mergekit file as YAML in our own form, with paths relative to ``folder``.

    Raises:
        RecipeError: the file cannot be read, holds another recipe, or one that cannot be translated.
    """
    documents = documents_of(path)
    if not documents or not all(is_mergekit(given) for given, _ in documents):
        raise RecipeError("this is no mergekit recipe: it has no `merge_method`", file=path)
    names = [given.get(NAME) for given, _ in documents]

    def located(text: str) -> str:
        return text if text in names else _relative(text, path.parent, folder)

    texts = []
    for given, lines in documents:
        translation = translate({key: value for key, value in given.items() if key != NAME}, lines)
        named = {} if given.get(NAME) is None else {NAME: given[NAME]}
        texts.append(in_own_form(translation, located, named))
    return "---\n".join(texts)


def _relative(text: str, origin: Path, folder: Path) -> str:
    """A path as a recipe in ``folder`` gives it; a name on the hub, which is not found as a file, as it is."""
    for place in (folder_for(text), origin):
        if (place / text).exists():
            return os.path.relpath(place / text, folder)
    halves = halves_of(text)
    return text if halves is None else "+".join(_relative(half, origin, folder) for half in halves)


def in_own_form(translation: Translation, located: Callable[[str], str], first: Mapping[str, Any] | None = None) -> str:
    """The recipe as YAML, after the keys of ``first``; ``located`` gives a model's path as it is to be written.

    What has no effect on the result is listed in comments at the top.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415  (costs start-up time)

    writer = YAML()
    writer.width = 1 << 16
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(_laid_out({**(first or {}), **_with_paths(translation.recipe, located)}), text)
    comments = [f"# {_one_line(note)}\n" for note in translation.notes]
    return "".join([*comments, text.getvalue()])


def _with_paths(value: Any, located: Callable[[str], str], key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _with_paths(item, located, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, located) for item in value]
    return located(value) if key in ("base", "path") and isinstance(value, str) else value


def _laid_out(value: Any, *, top: bool = True) -> Any:
    """The same with short mappings and lists on one line."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq  # noqa: PLC0415
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString  # noqa: PLC0415

    if isinstance(value, Mapping):
        holder: Any = CommentedMap((key, _laid_out(item, top=False)) for key, item in value.items())
    elif isinstance(value, list):
        holder = CommentedSeq(_laid_out(item, top=False) for item in value)
    else:
        return DoubleQuotedScalarString(value) if isinstance(value, str) and not _is_plain(value) else value
    items = isinstance(value, list) and any(isinstance(item, Mapping) and len(item) < 2 for item in value)
    if not top and not items and len(repr(value)) <= _SHORT:
        holder.fa.set_flow_style()
    return holder


def _is_plain(text: str) -> bool:
    """Whether a text needs no quotes, whoever reads it."""
    return text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() and text[0].isalpha()


def _one_line(text: str) -> str:
    return " ".join(text.split())
