"""The model card of an output, in which no name can break out of its place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mergeometry.errors import printable
from mergeometry.sink.loaders import loader_of
from mergeometry.sink.public_names import pinned_names, public_names, public_recipe, public_texts
from mergeometry.sink.record import RunRecord
from mergeometry.sink.shares import shares_in_words

_PLAIN_KEY = re.compile(r"[a-z][a-z_]{3,}")
_RESERVED = frozenset({"true", "false", "null", "none", "yes", "on", "off"})
_SAFE = frozenset(" -./,%+")


def model_card(
    record: RunRecord | Mapping[str, Any],
    *,
    title: str = "Merged model",
    library: str | None = None,
    architecture: str = "",
    names: Mapping[str, str] | None = None,
) -> str:
    """Write ``README.md`` for a run.

    ``library`` is the hub's name of the library that loads the output, ``architecture`` the base's class in it.
    ``names`` gives inputs by their labels the names that they have on the hub, where a path does not show it. No local
    path is in the card: it means nothing elsewhere, and would reveal this machine.

    Raises:
        SourceError: ``record`` is a mapping that is not a run record.
    """
    import jinja2  # noqa: PLC0415  (planning imports this room, and writes no card)

    run = record if isinstance(record, RunRecord) else RunRecord.from_json(record)
    known = public_names(run, names or {})
    pinned = pinned_names(run, known)
    recipe = _yaml(public_recipe(run, pinned))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mergeometry.sink", "."),
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `inline` below escapes for both
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = inline
    return environment.get_template("card.md.jinja").render(
        run=run,
        share=shares_in_words(run.parameters, _method(run)) if run.parameters else "",
        notes=public_texts(run, run.warnings, pinned),
        title=title,
        names=pinned,
        front=_yaml(_front_matter(known, library)),
        recipe=recipe,
        fence="`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", recipe)), default=0)),
        loader=loader_of(library, architecture),
    )


def _method(run: RunRecord) -> str:
    method = run.recipe.get("method")
    return str(method.get("name")) if isinstance(method, Mapping) else str(method)


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


def _front_matter(names: Mapping[str, str], library: str | None) -> dict[str, Any]:
    front: dict[str, Any] = {"base_model": list(dict.fromkeys(names.values())), "base_model_relation": "merge"}
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
