"""Typed access to the settings of an adapter; each mistake is an error that names the setting."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry.errors import SourceError

_LARGEST_NUMBER = 1e30


class Fields:
    """The settings of one file."""

    def __init__(self, values: Mapping[str, Any], file: Path) -> None:
        self._values, self._file = values, file

    def flag(self, key: str) -> bool:
        """Return true or false, false where the setting is missing; SourceError if it is something else."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self._expected(key, "true or false", value)
        return bool(value)

    def text(self, key: str) -> str | None:
        """Return a text, None where the setting is missing; SourceError if it is something else."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, str):
            raise self._expected(key, "a string or null", value)
        return value

    def choice(self, key: str, values: tuple[str, ...]) -> str:
        """Return one of the texts, the first where the setting is missing; SourceError if it is something else."""
        value = self._values.get(key, values[0])
        if value not in values:
            raise self._expected(key, " or ".join(values), value)
        return value

    def names(self, key: str) -> tuple[str, ...]:
        """Return a list of names, empty where the setting is missing; SourceError if it is something else."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise self._expected(key, "a list of names or null", value)
        return tuple(value)

    def table(self, key: str) -> Mapping[str, Any]:
        """Return a map, empty where the setting is missing; SourceError if it is something else."""
        value = self._values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self._expected(key, "a map of patterns to numbers", value)
        return value or {}

    def rank(self, key: str, value: Any) -> int:
        """Return the value if it is a rank; SourceError if it is something else."""
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self._expected(key, "a whole number of at least 1", value)
        return value

    def number(self, key: str, value: Any) -> float:
        """Return the value if it is a finite number; SourceError if it is something else."""
        # Written so that NaN fails too, and integers too large for a float never become one.
        if type(value) not in (int, float) or not abs(value) <= _LARGEST_NUMBER:
            raise self._expected(key, "a finite number", value)
        return float(value)

    def tokens(self, key: str) -> tuple[int, ...] | Mapping[str, tuple[int, ...]]:
        """Return numbers of tokens, or such lists by module; SourceError if it is something else, or one is twice."""
        value = self._values.get(key)
        if isinstance(value, dict):
            return {name: self._token_list(key, tokens) for name, tokens in value.items()}
        return self._token_list(key, value or [])

    def _token_list(self, key: str, value: Any) -> tuple[int, ...]:
        fine = isinstance(value, list) and all(type(token) is int and 0 <= token < 1 << 31 for token in value)
        if not fine or len(set(value)) != len(value):
            raise self._expected(key, "numbers of tokens, each once", value)
        return tuple(value)

    def _expected(self, key: str, what: str, value: Any) -> SourceError:
        return SourceError(f"expected {what} for {key}, got {reprlib.repr(value)}", file=self._file)
