"""Typed look-ups in a JSON object that another program may have written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mergeometry.errors import SourceError

_Item = TypeVar("_Item")
_LARGEST = 1 << 63


class Fields:
    """One JSON object; each look-up raises ``SourceError`` if the field is missing or of another type."""

    def __init__(self, value: Any, what: str) -> None:
        if not isinstance(value, Mapping):
            raise SourceError(f"{what} is not a JSON object")
        self._value = value
        self._what = what

    def has(self, key: str) -> bool:
        """Whether the field is there."""
        return key in self._value

    def is_null(self, key: str) -> bool:
        """Whether the field is there and null."""
        return self._get(key) is None

    def text(self, key: str) -> str:
        """Return a string."""
        return self._expect(key, self._get(key), str, "text")

    def integer(self, key: str) -> int:
        """Return a whole number."""
        return self._counted(key, self._get(key), "a whole number")

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._get(key)
        if isinstance(value, int):
            self._counted(key, value, "a finite number")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SourceError(f"{self._what} has a {key!r} that is not a finite number")
        return float(value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return an object."""
        return self._expect(key, self._get(key), dict, "an object")

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        return tuple(self._expect(key, item, str, "a list of text") for item in self._list(key))

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        return tuple(self._counted(key, item, "a list of whole numbers") for item in self._list(key))

    def each(self, key: str, read: Callable[[Any], _Item]) -> tuple[_Item, ...]:
        """Return a list with each item read by ``read``."""
        return tuple(read(item) for item in self._list(key))

    def _counted(self, key: str, value: Any, words: str) -> int:
        number = self._expect(key, value, int, words)
        if abs(number) >= _LARGEST:  # a longer one is no count, and arithmetic with fractions fails on it
            raise SourceError(f"{self._what} has a {key!r} that is not {words} of 64 bits")
        return number

    def _list(self, key: str) -> list[Any]:
        value = self._get(key)
        return list(value) if isinstance(value, tuple) else self._expect(key, value, list, "a list")

    def _get(self, key: str) -> Any:
        if key not in self._value:
            raise SourceError(f"{self._what} lacks {key!r}")
        return self._value[key]

    def _expect(self, key: str, value: Any, kind: type[_Item], words: str) -> _Item:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise SourceError(f"{self._what} has a {key!r} that is not {words}")
        return value
