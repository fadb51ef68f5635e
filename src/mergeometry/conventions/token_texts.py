"""What text a token stands for, whatever its tokenizer writes for a space or a byte: what tokens of two have in common.

Sources: `bytes_to_unicode` of GPT-2, the decoders of tokenizers (`ByteLevel`, `Metaspace`, `Replace`, `ByteFallback`,
`WordPiece`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mergeometry.conventions.tokenizers import SPECIAL, special_tokens

Writing = Literal["bytes", "metaspace", "pieces", "plain"]
_SPACE = "▁"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def writing_of(content: Mapping[str, Any]) -> Writing:
    """How a tokenizer.json writes spaces and bytes into its tokens."""
    steps = json.dumps([content.get(step) for step in ("normalizer", "pre_tokenizer", "decoder")], ensure_ascii=False)
    if '"ByteLevel"' in steps:
        return "bytes"
    if (content.get("model") or {}).get("type") == "WordPiece":
        return "pieces"
    return "metaspace" if '"Metaspace"' in steps or _SPACE in steps else "plain"


def texts_of(content: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, bytes | str]:
    """The bytes that each token stands for; a special token, which stands for no text, as itself."""
    writing, table = writing_of(content), {character: byte for byte, character in _byte_characters()}
    added = {entry["content"]: bool(entry.get("special")) for entry in content.get("added_tokens") or ()}
    texts: dict[str, bytes | str] = {}
    for token in ids:
        if token in added:
            texts[token] = token if added[token] else token.encode()
        elif writing == "bytes" and all(character in table for character in token):
            texts[token] = bytes(table[character] for character in token)
        elif writing == "pieces":
            texts[token] = token[2:].encode() if token.startswith("##") else f" {token}".encode()
        elif match := _BYTE.fullmatch(token):
            texts[token] = bytes([int(match[1], 16)])
        else:
            texts[token] = (token.replace(_SPACE, " ") if writing == "metaspace" else token).encode()
    return texts


def roles_of(settings: Any) -> dict[str, str]:
    """The special tokens of a tokenizer_config.json by what they do."""
    return {key: token for key, token in special_tokens(settings).items() if key in SPECIAL}


def without_prefix(content: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer that puts no space before a text, and adds no special token to it."""
    bare = json.loads(json.dumps(content))
    for step in ("normalizer", "pre_tokenizer"):
        for part in _parts(bare.get(step)):
            if part.get("type") == "Metaspace":
                part["prepend_scheme"] = "never"
                part.pop("add_prefix_space", None)
            if part.get("type") == "ByteLevel":
                part["add_prefix_space"] = False
            if part.get("type") == "Prepend":
                part["prepend"] = ""
    bare["post_processor"] = bare["truncation"] = bare["padding"] = None
    return bare


def _parts(step: Any) -> Iterator[dict[str, Any]]:
    if isinstance(step, dict):
        yield step
        for key in ("normalizers", "pretokenizers"):
            for part in step.get(key) or ():
                yield from _parts(part)


def _byte_characters() -> Iterator[tuple[int, str]]:
    """GPT-2's printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    for byte in range(256):
        yield byte, chr(byte if byte in printable else next(others))
