"""Language identification: messages of one program, translated to 20 languages in Latin script.

Close relatives (Spanish, Galician, Catalan; Danish, Norwegian; Czech, Slovak) make it hard, and so does an
encoder that was trained on English alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mergeometry_suite.packages import DJANGO, fetch
from mergeometry_suite.splits import Example, Sizes, Splits, opening, partition

_LANGUAGES = {
    "ca": "Catalan",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "es": "Spanish",
    "et": "Estonian",
    "fi": "Finnish",
    "fr": "French",
    "gl": "Galician",
    "hr": "Croatian",
    "hu": "Hungarian",
    "it": "Italian",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "sk": "Slovak",
    "sv": "Swedish",
    "tr": "Turkish",
}
CLASSES = tuple(_LANGUAGES.values())
_ENTRY = re.compile(r'^(msgid|msgid_plural|msgstr(?:\[0\])?) ((?:"[^\n]*"\n?)+)', re.MULTILINE)
_FEWEST_WORDS = 3
_SAME_MESSAGE = 40  # characters


def load() -> Splits:
    """Split by message, so that no message is learnt in one language and tested in another.

    Messages of the same opening, which translators repeat word for word, count as one.
    """
    return partition(_examples(), Sizes())


def _examples() -> Iterator[Example]:
    folder = fetch(DJANGO)
    for label, code in enumerate(_LANGUAGES):
        for path in sorted(folder.glob(f"django/**/locale/{code}/LC_MESSAGES/django.po")):
            for message, translation in _messages(path):
                if translation != message and len(translation.split()) >= _FEWEST_WORDS:
                    yield Example(translation, label, document=opening(message)[:_SAME_MESSAGE])


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    message = ""
    for keyword, quoted in _ENTRY.findall(path.read_text("utf-8")):
        text = " ".join("".join(ast.literal_eval(line) for line in quoted.splitlines()).split())
        if keyword == "msgid":
            message = text
        elif keyword.startswith("msgstr") and message and text:
            yield message, text
