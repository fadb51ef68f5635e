"""Where the keys of a recipe stand in its file, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from mergeometry.errors import RecipeError
from mergeometry.words import nearest

Key: TypeAlias = tuple[str | int, ...]
"""The way to a value from the top of its document: names of keys and places in lists."""


@dataclass(frozen=True)
class Lines:
    """The line of every key and every item of one document; none where it did not come from a file."""

    file: Path | None = None
    numbers: Mapping[Key, int] = field(default_factory=dict)

    def place(self, key: Key) -> str:
        """The nearest line that is known, and the key, in words."""
        line = next((self.numbers[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.numbers), None)
        return ("" if line is None else f"line {line}: ") + ".".join(map(str, key))

    def error(self, key: Key, what: str, hint: str | None = None) -> RecipeError:
        """What is wrong with a key, with its line."""
        place = self.place(key)
        return RecipeError(f"{place}: {what}" if place else what, file=self.file, hint=hint)

    def section(self, value: Any, key: Key, known: Sequence[str], *, needed: Sequence[str] = ()) -> Mapping[str, Any]:
        """A mapping with known keys only.

        Raises:
            RecipeError: it is no mapping, has an unknown key, or lacks one that is needed.
        """
        if not isinstance(value, Mapping):
            raise self.error(key, f"a mapping with the keys {', '.join(known)} is needed, got {value!r}")
        for name in value:
            if name not in known:
                raise self.error((*key, name), f"unknown key{nearest(str(name), list(known))}")
        for name in needed:
            if value.get(name) is None:
                raise self.error(key, f"{name!r} is missing")
        return value

    def items(self, value: Any, key: Key) -> Iterator[tuple[Any, Key]]:
        """The items of a list that has some, each with its key.

        Raises:
            RecipeError: it is no list, or an empty one.
        """
        if not isinstance(value, list | tuple) or not value:
            raise self.error(key, f"a list with at least one item is needed, got {value!r}")
        for place, item in enumerate(value):
            yield item, (*key, place)


def lines_of(node: Any, file: Path | None) -> Lines:
    """The lines of a document that the parser composed."""
    return Lines(file, dict(_numbered(node, ())))


def _numbered(node: Any, key: Key) -> Iterator[tuple[Key, int]]:
    if not isinstance(getattr(node, "value", None), list):
        return
    if node.id == "mapping":
        for name, value in node.value:
            inner = (*key, str(name.value))
            yield inner, name.start_mark.line + 1
            yield from _numbered(value, inner)
        return
    for place, value in enumerate(node.value):
        yield (*key, place), value.start_mark.line + 1
        yield from _numbered(value, (*key, place))
