"""Rewrites the few keys of a copied configuration that would no longer be true, or would lead to code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.foreign_code import ATTENTION_KEYS, CODE_KEYS, is_foreign_attention, mappings
from mergeometry.dtypes import DTYPES
from mergeometry.errors import SourceError, printable
from mergeometry.strict_json import parse_json

_DTYPE_KEYS = ("torch_dtype", "dtype")
_LONGEST = 200
"""Characters of a value that a note shows; a chat template has thousands."""
_DTYPE_NAMES = {code: name for code, (name, _) in DTYPES.items()}
# Tokenizers and vocabularies are data, may be large, and hold none of the keys above.
_MODEL_FILES = ("config.json", "_config.json", "processor.json", "extractor.json")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The new bytes of a configuration, and each change in words."""

    data: bytes
    changes: tuple[str, ...]


def rewritten(
    source: Path,
    name: str,
    code: str | None,
    keys: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Rewritten | None:
    """Return the configuration as the output needs it; None if it can be copied byte for byte.

    ``keys`` are set, or removed where they are None; ``values`` are set under dotted keys, whatever they are.

    A key's dots lead into sections that the configuration has.

    Raises:
        SourceError: the file is too large, malformed or nested too deeply, or names a key twice.
    """
    if not name.lower().endswith(_MODEL_FILES):
        return None
    content = parsed_configuration(source)
    changes: list[str] = []
    for mapping in mappings(content):
        changes.extend(_without_code(mapping))
        if code is not None:
            changes.extend(_with_dtype(mapping, _DTYPE_NAMES[code]))
    for key, value in (keys or {}).items():
        holder, last = _holder(content, key)
        if holder is not None and holder.get(last) != value:
            changes.append(_with_key(holder, last, value, key))
    for key, value in (values or {}).items():
        holder, last = _holder(content, key)
        if holder is not None and (last not in holder or holder[last] != value):
            holder[last] = value
            changes.append(_set_to(key, value))
    data = f"{json.dumps(content, indent=2)}\n".encode()
    return Rewritten(data, tuple(dict.fromkeys(changes))) if changes else None


def parsed_configuration(source: Path) -> Any:
    """Parse a JSON file strictly; ``SourceError`` if it is too large, malformed, too deep or names a key twice."""
    try:
        with source.open("rb") as file:
            data = file.read(limits.JSON_BYTES + 1)
    except OSError as error:
        raise SourceError(f"a configuration cannot be read: {error.strerror}", file=source) from error
    if len(data) > limits.JSON_BYTES:
        raise SourceError(f"a configuration of more than {limits.JSON_BYTES} bytes is not read", file=source)
    return parse_json(data, source, "configuration", nesting=limits.JSON_NESTING, finite=False)


def _holder(content: Any, key: str) -> tuple[dict[str, Any] | None, str]:
    """The section that a dotted key is in, None where there is no such section, and the key's last part."""
    *path, last = key.split(".")
    for part in path:
        content = content.get(part) if isinstance(content, dict) else None
    return (content if isinstance(content, dict) else None), last


def _with_key(content: dict[str, Any], key: str, value: Any, shown: str) -> str:
    """Set a key, or remove it where the value is None, and return the change in words."""
    if value is None:
        del content[key]
        return f"{shown} removed"
    content[key] = value
    return _set_to(shown, value)


def _set_to(key: str, value: Any) -> str:
    text = json.dumps(value)
    return f"{key} set to {text}" if len(text) <= _LONGEST else f"{key} set"


def _without_code(mapping: dict[str, Any]) -> Iterator[str]:
    for key in CODE_KEYS:
        if key in mapping:
            del mapping[key]
            yield f"{key} removed, since the base's own code is not copied"
    for key in ATTENTION_KEYS:
        value = mapping.get(key)
        if is_foreign_attention(value):
            del mapping[key]
            yield f"{key} {printable(json.dumps(value))} removed, since it names code outside the library"


def _with_dtype(mapping: dict[str, Any], wanted: str) -> Iterator[str]:
    for key in _DTYPE_KEYS:
        value = mapping.get(key)
        if isinstance(value, str) and value.removeprefix("torch.") in _DTYPE_NAMES.values() and value != wanted:
            mapping[key] = wanted
            yield f"{key} set from {value} to {wanted}, the dtype of the output"
