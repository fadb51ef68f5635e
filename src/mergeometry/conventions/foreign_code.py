"""Which entries of a configuration lead transformers or diffusers to code outside the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CODE_KEYS = ("auto_map", "custom_pipelines")
"""Keys whose values name Python files of the folder or of another repository."""

ATTENTION_KEYS = ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
"""Keys that name an attention; a name of the form OWNER/REPOSITORY is a kernel that is downloaded and run."""

BUILT_IN_ATTENTION = frozenset(
    {"eager", "sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4", "flex_attention"}
)
"""What transformers itself calls an attention."""


def is_foreign_attention(value: Any) -> bool:
    """Whether an attention's name, or one of several by the part of the model, is not transformers' own."""
    if isinstance(value, Mapping):
        return any(is_foreign_attention(item) for item in value.values())
    return value is not None and not (isinstance(value, str) and value in BUILT_IN_ATTENTION)


def foreign_code(configuration: Any) -> Iterator[str]:
    """Every key, at any depth, that leads to code outside the library, each once."""
    found = dict.fromkeys(key for mapping in mappings(configuration) for key in _foreign_keys(mapping))
    yield from found


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside JSON values, the outermost first."""
    if isinstance(value, dict):
        yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in list(children):
        yield from mappings(child)


def _foreign_keys(mapping: Mapping[str, Any]) -> Iterator[str]:
    yield from (key for key in CODE_KEYS if mapping.get(key))
    yield from (key for key in ATTENTION_KEYS if is_foreign_attention(mapping.get(key)))
