"""The model card of an output, in which no name can break out of its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2

from mergeometry.errors import printable
from mergeometry.sink.record import RunRecord

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}", re.ASCII)
_PLAIN_KEY = re.compile(r"[a-z][a-z_]{3,}")
_RESERVED = frozenset({"true", "false", "null", "none", "yes", "on", "off"})
_SAFE = frozenset(" -./")
_LOADERS = {
    "transformers": ("from transformers import AutoModel", "AutoModel.from_pretrained"),
    "peft": ("from peft import AutoPeftModel", "AutoPeftModel.from_pretrained"),
    "sentence-transformers": ("from sentence_transformers import SentenceTransformer", "SentenceTransformer"),
}


def model_card(
    record: RunRecord | Mapping[str, Any], *, title: str = "Merged model", library: str | None = None
) -> str:
    """Write ``README.md`` for a run; ``library`` is the hub's name of the library that loads the output.

    Raises:
        SourceError: ``record`` is a mapping that is not a run record.
    """
    run = record if isinstance(record, RunRecord) else RunRecord.from_json(record)
    recipe = _yaml(run.recipe)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry.sink", "."),
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `inline` below escapes for both
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = inline
    loader = _LOADERS.get(library or "")
    return environment.get_template("card.md.jinja").render(
        run=run,
        title=title,
        front=_yaml(_front_matter(run, library)),
        recipe=recipe,
        fence="`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", recipe)), default=0)),
        loader=loader,
    )


def inline(text: object, *, opening: bool = False) -> str:
    """Escape text for any place within a line of Markdown, table cells and HTML included.

    ``opening`` text comes first in its line or list item, where ``- `` or ``1. `` would start another list.
    """
    shown = printable(str(text))
    first_letter = next((place for place, character in enumerate(shown) if character.isalpha()), len(shown))
    return "".join(
        _escaped(character, strict=opening and place < first_letter) for place, character in enumerate(shown)
    )


def _escaped(character: str, *, strict: bool) -> str:
    if character in _SAFE:
        plain = not strict
    else:
        plain = character.isalnum() if character.isascii() else character.isprintable()
    return character if plain else f"&#{ord(character)};"


def _front_matter(run: RunRecord, library: str | None) -> dict[str, Any]:
    # Local paths mean nothing on the hub and would reveal this machine: only what looks like a hub name is named.
    names = [source.path if _HUB_NAME.fullmatch(source.path) else source.label for source in run.inputs]
    front: dict[str, Any] = {"base_model": list(dict.fromkeys(names)), "base_model_relation": "merge"}
    if library:
        front["library_name"] = library
    return {**front, "tags": ["merge", "mergeometry"]}


def _yaml(value: Any, indent: str = "") -> str:
    """Write JSON values as block YAML with every string quoted, so that none can be read as structure."""
    if isinstance(value, Mapping) and value:
        lines = [f"{indent}{_key(key)}:{_child(item, indent + '  ')}" for key, item in value.items()]
        return "\n".join(lines)
    if isinstance(value, list | tuple) and value:
        return "\n".join(f"{indent}-{_child(item, indent + '  ')}" for item in value)
    return f"{indent}{_scalar(value)}"


def _child(value: Any, indent: str) -> str:
    if isinstance(value, Mapping | list | tuple) and value:
        return f"\n{_yaml(value, indent)}"
    return f" {_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _key(key: object) -> str:
    text = str(key)
    return text if _PLAIN_KEY.fullmatch(text) and text not in _RESERVED else json.dumps(text)
