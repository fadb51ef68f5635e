"""What a model's config.json says of its parts: composite models have a section for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_DEEPEST = 4
"""Sections within sections that are looked at; Transformers has three at most."""


def sections(config: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The configuration and every section of it, each with its path: "", "decoder", "thinker_config.text_config"."""
    yield from _sections(config or {}, "", _DEEPEST)


def model_types(config: Mapping[str, Any] | None) -> frozenset[str]:
    """The types of the model and of all of its parts."""
    types = (section.get("model_type") for _, section in sections(config))
    return frozenset(kind for kind in types if isinstance(kind, str))


def section_of(name: str, config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The section that describes the part to which a tensor belongs, by the first parts of its name.

    A part is called as its section, with or without `_config`: `decoder.transformer.h.0...` is of `decoder`,
    `model.text_model.layers...` of `text_config`. Names that lead to no section belong to the whole model.
    """
    current: Mapping[str, Any] = config or {}
    for part in name.split(".")[:_DEEPEST]:
        stem = part.removesuffix("_model").removesuffix("_tower").removesuffix("_encoder")
        for key in (part, f"{part}_config", f"{stem}_config", "text_config" if part == "language_model" else ""):
            if isinstance(current.get(key), Mapping):
                current = current[key]
                break
    return current


def _sections(value: Mapping[str, Any], path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, value
    if depth:
        for key, child in value.items():
            if isinstance(child, Mapping):
                yield from _sections(child, f"{path}.{key}" if path else str(key), depth - 1)
