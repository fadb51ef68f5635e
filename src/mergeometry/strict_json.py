"""JSON of untrusted files: no duplicate keys, bounded nesting, one error kind."""

from __future__ import annotations

import json
import re
import reprlib
from pathlib import Path
from typing import Any, NoReturn

from mergeometry import limits
from mergeometry.errors import SourceError

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BETWEEN_VALUES = (b",", b"[", b"{")
"""At least one of these precedes each value; in texts they are counted too, which real files stay far enough below."""


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def parse_json(raw: bytes | bytearray, file: Path, what: str, *, nesting: int, finite: bool = True) -> Any:
    """Parse one JSON value strictly.

    Raises:
        SourceError: the text is not UTF-8 or not JSON; a key occurs twice; the nesting is deeper than ``nesting``; a
            number is NaN or infinite, unless ``finite`` is false; or there are more values than in any real file. The
            error names the file.
    """
    if sum(map(raw.count, _BETWEEN_VALUES)) > limits.JSON_VALUES:
        raise SourceError(f"the {what} has more than {limits.JSON_VALUES:,} values", file=file)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"the {what} is not UTF-8 (byte {error.start:,})", file=file) from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant if finite else None)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _DuplicateKeyError as error:
        raise SourceError(f"the {what} has the key {reprlib.repr(error.key)} twice", file=file) from error
    except UnicodeEncodeError as error:
        raise SourceError(f"the {what} has half a surrogate pair, which is not a character", file=file) from error
    except RecursionError as error:
        raise SourceError(f"the {what} is nested deeper than {nesting} levels", file=file) from error
    except ValueError as error:
        # Python's own words about a number of thousands of digits advise a setting of the interpreter.
        reason = "a whole number has too many digits" if "set_int_max_str_digits" in str(error) else error
        raise SourceError(f"the {what} is not valid JSON: {reason}", file=file) from error
    if _deeper_than(nesting, value):
        raise SourceError(f"the {what} is nested deeper than {nesting} levels", file=file)
    return value


def parse_object(raw: bytes | bytearray, file: Path, what: str, *, nesting: int, finite: bool = True) -> dict[str, Any]:
    """Parse one JSON object strictly; ``SourceError`` as from ``parse_json``, or if the value is no object."""
    value = parse_json(raw, file, what, nesting=nesting, finite=finite)
    if not isinstance(value, dict):
        raise SourceError(f"the {what} must be a JSON object, got {_described(value)}", file=file)
    return value


def refuse_wide(raw: bytes | bytearray, file: Path, what: str) -> None:
    """Raise SourceError for a large document that one character would make four times as large in memory."""
    if len(raw) > limits.WIDE_BYTES and not raw.isascii():
        raise SourceError(
            f"the {what} has {len(raw):,} bytes, not all ASCII; of such, at most {limits.WIDE_BYTES:,} are read",
            file=file,
        )


def _deeper_than(nesting: int, value: Any) -> bool:
    """Whether arrays and objects stand in each other more than ``nesting`` deep; level by level, without recursion."""
    level = [value] if isinstance(value, dict | list) else []
    while level and nesting:
        nesting -= 1
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if type(item) is dict or type(item) is list
        ]
    return bool(level)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON value")


def _described(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
