"""Writes a translated recipe as YAML in our own form, to be read by people and to be read back."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from mergeometry.recipe.mergekit.translate import Translation

_SHORT = 100
"""Longest mapping or list that is written on one line."""


def in_own_form(translation: Translation, located: Callable[[str], str]) -> str:
    """The recipe as YAML; ``located`` gives a model's path as it is to be written.

    What has no effect on the result is listed in comments at the top.
    """
    from ruamel.yaml import YAML  # noqa: PLC0415  (costs start-up time)

    writer = YAML()
    writer.width = 1 << 16
    writer.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    writer.dump(_laid_out(_with_paths(translation.recipe, located)), text)
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
    if not top and len(repr(value)) <= _SHORT:
        holder.fa.set_flow_style()
    return holder


def _is_plain(text: str) -> bool:
    """Whether a text needs no quotes, whoever reads it."""
    return text.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() and text[0].isalpha()


def _one_line(text: str) -> str:
    return " ".join(text.split())
