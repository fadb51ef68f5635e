"""Whether a file next to the weights holds what its name says, so that what loads the output can read it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.folders import Kind, kind_of_file
from mergeometry.conventions.modules import MODULES_FILE
from mergeometry.conventions.tokenizers import count_tokens
from mergeometry.errors import SourceError
from mergeometry.strict_json import parse_json, parse_object

_TEXTS = (".txt", ".jinja", ".codes", ".bpe")
_PIECES = (".model", ".spm")
_POINTER = b"version https://git-lfs"
_PULL = "run `git lfs pull` in its folder"


def check_contents(source: Path, name: str) -> None:
    """Read a file to copy as what loads the output will read it; ``name`` is that in the output.

    Raises:
        SourceError: it cannot be read, or is no file of its kind: empty, a pointer of git-lfs, not UTF-8, no JSON
            object, a tokenizer without tokens.
    """
    bare = name.rpartition("/")[2]
    kind, bare = kind_of_file(bare).kind, bare.lower()
    data = _read(source, kind)
    if kind is Kind.DOCUMENT:
        return
    if data.startswith(_POINTER):
        raise SourceError("the file is a git-lfs pointer, not the file itself", file=source, hint=_PULL)
    if not data.strip() and kind is not Kind.TEMPLATE:
        raise SourceError("a file to copy is empty", file=source)
    if bare.endswith(".json"):
        _check_json(data, source, bare)
    elif bare.endswith(_TEXTS):
        _check_text(data, source)
    elif bare.endswith(_PIECES):
        _check_tokens(data, source)


def _read(source: Path, kind: Kind) -> bytes:
    """All of a file, as long as the largest of its kind may be; of a document one byte, which nothing reads."""
    wanted = {Kind.DOCUMENT: 1, Kind.CONFIGURATION: limits.JSON_BYTES + 1}.get(kind, limits.TOKENIZER_BYTES + 1)
    try:
        with source.open("rb") as file:
            data = file.read(wanted)
    except OSError as error:
        raise SourceError(f"a file to copy cannot be read: {error.strerror}", file=source) from error
    if kind is not Kind.DOCUMENT and len(data) == wanted:
        raise SourceError(f"a {kind.value} of more than {wanted - 1:,} bytes is not read", file=source)
    return data


def _check_json(data: bytes, source: Path, bare: str) -> None:
    limited: Any = {"nesting": limits.JSON_NESTING, "finite": False}
    if bare == MODULES_FILE or bare.startswith("vocab"):
        if not isinstance(parse_json(data, source, bare, **limited), list | Mapping):
            raise SourceError(f"the {bare} must be a JSON object or a list", file=source)
        return
    content = parse_object(data, source, bare, **limited)
    if bare == "tokenizer.json" and not isinstance(content.get("model"), Mapping):
        raise SourceError("the tokenizer.json has no `model`, which names the tokens", file=source)


def _check_text(data: bytes, source: Path) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"a text to copy is not UTF-8 (byte {error.start:,})", file=source) from error
    if b"\0" in data:
        raise SourceError(f"a text to copy has a zero byte (byte {data.index(0):,})", file=source)


def _check_tokens(data: bytes, source: Path) -> None:
    try:
        if not count_tokens(data):
            raise ValueError("it names no token")
    except ValueError as error:
        raise SourceError(f"the vocabulary cannot be read: {error}", file=source) from error
