"""Reads which tokens a model's folder has, in which rows, and with which chat template."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeometry import limits
from mergeometry.conventions.folders import Kind, kind_of_file
from mergeometry.conventions.tokenizers import (
    ADDED_FILE,
    SETTINGS_FILE,
    TEMPLATE_KEY,
    VOCABULARY_FILES,
    added_tokens_of,
    sentencepiece_tokens,
    special_tokens,
    steps_of,
    tokens_of,
)
from mergeometry.errors import SourceError
from mergeometry.sources.files import read_small
from mergeometry.strict_json import parse_json

_SENTENCEPIECE_END = ".model"
_TEMPLATES = ("chat_template.jinja", "chat_template.json")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What a folder says of its tokens; ``digests`` are of the bytes of each file, for a quick look."""

    digests: Mapping[str, str]
    template: Any
    special: Mapping[str, str]
    _read: Mapping[str, bytes] = field(repr=False)
    _folder: Path

    def tokens(self) -> dict[str, int]:
        """The id of every token; empty where no file names them. ``SourceError`` if one that does is malformed."""
        for name in (*VOCABULARY_FILES, *(name for name in self._read if name.endswith(_SENTENCEPIECE_END))):
            if name in self._read:
                try:
                    added = added_tokens_of(self.parsed(ADDED_FILE), self.parsed(SETTINGS_FILE))
                    return self._vocabulary(name) | added
                except ValueError as error:
                    raise SourceError(f"the vocabulary cannot be read: {error}", file=self._folder / name) from error
        return {}

    def steps(self) -> dict[str, Any]:
        """How texts are split into tokens, as far as tokenizer.json says so."""
        return steps_of(self.parsed(VOCABULARY_FILES[0]))

    def _vocabulary(self, name: str) -> dict[str, int]:
        raw = self._read[name]
        if name.endswith(_SENTENCEPIECE_END):
            return sentencepiece_tokens(raw)
        if name.endswith(".txt"):
            # As BertTokenizer reads it; str.splitlines would also split at other characters.
            return tokens_of(name, raw.decode().removesuffix("\n").split("\n"))
        return tokens_of(name, self.parsed(name))

    def parsed(self, name: str) -> Any:
        """A JSON file of the folder, or None where it has none; ``SourceError`` if it is malformed."""
        return _json(self._read, name, self._folder)


def read_tokenizer(folder: Path, root: Path) -> Tokenizer | None:
    """The tokenizer in a folder, whose links may not leave ``root``; None where there is none.

    Raises:
        SourceError: a file is too large, malformed, or a link out of the model.
    """
    if not folder.is_dir():
        return None
    read = {
        name: read_small(folder / name, root, limits.TOKENIZER_BYTES, name)
        for name in sorted(entry.name for entry in os.scandir(folder))
        if kind_of_file(name).kind in (Kind.TOKENIZER, Kind.TEMPLATE)
    }
    if not read:
        return None
    settings = _json(read, SETTINGS_FILE, folder)
    template = settings.get(TEMPLATE_KEY) if isinstance(settings, Mapping) else None
    for name in _TEMPLATES:
        if name in read:
            whole = _json(read, name, folder) if name.endswith(".json") else read[name].decode(errors="replace")
            template = whole.get(TEMPLATE_KEY) if isinstance(whole, Mapping) else whole
            break
    digests = {name: hashlib.sha256(raw).hexdigest() for name, raw in read.items()}
    return Tokenizer(digests, template, special_tokens(settings), read, folder)


def _json(read: Mapping[str, bytes], name: str, folder: Path) -> Any:
    if name not in read:
        return None
    return parse_json(read[name], folder / name, name, nesting=limits.JSON_NESTING, finite=False)
