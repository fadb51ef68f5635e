"""Sets one key of a recipe before it is checked: dotted keys, items of lists, and texts that stand for a mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mergeometry.errors import RecipeError
from mergeometry.recipe.yaml import parse_yaml

_DEEPEST = 32
"""Most parts of a dotted key, as many as a recipe may be nested deep."""

_SHOWN = 200
"""Letters of an override that an error repeats."""


def override(given: Mapping[str, Any], text: str, root: type[BaseModel]) -> dict[str, Any]:
    """Return the recipe with one ``key=value`` set; the value is YAML, and ``root`` the model that will check it.

    Raises:
        RecipeError: the text or its value cannot be read, or the key leads into a list's missing item or into a value
            that holds no keys.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set needs key=value, got {text!r}", hint="for example --set method.rank=8")
    try:
        return with_key(given, key, parse_yaml(value), root)
    except RecipeError as error:
        hint = error.hint
        if "aliases" in error.what:
            hint = "quote what begins with *, as in --set 'heads=[\"*.classifier.*\"]'"
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        raise RecipeError(f"--set {shown}: {error.what}", hint=hint) from error


def with_key(given: Mapping[str, Any], key: str, value: Any, root: type[BaseModel]) -> dict[str, Any]:
    """Return the recipe with the dotted ``key`` set, such as ``method.rank`` or ``models.0.weight``.

    A list takes one more item under its next number. A single value becomes the one item of a key that
    holds a list.

    Raises:
        RecipeError: the key leads into a list's missing item or into a value that holds no keys, or has too many parts.
    """
    parts = key.split(".")
    if len(parts) > _DEEPEST:
        raise RecipeError(f"the key has {len(parts):,} parts; at most {_DEEPEST} are read")
    return _set(dict(given), parts, value, root, ())


def _set(holder: Any, parts: Sequence[str], value: Any, kind: Any, path: tuple[str, ...]) -> Any:
    if not parts:
        return [value] if _wants_a_list(value, kind) else value
    if holder is None and (kind is None or any(_holds_keys(one) for one in _alternatives(kind))):
        holder = [] if _is_list(kind) else {}
    if isinstance(holder, str):
        holder = _as_mapping(holder, kind)
    part, *rest = parts
    if isinstance(holder, Mapping):
        inner = _set(holder.get(part), rest, value, _inner(kind, part), (*path, part))
        return {**holder, part: inner}
    if isinstance(holder, Sequence) and not isinstance(holder, str):
        index = _index(part, len(holder), ".".join(path))
        items = [*holder, None] if index == len(holder) else list(holder)
        items[index] = _set(items[index], rest, value, _inner(kind, part), (*path, part))
        return items
    value_there = "" if holder is None else f"; it is {holder!r}"
    raise RecipeError(f"{'.'.join(path)!r} holds no keys{value_there}")


def _index(part: str, count: int, place: str) -> int:
    """The item that a part of a key names; the next number stands for one more."""
    if part.isascii() and part.isdecimal() and int(part) <= count:
        return int(part)
    items = "is empty" if count == 0 else f"has item{'s' if count > 1 else ''} {place}.0"
    items += f" to {place}.{count - 1}" if count > 1 else ""
    reason = f"{place!r} is a list, which {items}; {place}.{count} adds one"
    raise RecipeError(f"{reason}, and {part!r} is none of them")


def _as_mapping(text: str, kind: Any) -> Any:
    """The mapping that a plain text stands for, as in `method: ties`; the text itself where it stands for none."""
    keys = [key for one in _alternatives(kind) if (key := getattr(one, "shorthand", ""))]
    return {keys[0]: text} if keys else text


def _wants_a_list(value: Any, kind: Any) -> bool:
    """Whether the key holds a list and the value is one of its items."""
    words = [word for one in _alternatives(kind) if get_origin(one) is Literal for word in get_args(one)]
    if value is None or isinstance(value, list) or value in words or float in _alternatives(kind):
        return False
    return _is_list(kind)


def _is_list(kind: Any) -> bool:
    return any(get_origin(one) is tuple for one in _alternatives(kind))


def _holds_keys(kind: Any) -> bool:
    return get_origin(kind) in {tuple, dict} or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _inner(kind: Any, part: str) -> Any:
    """What the schema says of a key, or of a list's items; None where it says nothing."""
    for one in _alternatives(kind):
        if isinstance(one, type) and issubclass(one, BaseModel) and part in one.model_fields:
            return one.model_fields[part].annotation
        if get_origin(one) is tuple:
            return get_args(one)[0]
        if get_origin(one) is dict:
            return get_args(one)[1]
    return None


def _alternatives(kind: Any) -> Iterator[Any]:
    """The types that an annotation allows."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in {Union, UnionType}:
        for one in get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind
